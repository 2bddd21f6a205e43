"""What a loss takes from the training samples: mean and deviation of the numbers that it standardizes.

The loss gets them once, before training. They are recorded with it: whoever uses a checkpoint gets the same numbers,
whatever samples there are then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from rayrml.config.tables import Choice
from rayrml.data.datasets import Datasets
from rayrml.data.discovery import quote_some
from rayrml.errors import ConfigError, Problem

_STANDARDIZE = "standardize"
_WHERE = f"neural_network.loss.{_STANDARDIZE}"


def complete_loss(loss: Choice | None, datasets: Datasets, recorded: Mapping[str, Any]) -> Choice | None:
    """The loss with the statistics that it asks for.

    Args:
        loss: as in the configuration, None without one.
        datasets: the samples.
        recorded: the loss of the checkpoint that is loaded, {} without one.

    Raises:
        ConfigError: there are no such statistics.
    """
    if loss is None or loss.arguments.get(_STANDARDIZE) is not True:
        return loss
    found = _measure(datasets) if datasets.training is not None else recorded.get(_STANDARDIZE)
    if not isinstance(found, Mapping):
        message = "needs training samples, or a checkpoint of a network that was trained with it"
        raise ConfigError(Problem(_WHERE, message))
    return with_recorded_statistics(loss, {_STANDARDIZE: found})


def with_recorded_statistics(loss: Choice, recorded: Mapping[str, Any]) -> Choice:
    """The loss with the statistics that a checkpoint recorded; the same loss if it recorded none.

    A network's outputs stand for numbers by the statistics that it was trained with, whatever samples there are now.
    """
    found = recorded.get(_STANDARDIZE)
    if not isinstance(found, Mapping):
        return loss
    return dataclasses.replace(loss, arguments={**loss.arguments, _STANDARDIZE: dict(found)})


def _measure(datasets: Datasets) -> dict[str, list[float]]:
    """Mean and standard deviation of each number over the training samples."""
    samples = None if datasets.training is None else datasets.training.samples
    if samples is None or samples.values is None or not samples.value_names:
        message = (
            'has no numbers of a table to standardize. Expected target_path, a file such as labels.csv; or {"mean"'
        )
        raise ConfigError(Problem(_WHERE, f'{message}: [...], "std": [...]}}'))
    values = samples.values.astype(np.float64)
    mean, std = values.mean(0), values.std(0)
    constant = [name for name, spread in zip(samples.value_names, std, strict=True) if not spread > 0]
    if constant:
        message = f"the training samples have the same value in {quote_some(constant)}: there is nothing to learn"
        raise ConfigError(Problem(_WHERE, message))
    return {"mean": mean.tolist(), "std": std.tolist()}
