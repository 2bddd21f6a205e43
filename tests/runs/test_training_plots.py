"""A run's plots, drawn with a network that predicts what the test wants."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from rayrml.metrics import ClassCounts, Evaluation, PartNames
from rayrml.metrics.average_precision import DetectionRows, average_precisions
from rayrml.metrics.evaluation import BoxDetails
from rayrml.planning.preparation import prepare
from rayrml.reporting.messages import EpochDone, Evaluated
from rayrml.reporting.plots import ClassSample
from rayrml.reporting.run_files import Record
from rayrml.reporting.run_state import RunState
from rayrml.runs import training_plots
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from tests.conftest import training_config
from tests.runs.test_detection import configuration, draw

FIGURES = {"epoch": 1, "train_loss": 1.0, "learning_rate": 0.1, "seconds": 2.0, "test_loss": 0.5, "accuracy": 0.25}


class Always(torch.nn.Module):
    """Predicts class 1 for every input."""

    def forward(self, batch):
        return torch.tensor([0.1, 0.8, 0.1]).log().expand(len(batch), 3)


class Negative(torch.nn.Module):
    """Predicts the negative of an image."""

    def forward(self, batch):
        return 1 - batch


@pytest.fixture
def plan(tmp_path, write_digits):
    for part in ("training", "testing"):
        write_digits(tmp_path / part, part, (1, 4, 7), 12)
    return prepare(training_config(tmp_path, tmp_path), {})


def test_samples_of_all_classes_are_shown_with_what_they_are_taken_for(plan):
    shown = training_plots.samples(plan, Always())
    assert len(shown) == 25
    assert all(isinstance(sample, ClassSample) for sample in shown)
    assert {sample.predicted for sample in shown} == {"4"}
    assert {name: sum(sample.true == name for sample in shown) for name in "147"} == {"1": 9, "4": 8, "7": 8}
    assert {sample.image.shape for sample in shown} == {(28, 28)}
    assert max(sample.image.max() for sample in shown) <= 1


def test_where_there_is_no_time_for_all_samples_some_of_several_classes_are_shown(plan, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(training_plots.time, "monotonic", lambda: next(clock) * training_plots._SECONDS / 5)
    shown = [sample.true for sample in training_plots.samples(plan, Always())]
    assert 3 <= len(shown) < 8
    assert len(set(shown)) > 1
    assert shown == sorted(shown)


def test_images_are_shown_with_their_targets(tmp_path):
    random = np.random.default_rng(0)
    for number in range(3):
        for kind in ("in", "out"):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(random.integers(0, 256, (6, 5), dtype=np.uint8)).save(tmp_path / kind / f"{number}.png")
    config = training_config(tmp_path, tmp_path)
    nn = config["neural_network"]
    data = {"type": "images", "test_input_path": str(tmp_path / "in"), "test_target_path": str(tmp_path / "out")}
    nn["data"] = {**data, "grayscale": True, "target_is_mask": True}
    nn["layers"] = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 6, 5, 1], "name": "input"}},
        {"class_name": "Conv2D", "config": {"name": "conv", "filters": 1, "kernel_size": 1}},
    ]
    nn["loss"] = {"function": "MSE"}
    shown = training_plots.samples(prepare(config, {}), Negative())
    assert len(shown) == 3
    read = np.asarray(Image.open(tmp_path / "in" / "2.png")) / 255
    assert np.allclose(shown[2].input, read)
    assert np.allclose(shown[2].target, np.asarray(Image.open(tmp_path / "out" / "2.png")) / 255)
    assert np.allclose(shown[2].prediction, 1 - read, atol=1e-6)


def record(plan):
    state = RunState()
    state.receive(EpochDone(FIGURES))
    made = Record(plan.config.neural_network.checkpoints.save, state, PartNames(plan.classes))
    made.receive(Evaluated(1, 1, 0.1, Evaluation(0.5, "accuracy", 0.25, ClassCounts(np.eye(3, dtype=np.int64)))))
    made.receive(EpochDone(FIGURES))
    return made


def test_all_pictures_of_a_run_are_made(plan, tmp_path):
    state = Checkpoint(1, plan.network.state_dict(), plan.layers, (1, 28, 28), plan.classes)
    checkpoints.save(tmp_path / "model" / "model_checkpoint_1.pt", state)
    said = []
    assert training_plots.make(plan, record(plan), said.append)
    names = ["confusion_matrix", "learning_rate", "loss", "metric", "predictions"]
    assert sorted(path.name for path in (tmp_path / "model" / "plots").iterdir()) == [f"{name}.png" for name in names]
    assert said == []


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


@pytest.fixture
def box_plan(tmp_path):
    draw(tmp_path, "train", 4, seed=0)
    draw(tmp_path, "test", 16, seed=1)
    return prepare(configuration(tmp_path, tmp_path, detection={"score_threshold": 0.9}), {})


def test_images_are_shown_with_their_boxes(box_plan, tmp_path):
    """Twelve of sixteen, of which a quarter has no boxes."""
    shown = training_plots.detection_samples(box_plan, box_plan.network)
    assert len(shown) == 12 and sum(sample.num_boxes == 0 for sample in shown) == 3
    assert [sample.name for sample in shown] == sorted(sample.name for sample in shown)
    for sample in shown:
        path = tmp_path / "labels" / "test" / sample.name.replace(".png", ".txt")
        lines = path.read_text().splitlines() if path.exists() else []
        assert (sample.num_boxes, sample.num_detections) == (len(lines), 0)
        for line in lines:
            _, x, y, width, _ = map(float, line.split())
            row, column = round(y * 383), max(round((x - width / 2) * 460), 0)
            assert (sample.picture[row, column : column + 2] == 255).all(-1).any()
    again = training_plots.detection_samples(box_plan, box_plan.network)
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(shown, again, strict=True))


@pytest.mark.parametrize(
    ("counts", "with_boxes", "without"), [([1] * 5, 5, 0), ([0] * 30, 0, 12), ([0] * 99 + [2], 1, 3)]
)
def test_most_images_have_boxes_if_any_have(counts, with_boxes, without):
    chosen = training_plots._choose_images(np.array(counts))
    assert len(set(chosen)) == len(chosen)
    assert [sum(counts[i] > 0 for i in chosen), sum(counts[i] == 0 for i in chosen)] == [with_boxes, without]


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
