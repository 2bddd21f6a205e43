"""Evaluation of networks that find objects."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from rayrml.boxes.coding import assign
from rayrml.config.detection import Detection
from rayrml.data.shards import Batch, boxes_of
from rayrml.inference.detection_step import DetectionStep, make_finder
from rayrml.losses import LOSSES
from rayrml.losses.detection import grids_of
from rayrml.metrics import METRICS
from rayrml.metrics.evaluation import PartNames
from rayrml.planning.preparation import prepare
from tests.box_data import BOXES, configuration, grids, write_images

ANCHORS = [[16, 8], [8, 16], [32, 16], [48, 48]]
CPU = torch.device("cpu")


class Knowing(nn.Module):
    """Gives outputs that are made beforehand, for images whose first number is their position."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, images):
        return self.outputs[images[:, 0, 0, 0].round().long()]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Images of 64 x 64 pixels in a letterbox of 96 x 64: 16 more pixels above and below."""
    folder = tmp_path_factory.mktemp("boxes")
    write_images(folder)
    keys = {"data__transforms": [{"letterbox": [96, 64]}], "loss__anchors": ANCHORS, "layers": grids(size=(96, 64))}
    return prepare(configuration(folder, **keys))


def perfect(plan, wrong=()):
    """The outputs (N, channels, positions) that stand for the true boxes, without those of the images `wrong`."""
    table, own = plan.training.samples.boxes, grids_of(plan.loss.build())
    original = boxes_of(table, np.arange(len(table)))
    boxes = plan.datasets.transforms.evaluated_boxes(original.boxes, original.sizes)
    truth = assign(boxes.corners, own)
    outputs = torch.full((len(table), own.num_anchors, 5 + own.num_classes, own.num_positions), -12.0)
    for row, image in enumerate(boxes.images.tolist()):
        if image not in wrong:
            place = outputs[image, truth.anchors[row], :, truth.positions[row]]
            place[:2], place[2:4] = torch.logit(truth.numbers[row, :2].float(), eps=1e-6), truth.numbers[row, 2:]
            place[4], place[5 + boxes.classes[row]] = 12.0, 12.0
            outputs[image, truth.anchors[row], :, truth.positions[row]] = place
    return outputs.flatten(1, 2)


def step_of(plan, outputs, metric="map", *, compares=True, keys=None, samples=None):
    loss = plan.loss.build()
    finder = make_finder(loss, plan.datasets.transforms, keys or Detection(), compares=compares)
    built = METRICS[metric]() if compares else None
    samples = samples or plan.training.samples
    return DetectionStep(Knowing(outputs), loss, built, finder=finder, samples=samples)


def run(plan, step, size=3, *, compares=True):
    """What is found in each image, in batches of this size."""
    found = []
    table = plan.training.samples.boxes
    for start in range(0, len(table), size):
        positions = np.arange(start, min(start + size, len(table)))
        images = torch.as_tensor(positions, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 96, 64)
        original = boxes_of(table, positions)
        target = plan.datasets.transforms.evaluated_boxes(original.boxes, original.sizes) if compares else None
        found += step.written(step(images, target, Batch(images, original, positions, positions)))
    return found


def test_true_boxes_are_found_where_they_are_in_the_original_images(plan):
    step = step_of(plan, perfect(plan))
    found = run(plan, step)
    table = plan.training.samples.boxes
    assert [len(rows) for rows in found] == table.counts.tolist() == [len(lines) for lines in BOXES.values()]
    for image, rows in enumerate(found):
        true = table.select([image])
        order = np.lexsort((rows[:, 0], rows[:, 5]))
        true_order = np.lexsort((true.corners[:, 0], true.classes))
        np.testing.assert_allclose(rows[order, :4], true.corners[true_order], atol=1e-3)
        assert rows[order, 5].tolist() == true.classes[true_order].tolist() and rows.dtype == np.float32
    evaluation = step.result(CPU)
    assert evaluation.metric == "map" and evaluation.value == 1.0 and evaluation.others == {"map50": 1.0}
    assert {name: figures["boxes"] for name, figures in evaluation.details.by_part(PartNames()).items()} == {
        "0": 3.0,
        "1": 2.0,
    }


@pytest.mark.parametrize("metric", ["map", "map50"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_figures_are_the_same_for_any_batches(plan, metric, size):
    """Half of the boxes of class 1 are missing; the loss is the mean over images, not over batches."""
    outputs = perfect(plan, wrong=(1,))
    step, together = step_of(plan, outputs, metric), step_of(plan, outputs, metric)
    run(plan, step, size)
    run(plan, together, 4)
    one, other = step.result(CPU), together.result(CPU)
    assert (one.value, one.figures) == (other.value, other.figures) and one.metric == metric
    assert one.value == pytest.approx((1 + 51 / 101) / 2)
    assert one.loss == pytest.approx(other.loss, rel=1e-6)


def test_a_prediction_has_what_reaches_the_threshold_and_an_evaluation_all_that_map_counts(plan):
    weak = perfect(plan)
    weak[:, 4::7] = torch.where(weak[:, 4::7] > 0, torch.tensor(-3.0), weak[:, 4::7])  # scores of 0.047
    assert [len(rows) for rows in run(plan, step_of(plan, weak))] == [2, 1, 0, 2]
    step = step_of(plan, weak, compares=False)
    assert not any(len(rows) for rows in run(plan, step, compares=False))
    assert step.result(CPU) == dataclasses.replace(step.result(CPU), loss=0.0, metric="", value=None, details=None)
    lower = step_of(plan, weak, compares=False, keys=Detection(score_threshold=0.04, max_detections=1))
    assert [len(rows) for rows in run(plan, lower, compares=False)] == [1, 1, 0, 1]


def test_images_are_in_the_order_of_their_ids_whatever_their_names(plan):
    """Of equal scores the first image counts first: a wrong one before all others costs precision."""
    outputs = perfect(plan)
    samples = plan.training.samples
    outputs[2] = outputs[1]  # an image without boxes, where one is found
    values = []
    for ids in ((), (1, 2.5, 3, 4), (4, 3, 2, 1), ("d", "c", "b", "a"), ("d", 3, "b", 1)):
        step = step_of(plan, outputs, "map50", samples=dataclasses.replace(samples, image_ids=ids))
        run(plan, step)
        values.append(step.result(CPU).value)
    assert values[0] == values[1] == values[4] > values[2] == values[3]  # ids of two kinds have no order


def test_without_grids_there_is_no_finder(plan):
    with pytest.raises(RuntimeError):
        make_finder(LOSSES["YOLOv3"](), plan.datasets.transforms, Detection(), compares=True)
