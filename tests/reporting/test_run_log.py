"""The log files of a run, and what workers say that is to be in them."""

import builtins
import time

import pytest
import ray

from rayrml.reporting.messages import BatchesTrained, BatchRow, EpochDone, Phase, Started
from rayrml.reporting.run_log import RunLog
from rayrml.training.mailbox import Connection, Mailbox


def row(epoch, batch):
    return BatchRow(epoch, batch, epoch + batch / 10, 1.0, 2.0, 0.1, 0.1, 0.1, 4)


def figures(epoch):
    return {"epoch": epoch, "train_loss": 1.0, "learning_rate": 0.1, "seconds": 2.0, "test_loss": 0.5, "accuracy": 0.25}


def log_in(folder, **more):
    return RunLog(str(folder / "out.txt"), num_epochs=3, num_batches=2, quiet=True, **more)


def lines(folder, kind):
    return (folder / f"out_{kind}.txt").read_text().splitlines()


def test_what_was_lost_on_the_way_to_the_driver_is_written_when_training_goes_on(tmp_path):
    """The state on disk is further than the log: a worker died between keeping an epoch and telling of it."""
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    for folder, lost in ((whole, False), (hurt, True)):
        log = log_in(folder)
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
        assert [entry["epoch"] for entry in log.history] == [1, 2]
    assert lines(hurt, "train") == lines(whole, "train")
    assert lines(hurt, "test") == lines(whole, "test") == ["1 0.50000000 0.25000000", "2 0.50000000 0.25000000"]
    assert log.saved == {"checkpoint": ["model_checkpoint_1.pt"]}


def test_what_is_done_anew_is_not_there_twice(tmp_path):
    log = log_in(tmp_path)
    log.receive(Started(1))
    log.receive(BatchesTrained([row(1, 1), row(1, 2)]))
    log.receive(EpochDone(figures(1)))
    log.receive(BatchesTrained([row(2, 1), row(2, 2)]))
    log.receive(EpochDone(figures(2)))
    log.close()
    log = log_in(tmp_path, append=True)
    log.receive(Started(2, resumed=True, history=(figures(1),), rows=(row(1, 2),)))
    log.close()
    assert [line.split()[:2] for line in lines(tmp_path, "train")] == [["1", "1"], ["1", "2"]]
    assert [line.split()[0] for line in lines(tmp_path, "test")] == ["1"]


@pytest.mark.ray
def test_a_worker_knows_what_the_driver_may_not_have_written_down(ray_cluster):
    mailbox = ray.remote(Mailbox).options(num_cpus=0).remote()

    def emit(worker, *rows):
        worker.emit(BatchesTrained(list(rows)))
        worker.settle()

    def comes_to(worker, *places):
        deadline = time.monotonic() + 30
        while (rows := [sent[:2] for sent in worker.unwritten()]) != list(places) and time.monotonic() < deadline:
            time.sleep(0.01)
        return rows == list(places)

    first = Connection(mailbox)
    first.emit(Phase("begins"))
    emit(first, row(1, 1), row(1, 2))
    assert comes_to(first, (1, 1), (1, 2))
    emit(first, row(2, 1))
    assert len(ray.get(mailbox.take.remote())) == 3
    time.sleep(0.3)
    assert comes_to(first, (1, 1), (1, 2), (2, 1)), "the driver may be lost before it writes"
    emit(first, row(2, 2))
    assert len(ray.get(mailbox.take.remote())) == 1
    assert comes_to(first, (2, 2))
    # One that takes its place has said nothing yet that the driver could have written.
    second = Connection(mailbox)
    emit(second, row(2, 1))
    assert comes_to(second, (2, 1))
    assert not second.asked_to_stop()
    ray.get(mailbox.take.remote(wish=True))
    assert comes_to(second, (2, 1))
    deadline = time.monotonic() + 30
    while not second.asked_to_stop() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert second.asked_to_stop()


def test_a_notebook_gets_plain_lines(monkeypatch, capsys):
    class ZMQInteractiveShell:
        """What rich knows a notebook by."""

    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    RunLog().line("a line")
    assert capsys.readouterr().out.endswith("a line\n")
