"""A run's plots, drawn with a network that predicts what the test wants."""

import numpy as np

from rayrml.metrics import ClassCounts, Evaluation, PartNames
from rayrml.metrics.average_precision import DetectionRows, average_precisions
from rayrml.metrics.evaluation import BoxDetails
from rayrml.reporting.messages import EpochDone, Evaluated
from rayrml.reporting.run_files import Record
from rayrml.reporting.run_state import RunState
from rayrml.runs import training_plots
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint

FIGURES = {"epoch": 1, "train_loss": 1.0, "learning_rate": 0.1, "seconds": 2.0, "test_loss": 0.5, "accuracy": 0.25}


def record(plan):
    state = RunState()
    state.receive(EpochDone(FIGURES))
    made = Record(plan.config.neural_network.checkpoints.save, state, PartNames(plan.classes))
    made.receive(Evaluated(1, 1, 0.1, Evaluation(0.5, "accuracy", 0.25, ClassCounts(np.eye(3, dtype=np.int64) + 1))))
    made.receive(EpochDone(FIGURES))
    return made


def test_all_pictures_of_a_run_are_made(plan, tmp_path):
    state = Checkpoint(1, plan.network.state_dict(), plan.layers, (1, 28, 28), plan.classes)
    checkpoints.save(tmp_path / "model" / "model_checkpoint_1.pt", state)
    said = []
    assert training_plots.make(plan, record(plan), said.append)
    names = ["confusion_matrix", "examples", "learning_rate", "loss", "metric", "mistakes", "predictions"]
    assert sorted(path.name for path in (tmp_path / "model" / "plots").iterdir()) == [f"{name}.png" for name in names]
    assert said == []


def test_a_picture_that_is_not_drawn_any_more_does_not_stay(plan, tmp_path):
    (tmp_path / "model" / "plots").mkdir(parents=True)
    shown = tmp_path / "model" / "plots" / "mistakes.png"
    shown.write_bytes(b"of an epoch before the run was resumed")
    made, said = record(plan), []  # without a checkpoint nothing can be predicted
    assert training_plots.make(plan, made, said.append)
    assert not shown.exists() and said == []


def test_a_complete_run_that_is_resumed_keeps_its_pictures(plan, tmp_path):
    (tmp_path / "model" / "plots").mkdir(parents=True)
    names = ("confusion_matrix.png", "mistakes.png", "predictions.png")
    for name in names:
        (tmp_path / "model" / "plots" / name).write_bytes(b"of before")
    state = RunState()
    state.receive(EpochDone(FIGURES))
    said = []
    assert training_plots.make(plan, Record(str(tmp_path / "model"), state, PartNames(plan.classes)), said.append)
    assert all((tmp_path / "model" / "plots" / name).read_bytes() == b"of before" for name in names) and said == []


def test_pictures_that_cannot_be_written_are_one_line_and_no_error(plan, tmp_path):
    made = record(plan)
    (tmp_path / "model" / "plots").write_text("a file where a folder should be")
    said = []
    assert not training_plots.make(plan, made, said.append)
    assert said
    assert all(line.startswith("Some plots could not be drawn: ") for line in said)


def test_a_damaged_checkpoint_costs_the_predictions_alone(plan, tmp_path):
    made = record(plan)
    (tmp_path / "model" / "model_checkpoint_1.pt").write_bytes(b"nothing")
    said = []
    assert training_plots.make(plan, made, said.append)
    (line,) = said
    assert "model_checkpoint_1.pt" in line
    assert not (tmp_path / "model" / "plots" / "predictions.png").exists()


def test_curves_of_precision_are_drawn_of_the_last_evaluation(box_plan, tmp_path):
    rows = DetectionRows(2)
    found = average_precisions(rows.rows, np.array([3, 0]), 0.5)
    state = RunState()
    made = Record(str(tmp_path / "record"), state, PartNames(box_plan.classes))
    made.receive(Evaluated(1, 1, 0.1, Evaluation(0.5, "map", found.map, BoxDetails(found), {"map50": found.map50})))
    state.receive(EpochDone(FIGURES))
    assert made.average_precisions is found
    assert made.parts()["disc"]["boxes"] == 3 and isinstance(made.parts()["disc"]["boxes"], int)
    said = []
    assert training_plots.make(box_plan, made, said.append)
    assert (tmp_path / "record" / "plots" / "precision_recall.png").exists() and not said
