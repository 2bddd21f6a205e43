"""Classes with few training samples: class weights that make up for it, and a warning where nothing does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rayrml.config.tables import Choice, choose
from rayrml.data.datasets import Datasets
from rayrml.data.sources import Source
from rayrml.errors import ConfigError, Problem
from rayrml.formatting import shorten
from rayrml.losses import LOSSES
from rayrml.losses.outputs import BALANCED

_WEIGHT = "neural_network.loss.weight"
_SAMPLING = "neural_network.data.sampling"
_MOST_UNEQUAL = 10  # times the samples of the smallest class: beyond that, a network hardly learns it
_MOST_SHOWN = 10  # classes


def count_classes(source: Source | None, num_classes: int) -> np.ndarray | None:
    """(num_classes,) the samples of each class, None unless each sample has one class."""
    labels = None if source is None else source.samples.labels
    return None if labels is None else np.bincount(labels, minlength=num_classes)


def is_balanced(loss: Choice | None) -> bool:
    """Whether a loss has class weights that follow from the training samples."""
    return loss is not None and loss.arguments.get("weight") == BALANCED


def with_class_weights(loss: Choice | None, datasets: Datasets, recorded: Mapping[str, Any]) -> Choice | None:
    """The loss with numbers as class weights, if they are to be balanced.

    They follow from the training samples. An evaluation of its own takes those that a checkpoint recorded; the counts
    of its samples would give another loss than that of the training.

    Args:
        loss: row of the losses.
        datasets: the samples.
        recorded: the section `loss` of the checkpoint that is loaded, {} if there is none.

    Raises:
        ConfigError: the weights do not follow from the samples, and none were recorded.
    """
    if loss is None or not is_balanced(loss):
        return loss
    if datasets.training is not None:
        return dataclasses.replace(loss, arguments={**loss.arguments, "weight": _balanced_weights(loss, datasets)})
    if not datasets.test_targets:
        return loss  # nothing is compared
    kept = with_recorded_weights(loss, recorded)
    if kept is None:
        message = f"'{BALANCED}' counts training samples, but nothing is trained"
        cure = "Expected a number for each class, or a checkpoint of a training with balanced weights in"
        raise ConfigError(Problem(_WEIGHT, f"{message}. {cure} checkpoints.load"))
    return kept


def with_recorded_weights(loss: Choice, recorded: Mapping[str, Any]) -> Choice | None:
    """The loss with the class weights that a checkpoint recorded; None if it recorded none for this loss."""
    weight = recorded.get("weight")
    if recorded.get("function") != loss.name or not isinstance(weight, list | tuple):
        return None
    section = {"function": loss.name, **loss.arguments, "weight": list(weight)}
    return choose(LOSSES, section, "neural_network.loss", "function")


def check_sampling(datasets: Datasets, sampling: str) -> None:
    """Raise ConfigError if classes cannot be drawn equally often from these training samples."""
    training = datasets.training
    if training is None or sampling != BALANCED:
        return
    if training.samples.labels is None:
        raise ConfigError(Problem(_SAMPLING, "draws each class equally often, but the samples have no classes"))
    if len(training.groups()) > 1:
        message = 'draws from samples of one shape, but slicers cut them in different ones. Expected "all"'
        raise ConfigError(Problem(_SAMPLING, message))


def list_weights(loss: Choice, datasets: Datasets) -> str:
    """The weight of each class as people read it, with the samples that it follows from unless those are others."""
    weights, counts = loss.arguments["weight"], count_classes(datasets.training, len(datasets.classes))
    parts = [f"{name} {weight:.4g}" for name, weight in zip(datasets.classes, weights, strict=False)]
    if counts is not None and _weights_of(counts, loss) == weights:
        parts = [f"{part} ({count:,} samples)" for part, count in zip(parts, counts.tolist(), strict=True)]
    return f"{BALANCED}: {shorten(parts, _MOST_SHOWN)}"


def warn_of_imbalance(datasets: Datasets, loss: Choice | None, sampling: str) -> Iterator[str]:
    """A sentence on training classes of very different sizes where nothing makes up for it."""
    counts = count_classes(datasets.training, len(datasets.classes))
    if counts is None or loss is None or sampling == BALANCED or loss.arguments.get("weight") is not None:
        return
    present = np.flatnonzero(counts)
    least, most = present[counts[present].argmin()], present[counts[present].argmax()]
    ratio = counts[most] / counts[least]
    if ratio > _MOST_UNEQUAL:
        larger, smaller = datasets.classes[most], datasets.classes[least]
        weights = ', or "weight": "balanced" to loss' if "weight" in loss.settings else ""
        cure = f'To learn both, add "sampling": "balanced" to data{weights}'
        yield f"class '{larger}' has {ratio:.0f} times the training samples of class '{smaller}'. {cure}"


def _balanced_weights(loss: Choice, datasets: Datasets) -> tuple[float, ...]:
    """The weights that follow from the training samples. Raises ConfigError if none do."""
    counts = count_classes(datasets.training, len(datasets.classes))
    if counts is None:
        has_masks = datasets.training is not None and datasets.training.target is not None
        reason = "targets are arrays here, all of which would have to be read" if has_masks else "samples have no class"
        message = f"'{BALANCED}' counts the samples of each class, but {reason}"
        raise ConfigError(Problem(_WEIGHT, f"{message}. Expected a number for each class"))
    if missing := [datasets.classes[i] for i in np.flatnonzero(_counting(counts, loss) & (counts == 0))]:
        # Weight 0 would silently leave their samples out of the test loss, and any other number would be a guess.
        message = f"'{BALANCED}' divides by the training samples of each class, but there are none of: "
        raise ConfigError(Problem(_WEIGHT, f"{message}{shorten(missing)}. Expected a number for each class"))
    return _weights_of(counts, loss)


def _weights_of(counts: np.ndarray, loss: Choice) -> tuple[float, ...]:
    """N / (K * n) for each of the K classes, with n of the N samples that count; 0 for an ignored class."""
    counting = _counting(counts, loss)
    total = np.where(counting, counts, 0).sum()
    return tuple(np.where(counting, total / (counting.sum() * np.maximum(counts, 1)), 0.0).tolist())


def _counting(counts: np.ndarray, loss: Choice) -> np.ndarray:
    """Which classes are not ignored."""
    return np.arange(len(counts)) != loss.arguments.get("ignore_index")
