"""The figures of a run: which metric its evaluation reports, and whether the figure that stops it exists."""

from __future__ import annotations

from rayrml.config.figures import TEST_LOSS, TRAIN_LOSS
from rayrml.config.mistakes import Findings
from rayrml.config.names import find
from rayrml.config.sections import Data, NeuralNetwork
from rayrml.data.reader_keys import DATA
from rayrml.losses import Loss, adversarial, detection
from rayrml.metrics import METRICS, generation
from rayrml.networks.network import Network
from rayrml.planning.application import GAN
from rayrml.planning.settings import Settings


def choose_metric(settings: Settings, network: Network, findings: Findings) -> str | None:
    """The name of the metric that evaluation reports next to the loss, None for none.

    Args:
        settings: what the configuration says.
        network: whose output is compared with targets.
        findings: gets what is wrong with a requested metric.
    """
    nn, loss, types = settings.nn, settings.loss, settings.types
    if loss is None:
        return None
    built: Loss = loss.build()
    spatial = len(network.output_shapes[0]) > 1
    default = built.default_metric(spatial=spatial, masks=types.data.target_is_mask or types.targets_are_class_numbers)
    if types.targets_are_values:
        default = "mean_absolute_error" if types.data.target_kind == "number" else "mean_average_precision"
    if nn.metric is None:
        return default
    with findings.gathering():
        name = find(METRICS, nn.metric, "neural_network.metric")
        several = built.targets == "arrays" and not types.targets_are_labels and network.output_shapes[0] != (1,)
        is_number = default is None or METRICS[default]().compares == "values"
        misfit = _misfit(name, loss.name, is_number=is_number, spatial=spatial, several=several and not spatial)
        channels = network.output_shapes[0][0]
        if misfit is None and channels is not None:
            misfit = _too_few(name, built.classes_of(channels), default)
        if misfit is not None:
            findings.add("neural_network.metric", misfit)
        return name
    return None


def check_threshold(data: Data, findings: Findings) -> None:
    """Add to the findings that a threshold is compared with nothing; what columns hold must be known."""
    if data.threshold is not None and data.target_kind not in (None, "classes"):
        message = "has no effect: it is for samples that may have several classes"
        findings.add(f"{DATA}.threshold", f'{message}, but target_kind is "{data.target_kind}"')


def check_stopping(nn: NeuralNetwork, metric: str | None, *, tested: bool, findings: Findings) -> None:
    """Add to the findings that the figure for early stopping does not exist in this run.

    Args:
        nn: the section `neural_network`.
        metric: of the evaluation, None if it has none.
        tested: whether each epoch is evaluated.
        findings: gets the mistake.
    """
    if nn.early_stopping is None:
        return
    if nn.app == GAN:
        figures = _list_distances(nn) if tested else []
    else:
        figures = [TRAIN_LOSS, *((TEST_LOSS, *_reported_with(metric)) if tested else ())]
    if nn.app == GAN and not figures:
        message = "needs test images: losses of a GAN cannot be compared between epochs. Expected test_input_path"
        findings.add("neural_network.early_stopping", message)
    elif nn.early_stopping.metric not in figures:
        message = f"this run has no figure '{nn.early_stopping.metric}'. Expected one of {', '.join(figures)}"
        findings.add("neural_network.early_stopping.metric", message)


def _list_distances(nn: NeuralNetwork) -> list[str]:
    """The figures by which generated samples are judged: those of features need a classifier."""
    return [name for name in generation.METRICS if name != "frechet" or nn.metric_network is not None]


def _reported_with(metric: str | None) -> list[str]:
    """The figures of an evaluation by this metric: that of boxes reports all that compare boxes, itself first."""
    if metric is None:
        return []
    others = [name for name, row in METRICS.items() if row().compares == "boxes" and name != metric]
    return [metric, *(others if METRICS[metric]().compares == "boxes" else ())]


def _too_few(name: str, num_classes: int, default: str | None) -> str | None:
    """Why a metric says nothing about so few classes, or None."""
    fewest = METRICS[name]().fewest_classes
    if num_classes >= fewest:
        return None
    return f"'{name}' needs at least {fewest} classes, but there are {num_classes}. Expected \"{default}\""


def _misfit(name: str, loss: str, *, is_number: bool, spatial: bool, several: bool) -> str | None:
    """Why a metric cannot be computed for outputs with or without positions, or with several classes each, or None."""
    compares = METRICS[name]().compares
    if (compares == "boxes") is not (loss in detection.LOSSES):
        return f"'{name}' does not go with {loss}. Expected {'map or map50' if loss in detection.LOSSES else 'another'}"
    if compares in ("boxes", "generated") or loss in adversarial.LOSSES:
        return None  # `adversarial_rules` knows
    if compares == "values":
        return None if is_number else f"'{name}' compares numbers, but the targets are classes"
    if is_number:
        return f"'{name}' compares classes, but {loss} is a loss for values"
    if compares == "single" and several:
        return f"'{name}' needs one class per sample, but samples may have several here. Expected \"f1_macro\""
    if compares == "samples" and spatial:
        return f'\'{name}\' counts samples, but each pixel has a class. Expected "pixel_accuracy", or "dice"'
    if compares == "pixels" and not spatial:
        return f"'{name}' counts pixels, but each sample has one class. Expected \"accuracy\""
    return None
