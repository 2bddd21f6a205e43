"""Whether the network's first layers scale pixels as they come: those of images are in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rayrml.data.datasets import Datasets
from rayrml.networks.layers.preprocessing import Normalization, Rescaling
from rayrml.networks.layers.wrappers import unwrapped
from rayrml.networks.network import Network
from rayrml.planning.data_types import DataTypes
from rayrml.planning.target_values import find_scaling

_FULL = np.array([0.0, 255.0])
_NEARLY = 0.02  # by which a divisor of pixels may differ from 255
_MOST_NORMALIZED = 10.0  # absolute value of pixels that are in [0, 1], or normalized
_FLAT = 0.1  # standard deviations between black and white that a layer was not made for
_FAR = 10.0  # standard deviations between all pixels and the mean


def warn_of_scaling(network: Network, datasets: Datasets, types: DataTypes) -> Iterator[str]:
    """A sentence if the network begins with a layer for pixels of 0 to 255, and they are in [0, 1] already."""
    reader = types.input_reader
    if reader is None or not reader.pixels:
        return
    scaling = find_scaling(reader, datasets.transforms.batched, "input")
    if scaling is None:
        return
    found = _find_misfit(network, scaling(_FULL / 255 if reader.floats else _FULL))
    if found is None:
        return
    inputs = "pixels are normalized" if scaling.steps else "pixels are in [0, 1]"
    how = "instead of the present normalize" if scaling.steps else "as the last of the input transforms"
    yield f'{inputs}, and the network\'s layer {found}. {{"normalize": {{"std": 0.00392}}}} {how} gives it 0 to 255'


def find_own_scaling(network: Network) -> str | None:
    """The network's first layer that scales its inputs, with no layer with weights before it; None without one."""
    graph, modules = network.graph, network.layers()
    reaching = set(graph.inputs)
    for number, node in enumerate(graph.nodes):
        name = graph.layers[node.layer].name
        if not node.inputs or not reaching.issuperset(node.inputs):
            continue
        module = unwrapped(modules[name])
        if isinstance(module, Rescaling | Normalization) and _scales(module):
            return name
        if not module.weights or isinstance(module, Normalization):
            reaching.add(number)
    return None


def _scales(layer: Rescaling | Normalization) -> bool:
    """Whether a layer changes numbers; one whose statistics are not learnt does not."""
    if isinstance(layer, Rescaling):
        return bool((layer.scale != 1).any() or (layer.offset != 0).any())
    return bool((layer.running_mean != 0).any() or (layer.running_var != 1).any())


def _find_misfit(network: Network, pixels: np.ndarray) -> str | None:
    """The first layer that is made for pixels of 0 to 255 and comes before any with weights; None if all is well.

    `pixels` are black and white (2,) as the network gets them.
    """
    graph, modules = network.graph, network.layers()
    reaching = dict.fromkeys(graph.inputs, pixels)  # black and white, perhaps for each channel
    for number, node in enumerate(graph.nodes):
        name = graph.layers[node.layer].name
        if number in reaching or not node.inputs or not all(i in reaching for i in node.inputs):
            continue
        module, values = unwrapped(modules[name]), reaching[node.inputs[0]]
        if isinstance(module, Rescaling):
            scale, offset = module.scale.numpy().ravel(), module.offset.numpy().ravel()
            if np.abs(values).max() <= _MOST_NORMALIZED and all(map(_scales_pixels, scale)):
                return f"'{name}' divides by {1 / scale.mean():g} again"
            ends = values.reshape(2, -1) * scale + offset
            reaching[number] = np.array([ends.min(), ends.max()])
        elif isinstance(module, Normalization):
            return _describe_normalization(name, module, values)
        elif not module.weights:
            reaching[number] = values
    return None


def _describe_normalization(name: str, layer: Normalization, values: np.ndarray) -> str | None:
    """What a layer with statistics of 0 to 255 expects, if `values` are others; None if it may be made for them."""
    if layer.invert:
        return None
    mean = layer.running_mean.detach().cpu().numpy().ravel()
    deviation = np.maximum(np.sqrt(layer.running_var.detach().cpu().numpy().ravel()), 1e-7)
    black, white = (values[0] - mean) / deviation, (values[1] - mean) / deviation
    far = (np.sign(black) == np.sign(white)) & (np.minimum(np.abs(black), np.abs(white)) > _FAR)
    flat = np.abs(white - black) < _FLAT
    if not (flat | far).all() or (255 / deviation < _FLAT).all():
        return None
    return f"'{name}' expects values about {mean.mean():.3g}, with a standard deviation of {deviation.mean():.3g}"


def _scales_pixels(scale: float) -> bool:
    """Whether a factor brings 0 to 255 into [0, 1] or, with an offset, into [-1, 1]."""
    return any(abs(scale * full - 1) < _NEARLY for full in (255, 256, 127.5, 128))
