"""Which regions of an image speak for a class: gradient-weighted class activation maps. Source: arXiv 1610.02391."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.nn import functional as F

from rayrml.config.names import suggest
from rayrml.errors import ConfigError, Problem
from rayrml.networks.graph import INPUT
from rayrml.networks.layers.activations import (
    ENDINGS,
    Activation,
    LogSoftmax,
    Sigmoid,
    Softmax,
    linear,
    relu,
)
from rayrml.networks.layers.convolution import Convolution
from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.layout import to_keras
from rayrml.networks.layers.pooling import AveragePooling, MaxPooling
from rayrml.networks.layers.reshaping import Cropping, ZeroPadding
from rayrml.networks.layers.weighted_sum import WeightedSum
from rayrml.networks.network import Network
from rayrml.tensors import to_input

_SPATIAL = 3  # axes of (C, H, W)


class ClassActivation:
    """Maps of the regions that speak for a class, by the last layer of a classifier that knows positions.

    The channels of the layer are weighted by the mean of the gradient of the class's score with respect to them, added
    up, and kept where they are positive. The score is the output before a last softmax or sigmoid.

    Args:
        network: with its trained weights, on the CPU; a copy is changed.
        shape: (C, H, W) of the images.
        layer: name of the layer, None for the last one that has a height and a width, before the pooling that follows.

    Attributes:
        layer: name of the layer.

    Raises:
        ConfigError: there is no such layer, or none with a height and a width.
    """

    def __init__(self, network: Network, shape: tuple[int, ...], layer: str | None = None):
        self._network = copy.deepcopy(network).eval()
        self._is_single = network.output_shapes[0][0] == 1
        shapes = network.shapes_of(shape)
        self.layer = _find_layer(network, shapes) if layer is None else _choose_layer(network, shapes, layer)
        _give_scores(self._network)
        _undo_deferred(self._network)
        self._seen: list[torch.Tensor] = []
        self._network.layers()[self.layer].register_forward_hook(self._keep)

    def __call__(self, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """(N, H, W) from 0 to 1, the strongest region of each image being 1; zeros where nothing speaks for the class.

        Args:
            images: (N, C, H, W) as the network gets them.
            classes: (N,) int64.
        """
        self._seen.clear()
        with torch.enable_grad():
            scores = self._network(to_input(images).requires_grad_()).float()
            features = self._seen[-1]
            (gradient,) = torch.autograd.grad(self._of_classes(scores, classes).sum(), features)
        if self._network.channels_first:
            features, gradient = to_keras(features), to_keras(gradient)
        weights = gradient.mean((2, 3), keepdim=True)
        maps = F.relu((weights * features.detach()).sum(1, keepdim=True))
        maps = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        highest = maps.amax((1, 2), keepdim=True)
        return maps / torch.where(highest > 0, highest, 1.0)

    def _of_classes(self, scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """(N,) the score of each image's class; a single output is that of class 1, and speaks against class 0."""
        if self._is_single:
            return torch.where(classes == 1, scores[:, 0], -scores[:, 0])
        return scores.gather(1, classes[:, None])[:, 0]

    def _keep(self, _: torch.nn.Module, __: Any, output: torch.Tensor) -> None:
        self._seen.append(output)


def _find_layer(network: Network, shapes: tuple[tuple[int | None, ...], ...]) -> str:
    graph, layers = network.graph, network.layers()
    used = {graph.outputs[0]}
    found: int | None = None
    for n in range(len(graph.nodes) - 1, -1, -1):
        if n not in used:
            continue
        used.update(graph.nodes[n].inputs)
        if found is None and _has_positions(shapes[n]) and n not in graph.inputs:
            found = n
    if found is None:
        message = "no layer behind the input has a height and a width, so none knows which region speaks for a class"
        raise ConfigError(Problem("neural_network.layers", message))
    while _only_moves(layers[_name(network, found)]):
        before = graph.nodes[found].inputs[0]
        if graph.layers[graph.nodes[before].layer].class_name == INPUT or not _has_positions(shapes[before]):
            break
        found = before
    return _name(network, found)


def _choose_layer(network: Network, shapes: tuple[tuple[int | None, ...], ...], layer: str) -> str:
    """The layer of this name. Raises ConfigError if there is none, or it has no height and width."""
    graph = network.graph
    fitting = [_name(network, n) for n, shape in enumerate(shapes) if _has_positions(shape) and n not in graph.inputs]
    if layer in fitting:
        return layer
    known = layer in network.layers()
    message = f"the output of '{layer}' has no height and width" if known else f"unknown layer '{layer}'"
    raise ConfigError(Problem("--layer", f"{message}. {suggest(layer, fitting)}"))


def _name(network: Network, node: int) -> str:
    return network.graph.layers[network.graph.nodes[node].layer].name


def _has_positions(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == _SPATIAL and all(size is None or size > 1 for size in shape[1:])


def _only_moves(layer: Layer) -> bool:
    """Whether a layer, outside training, only picks, pads or averages what is in its input."""
    moves = layer.keeps_numbers and not isinstance(layer, Activation)
    return moves or isinstance(layer, MaxPooling | AveragePooling | Cropping | ZeroPadding)


def _give_scores(network: Network) -> None:
    """Remove the softmax or sigmoid at the end: its gradient is about zero where the network is sure."""
    graph, layers = network.graph, network.layers()
    node = graph.nodes[graph.outputs[0]]
    while graph.layers[node.layer].class_name != INPUT:
        layer = layers[graph.layers[node.layer].name]
        if isinstance(layer, WeightedSum):
            layer.activation = linear if layer.activation in ENDINGS else layer.activation
            return
        if isinstance(layer, Activation):
            layer.function = linear if layer.function in ENDINGS else layer.function
            return
        if isinstance(layer, Softmax | LogSoftmax | Sigmoid):
            layer.register_forward_hook(lambda module, inputs, output: inputs[0])
            return
        if not layer.keeps_numbers:
            return
        node = graph.nodes[node.inputs[0]]


def _undo_deferred(network: Network) -> None:
    """Apply each ReLU that was moved into a max pooling before it, too, where the features are looked at."""
    graph, layers = network.graph, network.layers()
    for node in graph.nodes:
        pool = layers.get(graph.layers[node.layer].name)
        if isinstance(pool, MaxPooling) and pool.activation is relu:
            before = layers.get(graph.layers[graph.nodes[node.inputs[0]].layer].name)
            if isinstance(before, Convolution):
                before.activation = relu
