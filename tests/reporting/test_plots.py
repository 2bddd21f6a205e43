"""Plots of runs, by what they show."""

import numpy as np
import pytest

from rayrml.reporting import plots
from rayrml.reporting.history import Run
from rayrml.reporting.plots import ClassSample, ImageSample

HISTORY = [
    {"epoch": e, "train_loss": 2.0 / e, "learning_rate": 0.1**e, "test_loss": abs(3 - e) + 1.0, "accuracy": e / 10}
    for e in range(1, 6)
]
BARE = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}]


def curves(axes):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_the_losses_are_those_of_the_epochs_and_the_lowest_is_marked():
    (axes,) = plots.draw_loss(HISTORY).axes
    assert curves(axes) == {
        "training": ([1, 2, 3, 4, 5], [2.0 / e for e in range(1, 6)]),
        "test": ([1, 2, 3, 4, 5], [3.0, 2.0, 1.0, 2.0, 3.0]),
        "lowest: 1 in epoch 3": ([3], [1.0]),
    }
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(curves(axes))
    assert (axes.get_xlabel(), axes.get_yscale()) == ("epoch", "linear")


def test_a_loss_without_a_test_is_one_curve():
    (axes,) = plots.draw_loss(BARE).axes
    assert list(curves(axes)) == ["training", "lowest: 1 in epoch 2"]


def test_losses_of_several_magnitudes_have_a_logarithmic_axis():
    (axes,) = plots.draw_loss([{"epoch": e, "train_loss": 10.0**-e} for e in range(4)]).axes
    assert axes.get_yscale() == "log"
    axes.figure.draw_without_rendering()
    assert {"1", "0.1"} <= {label.get_text() for label in axes.get_yticklabels()}


def test_epochs_are_marked_at_round_numbers():
    figure = plots.draw_loss([{"epoch": e, "train_loss": 1.0 / e} for e in range(1, 21)])
    figure.draw_without_rendering()
    ticks = figure.axes[0].get_xticks()
    assert {5, 10, 15, 20} <= set(ticks)
    assert all(tick % 1 == 0 for tick in ticks)


def test_the_metric_and_its_best_epoch():
    (axes,) = plots.draw_metric(HISTORY).axes
    assert axes.get_title("left") == "Accuracy"
    assert curves(axes)["highest: 0.5 in epoch 5"] == ([5], [0.5])
    assert plots.draw_metric(BARE) is None


def test_the_learning_rate_of_each_epoch():
    (axes,) = plots.draw_learning_rate(HISTORY).axes
    assert curves(axes)["learning rate"][1] == [0.1**e for e in range(1, 6)]
    assert plots.draw_learning_rate(BARE) is None
    assert plots.draw_learning_rate([{"epoch": epoch, "learning_rate": 0.1} for epoch in (1, 2)]) is None


def test_the_epoch_that_is_marked_is_the_best_one_of_the_table():
    figures = [(0.9, 0.4, 3.0), (0.9, 0.3, 1.0), (0.8, 0.5, 2.0)]
    names = ("accuracy", "test_loss", "mean_absolute_error")
    for name, epoch in zip(("accuracy", "mean_absolute_error"), (2, 2), strict=True):
        history = [
            {"epoch": i, **{key: row[names.index(key)] for key in ("test_loss", name)}}
            for i, row in enumerate(figures, start=1)
        ]
        (axes,) = plots.draw_metric(history).axes
        (ring,) = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
        assert list(ring.get_xdata()) == [epoch]


def test_runs_are_compared_under_their_names_in_colours_of_their_own():
    runs = [Run(f"_{n}$", HISTORY) for n in range(9)]
    loss, metric = plots.draw_comparison(runs).axes
    assert [line.get_label() for line in loss.lines] == [rf"{n}\$ (test)" for n in range(9)]
    assert [line.get_label() for line in metric.lines] == [rf"{n}\$" for n in range(9)]
    looks = {(line.get_color(), line.get_linestyle()) for line in loss.lines}
    assert len(looks) == 9


def test_one_run_shows_its_training_too():
    loss, metric = plots.draw_comparison([Run("model", HISTORY)]).axes
    assert list(curves(loss)) == ["model (test)", "model (training)"]
    assert metric.get_title("left") == "Accuracy"
    (loss,) = plots.draw_comparison([Run("model", BARE)]).axes
    assert curves(loss) == {"model (training)": ([1, 2], [2.0, 1.0])}


def test_the_confusion_matrix_has_counts_shares_and_names():
    axes, _ = plots.draw_confusion_matrix(np.array([[3, 1], [0, 0]]), ["a$b$", "c"]).axes
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]
    assert [text.get_text() for text in axes.texts] == ["3\n75%", "1\n25%"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a$b$", "c"]
    assert axes.get_title("left") == "Confusion matrix: 3 of 4 samples right"


@pytest.mark.parametrize(("size", "numbers", "names"), [(30, True, 30), (31, False, 31), (200, False, 50)])
def test_a_matrix_of_many_classes_is_without_numbers(size, numbers, names):
    figure = plots.draw_confusion_matrix(np.eye(size, dtype=int), [f"class {n}" for n in range(size)])
    axes = figure.axes[0]
    assert bool(axes.texts) == numbers
    assert len(axes.get_xticks()) == names
    assert plots.render(figure)[0].startswith(b"\x89PNG")


def test_wrong_predictions_are_marked():
    image = np.zeros((4, 4))
    samples = [ClassSample(image, "cat", "cat"), ClassSample(image, "dog", "cat")]
    figure = plots.draw_class_samples(samples, 1000)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["cat", "✗ cat\ntrue: dog", ""]
    assert figure.get_suptitle() == "2 of 1,000 test samples, evenly spread: 1 wrong"
    assert plots.draw_class_samples(samples, 2).get_suptitle() == "All 2 test samples: 1 wrong"
    assert plots.draw_class_samples(samples[:1], 1).get_suptitle() == "The only test sample: none wrong"


def test_images_have_a_row_of_input_target_and_prediction_in_the_same_colours():
    target, prediction = np.array([[0.0, 2.0]]), np.array([[1.0, 5.0]])
    figure = plots.draw_image_samples([ImageSample(np.zeros((1, 2)), target, prediction)] * 2, 40)
    assert len(figure.axes) == 6
    assert figure.get_suptitle() == "2 of 40 test samples, evenly spread"
    shown = [axes.images[0] for axes in figure.axes[1:3]]
    assert [image.get_array().tolist() for image in shown] == [target.tolist(), prediction.tolist()]
    assert {image.get_clim() for image in shown} == {(0.0, 2.0)}


def test_names_that_no_font_has_are_told_and_control_characters_are_not_drawn():
    content, complete = plots.render(plots.draw_confusion_matrix(np.eye(2, dtype=int), ["\U0001fae8\n", "$x_"]))
    assert content.startswith(b"\x89PNG")
    assert not complete
    assert plots.render(plots.draw_loss(BARE))[1]


def test_the_terms_of_a_loss_and_further_figures_have_curves_of_their_own():
    history = [
        {"epoch": e, "train_loss": 5.0, "box_loss": 3.0, "no_object_loss": 2.0, "map": e / 10, "map50": e / 5}
        for e in (1, 2)
    ]
    (axes,) = plots.draw_loss(history).axes
    assert curves(axes)["no object (term of the training loss)"] == ([1, 2], [2.0, 2.0])
    (axes,) = plots.draw_metric(history).axes
    assert axes.get_title("left") == "mAP"
    assert curves(axes)["mAP50 (test)"] == ([1, 2], [0.2, 0.4])
    loss, metric = plots.draw_comparison([Run("model", history)]).axes
    assert "box (term of the training loss)" in curves(loss)
    assert curves(metric)["model (mAP)"][1] == [0.1, 0.2] and curves(metric)["model (mAP50)"][1] == [0.2, 0.4]
    loss, metric = plots.draw_comparison([Run("a", history), Run("b", history)]).axes
    assert list(curves(loss)) == ["a (training)", "b (training)"] and list(curves(metric)) == ["a", "b"]


def test_the_distance_that_a_critic_sees_is_beside_its_test_counterpart_and_no_loss_is_the_lowest():
    epochs = [
        {"epoch": n, "train_loss": -n, "wasserstein": n, "gradient_penalty": 0.1, "generator_loss": 1.0}
        | {"swd": 0.1 / n, "frechet": 100.0 / n, "test_wasserstein": 0.9 * n}
        for n in (1, 2, 3)
    ]
    axes = plots.draw_loss(epochs).axes[0]
    curves = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert curves["wasserstein (test)"] == [0.9, 1.8, 0.9 * 3]
    assert curves["wasserstein (term of the training loss)"] == [1, 2, 3]
    assert curves["generator (training, minimized by itself)"] == [1, 1, 1]
    assert not any("lowest" in label for label in curves)
    labels = [line.get_label() for line in plots.draw_metric(epochs).axes[0].lines]
    assert labels[0] == "SWD (test)" and not any("frechet" in label for label in labels)
