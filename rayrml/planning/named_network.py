"""A network by name: its layers, with what its section leaves open taken from the samples and the loss."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np

from rayrml.config.sections import NeuralNetwork
from rayrml.data.datasets import Datasets
from rayrml.data.reader_keys import DATA
from rayrml.data.sources import Source
from rayrml.errors import ConfigError, Problem, RayrmlError
from rayrml.losses import Loss
from rayrml.networks.families import Family, choose_network, is_named
from rayrml.networks.families.family import Ending
from rayrml.networks.layers.layout import Shape
from rayrml.networks.shapes import open_differing

_MASKS, _WHITE = 20, 255
LAYERS = "neural_network.layers"
WEIGHTS = f"{LAYERS}.weights"


def find_family(nn: NeuralNetwork) -> Family | None:
    """The network that `layers` names, None if it lists layers.

    Raises:
        ConfigError: mistakes in its section; or weights that those of `checkpoints.load` would replace.
    """
    if not (isinstance(nn.layers, dict) and is_named(nn.layers)):
        return None
    family = choose_network(nn.layers, LAYERS)
    if family.weights is not None and nn.checkpoints.load is not None:
        raise ConfigError(Problem(WEIGHTS, "has no effect beside checkpoints.load, which replaces all weights"))
    return family


def tells_shapes(family: Family) -> bool:
    """Whether it is known how many axes the samples have."""
    return family.input is not None or len(family.ranks) == 1


def is_complete(family: Family) -> bool:
    """Whether nothing about the network has to be found out."""
    return None not in (family.input, family.classes, family.activation)


def complete(family: Family, datasets: Datasets, loss: Loss | None) -> Family:
    """The network for the samples, their classes and the loss.

    Raises:
        ConfigError: these do not tell something, or the network cannot take the samples.
    """
    if family.input is None:
        family = dataclasses.replace(family, input=_find_shape(family, datasets))
    classes = family.classes or _count_outputs(family, datasets, loss)
    activation = family.activation or _choose_ending(loss, classes)
    return dataclasses.replace(family, classes=classes, activation=activation)


def _find_shape(family: Family, datasets: Datasets) -> Shape:
    """[*spatial, C] of the samples."""
    for shape in datasets.shapes:
        misfit = family.find_misfit((*shape[1:], shape[0]))
        if misfit is not None:
            raise ConfigError(Problem(DATA, f"{misfit}{_resizing_hint(family, shape, datasets)}"))
    channels, *spatial = open_differing(*datasets.shapes)
    return (*spatial, channels)


def _resizing_hint(family: Family, shape: Shape, datasets: Datasets) -> str:
    """Which transform makes images that the network takes, "" if none does."""
    source = next(iter(datasets.sources.values()))
    sizes = [size for size in shape[1:] if size is not None]
    if family.multiple == 1 or not source.input.pixels or len(sizes) != 2:
        return ""
    fitting = [max(round(size / family.multiple), 1) * family.multiple for size in sizes]
    return f'. The transform {{"resize": {fitting}}} makes images that it takes'


def _count_outputs(family: Family, datasets: Datasets, loss: Loss | None) -> int:
    """How many numbers the targets need for each sample or pixel."""
    samples = next(iter(datasets.sources.values())).samples
    if samples.values is not None:
        return samples.values.shape[1]
    if datasets.classes and (loss is None or loss.targets == "labels" or loss.accepts_labels):
        binary = loss is not None and loss.binary and len(datasets.classes) == 2 and loss.takes != "softmax"
        return 1 if binary else len(datasets.classes)
    target = datasets.target_shape
    if loss is not None and loss.targets == "arrays" and target and len(target) == 1 + family.output_rank:
        return target[0]
    seen = _describe_masks(next(iter(datasets.sources.values()))) if family.segments else None
    message = f"this key is missing, and {seen or 'the samples do not tell it'}"
    raise ConfigError(
        Problem(f"{LAYERS}.classes", f"{message}. Expected the number of classes, or of values to predict")
    )


def _describe_masks(source: Source) -> str | None:
    """What some masks hold, which does not tell what all hold; None if they are no masks, or cannot be read."""
    if source.target is None:
        return None
    places = [source.target.samples.place(index) for index in source.target.samples.spread(_MASKS)]
    with contextlib.suppress(RayrmlError, ValueError):  # none can be read, or no two have one shape
        arrays = [array for array in source.target.decoding.read_prepared(places) if array is not None]
        values = np.unique(np.concatenate([array.ravel() for array in arrays]))
        if {0, _WHITE} == set(values.tolist()):
            return f"{len(places)} of the masks are black and white, for which 1 is enough"
        if values.dtype.kind != "f" or np.array_equal(values, values.round()):
            return f"the largest number in {len(places)} of the masks is {int(values.max())}"
    return None


def _choose_ending(loss: Loss | None, outputs: int) -> Ending:
    """The activation whose outputs the loss takes."""
    if loss is None:
        message = 'this key is missing, and there is no loss that tells it. Expected "softmax", "sigmoid" or the like'
        raise ConfigError(Problem(f"{LAYERS}.activation", message))
    takes = loss.takes
    if takes == "softmax":
        return "softmax" if outputs > 1 else "sigmoid"
    return "linear" if takes in (None, "logits", "sigmoid_logits") else takes
