"""What a run writes next to its checkpoints, message by message."""

import json
import math

import numpy as np
import pytest

from rayrml.errors import DataError
from rayrml.metrics import ClassCounts, Evaluation, PartNames
from rayrml.reporting import history
from rayrml.reporting.file_names import CLASSES, CONFIG, CONFUSION_TABLE, DATA, ENVIRONMENT, METRICS, PLOTS, REPORT
from rayrml.reporting.messages import EpochDone, Evaluated, Started
from rayrml.reporting.run_files import Record
from rayrml.reporting.run_state import RunState

COUNTS = np.array([[3, 1], [2, 0]])


def figures(epoch, loss=0.5):
    return {"epoch": epoch, "train_loss": 1.0, "learning_rate": 0.1, "seconds": 2.0, "test_loss": loss, "f1": 1 / epoch}


def evaluated(epoch, counts=COUNTS):
    counts = counts.copy()
    counts.setflags(write=False)  # as Ray delivers them
    return Evaluated(epoch, 1, 0.1, Evaluation(0.5, "accuracy", 0.5, ClassCounts(counts)))


def tell(record, message):
    """Pass a message on as a run does: first to its state."""
    record._state.receive(message)
    record.receive(message)


def rows(folder):
    return history.from_csv((folder / "history.csv").read_bytes(), "")


def test_the_history_is_on_disk_after_each_epoch(tmp_path):
    record = Record(str(tmp_path), RunState())
    tell(record, Started(1))
    assert rows(tmp_path) == []
    record._spent = 0.0  # writing took no time, so the next one is due
    tell(record, EpochDone(figures(1)))
    assert rows(tmp_path) == [figures(1)]


def test_writing_takes_a_small_share_of_the_time_and_the_end_has_everything(tmp_path):
    record = Record(str(tmp_path), RunState())
    tell(record, Started(1))
    record._spent = 100.0
    tell(record, EpochDone(figures(1)))
    assert rows(tmp_path) == []
    record.flush()
    assert rows(tmp_path) == [figures(1)]


def test_epochs_that_are_done_anew_are_there_once(tmp_path):
    record = Record(str(tmp_path), RunState())
    for message in (Started(1), EpochDone(figures(1)), EpochDone(figures(2)), Started(2, history=(figures(1),))):
        tell(record, message)
    tell(record, EpochDone(figures(2, loss=0.25)))
    record.flush()
    assert rows(tmp_path) == [figures(1), figures(2, loss=0.25)]


def test_metrics_are_of_the_last_and_the_best_epoch_and_of_each_class(tmp_path):
    record = Record(str(tmp_path), RunState(), PartNames(("cat", "dog")))
    for epoch in (1, 2):
        tell(record, evaluated(epoch, COUNTS * epoch))
        tell(record, EpochDone(figures(epoch, loss=0.5 if epoch == 1 else math.nan)))
    record.finish()
    metrics = json.loads((tmp_path / METRICS).read_text())
    assert metrics["final"] == figures(2, loss=None)
    assert metrics["best"]["epoch"] == 1
    assert metrics["classes"] == {
        "cat": {"samples": 8, "recall": 0.75, "precision": 0.6, "f1": pytest.approx(2 / 3)},
        "dog": {"samples": 4, "recall": 0, "precision": 0, "f1": 0},
    }


def test_outputs_without_a_name_go_by_their_numbers(tmp_path):
    record = Record(str(tmp_path), RunState(), PartNames(("cat",)))
    tell(record, evaluated(1))
    tell(record, EpochDone(figures(1)))
    assert list(record.metrics()["classes"]) == ["cat", "1"]


def test_classes_have_no_figures_if_the_last_epoch_was_evaluated_unseen(tmp_path):
    """A worker was lost between saving the last epoch and reporting it."""
    record = Record(str(tmp_path), RunState(), PartNames(("cat", "dog")))
    for message in (evaluated(1), EpochDone(figures(1)), Started(3, history=(figures(1), figures(2)))):
        tell(record, message)
    record.finish()
    assert json.loads((tmp_path / METRICS).read_text()) == {"final": figures(2), "best": figures(1)}


def test_a_run_that_was_complete_keeps_its_metrics(tmp_path):
    (tmp_path / METRICS).write_text("of before")
    record = Record(str(tmp_path), RunState())
    record.begin({}, {}, {}, resumed=True)
    tell(record, Started(2, resumed=True, history=(figures(1),)))
    record.finish()
    assert (tmp_path / METRICS).read_text() == "of before"


def test_a_resumed_run_without_a_confusion_matrix_keeps_none_of_before(tmp_path):
    (tmp_path / CONFUSION_TABLE).write_text("of before")
    record = Record(str(tmp_path), RunState())
    record.begin({}, {}, {}, resumed=True)
    tell(record, Evaluated(2, 1, 0.1, Evaluation(0.5, "accuracy", 0.5, None)))
    tell(record, EpochDone(figures(2)))
    record.finish()
    assert (tmp_path / METRICS).exists() and not (tmp_path / CONFUSION_TABLE).exists()


def test_a_new_run_begins_without_the_files_of_an_earlier_one(tmp_path):
    (tmp_path / "plots").mkdir()
    for name in (METRICS, CLASSES, CONFUSION_TABLE, REPORT, *PLOTS.values(), "mine.txt"):
        (tmp_path / name).write_text("of before")
    Record(str(tmp_path), RunState()).begin({"a": 1}, {"b": 2}, {"c": 3}, resumed=False)
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert names == [CONFIG, DATA, ENVIRONMENT, "mine.txt"]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = Record(None, RunState(), PartNames(("cat",)))
    record.begin({}, {}, {}, resumed=False)
    tell(record, EpochDone(figures(1)))
    record.finish()
    assert list(tmp_path.iterdir()) == []
    assert record.history == [figures(1)]


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"file/config.resolved.json: cannot be written\. (Not a directory|File exists)"
    ):
        Record(str(tmp_path / "file"), RunState()).begin({}, {}, {}, resumed=False)
