"""The logs of figures: complete, whatever is lost on the way to them."""

from rayrml.reporting.figure_logs import FigureLogs
from rayrml.reporting.messages import BatchesTrained, BatchRow, Broadcast, EpochDone, Started
from rayrml.reporting.run_state import RunState


def row(epoch, batch):
    return BatchRow(epoch, batch, epoch + batch / 10, 1.0, 2.0, 0.1, 0.1, 0.1, 4)


def figures(epoch):
    return {"epoch": epoch, "train_loss": 1.0, "learning_rate": 0.1, "seconds": 2.0, "test_loss": 0.5, "accuracy": 0.25}


class Log:
    """The logs in a folder, and the state of their run."""

    def __init__(self, folder, *, append=False, metric="accuracy"):
        self.state = RunState()
        self.logs = FigureLogs(str(folder / "out.txt"), append=append, metric=metric)
        self.receive = Broadcast(self.logs.receive, self.state.receive)
        self.close = self.logs.close


def lines(folder, kind):
    return (folder / f"out_{kind}.txt").read_text().splitlines()


def test_what_was_lost_on_the_way_to_the_driver_is_written_when_training_goes_on(tmp_path):
    """The state on disk is ahead of the log: a worker died between saving an epoch and reporting it."""
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    for folder, lost in ((whole, False), (hurt, True)):
        log = Log(folder)
        log.receive(Started(1))
        log.receive(BatchesTrained([row(1, 1)]))
        if lost:
            rows = (row(1, 1), row(1, 2))
            log.receive(Started(2, history=(figures(1),), rows=rows, seconds=1.3, checkpoint="model_checkpoint_1.pt"))
        else:
            log.receive(BatchesTrained([row(1, 2)]))
            log.receive(EpochDone(figures(1)))
        log.receive(BatchesTrained([row(2, 1), row(2, 2)]))
        log.receive(EpochDone(figures(2)))
        log.close()
        assert [entry["epoch"] for entry in log.state.history] == [1, 2]
    assert lines(hurt, "train") == lines(whole, "train")
    assert lines(hurt, "test") == lines(whole, "test") == ["1 0.50000000 0.25000000", "2 0.50000000 0.25000000"]
    assert log.state.saved == {"checkpoint": ["model_checkpoint_1.pt"]}


def test_what_is_done_anew_is_not_there_twice(tmp_path):
    log = Log(tmp_path)
    log.receive(Started(1))
    log.receive(BatchesTrained([row(1, 1), row(1, 2)]))
    log.receive(EpochDone(figures(1)))
    log.receive(BatchesTrained([row(2, 1), row(2, 2)]))
    log.receive(EpochDone(figures(2)))
    log.close()
    log = Log(tmp_path, append=True)
    log.receive(Started(2, resumed=True, history=(figures(1),), rows=(row(1, 2),)))
    log.close()
    assert [line.split()[:2] for line in lines(tmp_path, "train")] == [["1", "1"], ["1", "2"]]
    assert [line.split()[0] for line in lines(tmp_path, "test")] == ["1"]


def test_the_test_log_ends_with_a_number_that_is_larger_for_a_better_epoch(tmp_path):
    """Scripts that search for the best values maximize the last number of the last line."""
    without = {name: value for name, value in figures(1).items() if name != "accuracy"}
    for name, metric, epoch, last in (
        ("measured", "accuracy", figures(1), "0.25000000"),
        ("undefined", "accuracy", without, "nan"),
        ("error", "mean_absolute_error", figures(1) | {"mean_absolute_error": 3.0}, "-3.00000000"),
        ("by_loss", None, without, "-0.50000000"),
    ):
        log = Log(tmp_path / name, metric=metric)
        log.receive(Started(1))
        log.receive(EpochDone(epoch))
        log.close()
        assert lines(tmp_path / name, "test") == [f"1 0.50000000 {last}"]


def test_an_epoch_without_an_evaluation_has_no_line_in_the_test_log(tmp_path):
    log = Log(tmp_path)
    log.receive(Started(1))
    log.receive(EpochDone({"epoch": 1, "train_loss": 1.0, "learning_rate": 0.1, "seconds": 2.0}))
    log.close()
    assert lines(tmp_path, "test") == []


def test_terms_of_the_loss_are_further_columns_of_the_training_log(tmp_path):
    log = Log(tmp_path, metric="swd")
    log.receive(Started(1))
    log.receive(BatchesTrained([row(1, 1)._replace(terms=(4.0, 0.5, float("nan")))]))
    log.close()
    assert lines(tmp_path, "train") == ["1 1 1.100000 1.00000000 2.00000000 4.00000000 0.50000000 nan"]
    again = Log(tmp_path, append=True, metric="swd")
    again.receive(Started(1, 1))
    again.close()
    assert len(lines(tmp_path, "train")) == 1


def test_an_evaluation_without_a_loss_has_its_metric_in_the_test_log(tmp_path):
    log = Log(tmp_path, metric="swd")
    log.receive(Started(1))
    log.receive(EpochDone({"epoch": 1, "train_loss": -1.0, "swd": 0.25}))
    log.receive(EpochDone({"epoch": 2, "train_loss": -1.0}))
    log.close()
    assert lines(tmp_path, "test") == ["1 nan -0.25000000"]
