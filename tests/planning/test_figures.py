"""Which metric a run reports, and whether the figure that stops it exists."""

import pytest

from rayrml.config.mistakes import Findings
from rayrml.config.reading import parse
from rayrml.config.tables import choose
from rayrml.errors import ConfigError
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.planning.data_types import find_types
from rayrml.planning.figures import check_stopping, choose_metric
from rayrml.planning.preparation import prepare
from rayrml.planning.settings import Settings
from tests.box_data import configuration, write_images

NETWORKS = {
    "classifier": [{"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [None, 5]}}],
    "segmentation": [
        {
            "class_name": "Conv2D",
            "config": {"name": "c", "filters": 1, "kernel_size": 1, "batch_input_shape": [None, 8, 8, 1]},
        }
    ],
}


def chosen(kind, loss, *, masks=False, **more):
    """The metric, and what is wrong with it, of a network of this kind."""
    data = {"type": "images", "target_type": "images", "input_path": "/i", "target_path": "/t", "target_is_mask": masks}
    section = {"layers": "net.json", "data": data, "loss": {"function": loss}, "optimizer": {"type": "Adam"}, **more}
    config, mistakes = parse({"neural_network": section})
    assert not mistakes
    findings, nn = Findings(), config.neural_network
    row = choose(LOSSES, nn.loss, "neural_network.loss", "function")
    settings = Settings(nn, find_types(nn.data, findings), row, None)
    metric = choose_metric(settings, build_network(NETWORKS[kind]), findings)
    check_stopping(nn, metric, tested=True, findings=findings)
    return metric, [str(problem) for problem in findings.mistakes]


@pytest.mark.parametrize("loss", ["NLL", "CrossEntropy", "BCE", "Focal"])
def test_the_accuracy_of_segmentation_is_its_dice_coefficient(loss):
    assert chosen("classifier", loss) == ("accuracy", [])
    assert chosen("segmentation", loss) == ("dice", [])


@pytest.mark.parametrize(("loss", "metric"), [("Dice", "dice"), ("Jaccard", "jaccard"), ("Lovasz", "jaccard")])
def test_losses_of_regions_have_metrics_of_regions(loss, metric):
    assert chosen("segmentation", loss) == (metric, [])


@pytest.mark.parametrize("loss", ["MSE", "MAE", "Huber"])
def test_values_have_no_metric_unless_they_are_masks(loss):
    assert chosen("segmentation", loss) == (None, [])
    assert chosen("segmentation", loss, masks=True) == ("dice", [])
    assert chosen("segmentation", loss, metric="R2") == ("r2", [])


@pytest.mark.parametrize(
    ("kind", "loss", "metric", "complaint"),
    [
        ("classifier", "MSE", "f1", "'f1' compares classes, but MSE is a loss for values"),
        ("classifier", "NLL", "r2", "'r2' compares numbers, but the targets are classes"),
        ("classifier", "NLL", "pixel_accuracy", "'pixel_accuracy' counts pixels, but each sample has one class"),
        ("classifier", "BCE", "f1", "'f1' needs one class per sample, but samples may have several here"),
        ("classifier", "NLL", "top5_accuracy", "'top5_accuracy' needs at least 6 classes, but there are 2. Expected"),
        ("classifier", "BCE", "balanced_accuracy", "'balanced_accuracy' needs one class per sample, but samples may"),
        ("segmentation", "BCE", "top5_accuracy", "'top5_accuracy' needs at least 6 classes, but there are 2. Expected"),
        ("segmentation", "BCE", "accuracy", "'accuracy' counts samples, but each pixel has a class"),
    ],
)
def test_a_metric_that_cannot_be_computed_is_refused(kind, loss, metric, complaint):
    _, (found,) = chosen(kind, loss, metric=metric)
    assert found.startswith(f"neural_network.metric: {complaint}")


@pytest.mark.parametrize("metric", ["pixel_accuracy", "balanced_accuracy", "jaccard", "f1"])
def test_others_can_be_requested(metric):
    assert chosen("segmentation", "BCE", metric=metric) == (metric, [])


@pytest.mark.parametrize("stopping", ["train_loss", "test_loss", "dice"])
def test_any_figure_of_the_run_can_stop_it(stopping):
    assert chosen("segmentation", "BCE", early_stopping={"metric": stopping}) == ("dice", [])


def test_a_figure_that_the_run_does_not_have_cannot_stop_it():
    _, (found,) = chosen("segmentation", "BCE", early_stopping={"metric": "accuracy"})
    assert found.endswith("this run has no figure 'accuracy'. Expected one of train_loss, test_loss, dice")


def test_both_figures_of_boxes_can_stop_a_run_whichever_is_reported_first(tmp_path):
    write_images(tmp_path)
    for metric in ("map", "map50"):
        keys = {"metric": metric, "data__test_share": 0.5, "loss__anchors": [[9, 9]] * 4}
        for stopping in ("map", "map50", "test_loss"):
            plan = prepare(configuration(tmp_path, early_stopping={"metric": stopping}, **keys))
            assert plan.metric == metric
        with pytest.raises(ConfigError, match="Expected one of train_loss, test_loss, map"):
            prepare(configuration(tmp_path, early_stopping={"metric": "accuracy"}, **keys))
