"""The samples that plots show, predicted by a network that says what the test wants."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from rayrml.planning.preparation import prepare
from rayrml.reporting.plots import ClassSample
from rayrml.runs import plotted_samples
from tests.conftest import training_config


class Always(torch.nn.Module):
    """Predicts class 1 for every input."""

    def forward(self, batch):
        return torch.tensor([0.1, 0.8, 0.1]).log().expand(len(batch), 3)


class Negative(torch.nn.Module):
    """Predicts the negative of an image."""

    def forward(self, batch):
        return 1 - batch


def test_samples_of_all_classes_are_shown_with_what_they_are_taken_for(plan):
    shown = plotted_samples.samples(plan, Always())
    assert len(shown) == 25
    assert all(isinstance(sample, ClassSample) for sample in shown)
    assert {sample.predicted for sample in shown} == {"4"}
    assert {name: sum(sample.true == name for sample in shown) for name in "147"} == {"1": 9, "4": 8, "7": 8}
    assert {sample.image.shape for sample in shown} == {(28, 28)}
    assert max(sample.image.max() for sample in shown) <= 1


def test_where_there_is_no_time_for_all_samples_some_of_several_classes_are_shown(plan, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(plotted_samples.time, "monotonic", lambda: next(clock) * plotted_samples._SECONDS / 5)
    shown = [sample.true for sample in plotted_samples.samples(plan, Always())]
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
    shown = plotted_samples.samples(prepare(config, {}), Negative())
    assert len(shown) == 3
    read = np.asarray(Image.open(tmp_path / "in" / "2.png")) / 255
    assert np.allclose(shown[2].input, read)
    assert np.allclose(shown[2].target, np.asarray(Image.open(tmp_path / "out" / "2.png")) / 255)
    assert np.allclose(shown[2].prediction, 1 - read, atol=1e-6)


class Brightness(torch.nn.Module):
    """The brighter an image, the more it is of class 0."""

    def forward(self, batch):
        brightness = batch.mean((1, 2, 3))
        return torch.stack([brightness, 0.9 - brightness, torch.full_like(brightness, 0.1)], 1).log()


def test_the_worst_mistakes_are_those_whose_class_has_the_least_probability(plan):
    found = plotted_samples.mistakes(plan, Always(), seconds=60)
    assert (found.found, found.seen, found.total, len(found.worst)) == (24, 36, 36, 24)
    assert {sample.predicted for sample in found.worst} == {"4"} and "4" not in {one.true for one in found.worst}
    assert [sample.probability for sample in found.worst] == pytest.approx([0.8] * 24)
    worst = plotted_samples.mistakes(plan, Brightness(), seconds=60).worst
    by_true = [
        one.image.mean() if one.true == "1" else 0.9 - one.image.mean() if one.true == "4" else 0.1 for one in worst
    ]
    assert len({one.true for one in worst}) > 1
    assert by_true == sorted(by_true)


def test_mistakes_are_looked_for_as_long_as_there_is_time_and_the_number_that_was_seen_is_told(plan, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(plotted_samples.time, "monotonic", lambda: next(clock))
    found = plotted_samples.mistakes(plan, Always(), seconds=9.5)
    assert (found.seen, found.total) == (10, 36)


def test_a_network_without_mistakes_has_none_to_show(tmp_path, write_digits):
    for part in ("training", "testing"):
        write_digits(tmp_path / part, part, (1, 4, 7), 3)
    for label in "17":
        shutil.rmtree(tmp_path / "testing" / label)
    plan = prepare(training_config(tmp_path, tmp_path), {})
    assert plotted_samples.mistakes(plan, Always(), seconds=60) is None


def test_training_samples_are_shown_with_their_classes(plan):
    shown = plotted_samples.examples(plan)
    assert len(shown) == 25 and {sample.true for sample in shown} == {"1", "4", "7"}
    assert all(sample.predicted == sample.true for sample in shown)


def test_images_are_shown_with_their_boxes(box_plan, tmp_path):
    """Twelve of sixteen, of which a quarter has no boxes."""
    shown = plotted_samples.detection_samples(box_plan, box_plan.network)
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
    again = plotted_samples.detection_samples(box_plan, box_plan.network)
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(shown, again, strict=True))


@pytest.mark.parametrize(
    ("counts", "with_boxes", "without"), [([1] * 5, 5, 0), ([0] * 30, 0, 12), ([0] * 99 + [2], 1, 3)]
)
def test_most_images_have_boxes_if_any_have(counts, with_boxes, without):
    chosen = plotted_samples._choose_images(np.array(counts))
    assert len(set(chosen)) == len(chosen)
    assert [sum(counts[i] > 0 for i in chosen), sum(counts[i] == 0 for i in chosen)] == [with_boxes, without]
