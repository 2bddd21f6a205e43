"""Plots of detections: what they show is what was computed."""

import numpy as np
import pytest

from rayrml.metrics.average_precision import DetectionRows, average_precisions
from rayrml.metrics.box_matching import Detections, Truths
from rayrml.reporting.detection_plots import DetectionSample, draw_detection_curves, draw_detection_samples
from rayrml.reporting.plots import render

RNG = np.random.default_rng(3)


def find(num_classes, num_images=30):
    """The figures of detections that are true boxes, moved, with random scores."""
    rows = DetectionRows(num_classes)
    for number in range(num_images):
        classes = RNG.integers(0, num_classes, 6)
        corners = np.tile(RNG.uniform(0, 80, (6, 2)), 2) + np.array([0, 0, 20, 20])
        moved = corners + RNG.normal(0, 3, (6, 4))
        found = np.concatenate([moved, RNG.random((6, 1)), classes[:, None]], 1)
        whole = np.array([0, 6])
        rows.add(np.array([number]), Detections(found, whole), Truths(corners, classes, np.zeros(6, bool), whole))
    return average_precisions(rows.rows, rows.counts, 0.5)


def test_curves_are_the_precision_of_which_average_precision_is_the_mean():
    found = find(3)
    (axes,) = draw_detection_curves(found, ["cat$", "dog", "x" * 40], 0.5).axes
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1]
    mean, *others = (np.asarray(curve.get_ydata()) for curve in curves)
    order = np.argsort(-found.columns["boxes"], kind="stable")
    assert np.array_equal(others, found.curves[order])
    assert np.array_equal([curve.mean() for curve in others], found.columns["average_precision_50"][order])
    assert mean.mean() == pytest.approx(found.map50, rel=1e-12)
    points = [np.concatenate(line.get_data()) for line in axes.lines if len(line.get_xdata()) == 1]
    assert np.array_equal(points, np.stack([found.columns["recall"], found.columns["precision"]], 1)[order])
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0] == f"mean of 3 classes: mAP50 {found.map50:.3f}"
    value, boxes = found.columns["average_precision_50"][0], int(found.columns["boxes"][0])
    assert f"cat\\$: AP50 {value:.3f} ({boxes} boxes)" in texts


def test_of_many_classes_those_with_most_boxes_are_named_and_all_are_drawn():
    found = find(40, num_images=20)
    (axes,) = draw_detection_curves(found, [f"class {number}" for number in range(40)], 0.5).axes
    with_boxes = int((found.columns["boxes"] > 0).sum())
    assert sum(len(line.get_xdata()) > 1 for line in axes.lines) == with_boxes + 1
    assert len(axes.get_legend().get_texts()) == 11
    assert axes.get_title(loc="left").endswith(f"; 10 of {with_boxes} classes in color")


def test_without_boxes_there_is_no_curve():
    nothing = average_precisions(DetectionRows(2).rows, np.zeros(2, int), 0.5)
    assert draw_detection_curves(nothing, ["a", "b"], 0.5) is None


def test_pixels_of_pictures_are_pixels_of_the_figure():
    shapes = [(460, 345), (23, 460), (460, 7), (300, 460)]
    pictures = [RNG.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    samples = [DetectionSample(picture, f"{number}.jpg", 2, 1) for number, picture in enumerate(pictures)]
    figure = draw_detection_samples(samples, 40, 0.25)
    assert figure.get_suptitle().startswith("4 of 40 test images: ")
    assert figure.axes[1].get_title() == "1.jpg: 2 true, 1 found"
    render(figure)
    for axes, shape in zip(figure.axes, shapes, strict=True):
        assert axes.get_window_extent().bounds[2:] == pytest.approx(shape[::-1], abs=1e-6)
