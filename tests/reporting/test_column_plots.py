"""Plots of predictions for the columns of a table."""

import numpy as np
from sklearn.metrics import average_precision_score

from rayrml.reporting.column_plots import ColumnSamples, draw_precision_recall, draw_scatter

RNG = np.random.default_rng(2)


def test_a_scatter_has_a_panel_for_each_of_the_first_columns():
    targets = RNG.normal(size=(20, 12))
    figure = draw_scatter(ColumnSamples([f"c{i}" for i in range(12)], targets + 0.1, targets, 50))
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == [f"c{i}" for i in range(9)]
    assert figure.get_suptitle() == "Predictions against targets: 20 of 50 test samples; first 9 of 12 columns"
    points = shown[0].lines[1].get_xydata()
    assert np.allclose(points, np.stack([targets[:, 0], targets[:, 0] + 0.1], 1))


def test_numbers_that_are_not_finite_do_not_stop_the_drawing():
    targets = np.array([[1.0], [np.nan], [np.inf]])
    assert draw_scatter(ColumnSamples(["a"], targets, targets, 3)) is not None


def test_the_average_precision_of_a_curve_is_that_of_sklearn():
    flags = RNG.random((60, 2)) < 0.3
    scores = np.round(RNG.random((60, 2)) + 0.4 * flags, 1)  # with ties
    figure = draw_precision_recall(ColumnSamples(["cat$", "dog"], scores, flags.astype(float), 60))
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    for i in range(2):
        assert any(f"average precision {average_precision_score(flags[:, i], scores[:, i]):.3f}" in t for t in texts)


def test_classes_that_no_sample_has_are_left_out():
    flags = np.zeros((4, 2))
    assert draw_precision_recall(ColumnSamples(["a", "b"], flags, flags, 4)) is None
    flags[0, 1] = 1
    figure = draw_precision_recall(ColumnSamples(["a", "b"], flags, flags, 4))
    assert "1 of 2 classes" in figure.axes[0].get_title(loc="left")
