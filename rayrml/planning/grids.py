"""What the outputs of a network that finds objects stand for: its grids, and the anchors that suit the boxes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rayrml.boxes.anchors import Size, cluster_sizes, sort_sizes
from rayrml.boxes.grids import Grids, Layout, find_layout
from rayrml.config.tables import Choice
from rayrml.data.datasets import Datasets
from rayrml.errors import ConfigError, Problem
from rayrml.losses import detection
from rayrml.networks.ending import find_activations_at_end
from rayrml.networks.graph import Graph
from rayrml.networks.network import Network
from rayrml.planning.training_boxes import TrainingBoxes

Anchors = tuple[tuple[Size, ...], ...]  # of each output
ANCHORS = "anchors"
_ROUNDING = 0.01
_LOSS = "neural_network.loss"
_ANCHORS, _STRIDES = f"{_LOSS}.{ANCHORS}", f"{_LOSS}.strides"


def find_grids(
    loss: Choice | None, network: Network, boxes: TrainingBoxes, recorded: Mapping[str, Any]
) -> Choice | None:
    """The loss with the grids of the network's outputs; other losses stay as they are.

    Args:
        loss: as in the configuration, None without one.
        network: whose outputs are grids.
        boxes: those of training, which know all samples.
        recorded: the loss of the checkpoint that is loaded, {} without one.

    Raises:
        ConfigError: the outputs, the classes, the anchors and the strides do not go together.
    """
    if loss is None or loss.name not in detection.LOSSES:
        return loss
    datasets = boxes.datasets
    _refuse_activations(network.graph)
    layout = _find_layout(loss, network, datasets)
    _check_order(network, datasets.shape, layout)
    anchors, before = loss.settings[ANCHORS], list_recorded(recorded)
    if anchors == detection.AUTO:
        anchors = before if datasets.training is None else _cluster(boxes, layout)
    if anchors is None:
        message = '"auto" needs training boxes, or a checkpoint of a network that learned from some'
        raise ConfigError(Problem(_ANCHORS, message))
    grids = layout.with_anchors(anchors)
    if datasets.training is None and before is not None and not are_alike(grids.anchors, before):
        message = f"are not those that the checkpoint's network was trained with: {format_anchors(before)}"
        raise ConfigError(Problem(_ANCHORS, f'{message}. Expected these, or "{detection.AUTO}"'))
    return with_grids(loss, grids)


def with_grids(loss: Choice, grids: Grids) -> Choice:
    """The row for outputs that are these grids; it says their anchors and strides."""
    found = {ANCHORS: grids.anchors, "strides": grids.strides}
    builder = functools.partial(detection.yolo_v3, grids)
    return dataclasses.replace(loss, builder=builder, arguments={**loss.arguments, **found})


def with_recorded_anchors(loss: Choice, recorded: Mapping[str, Any]) -> Choice:
    """The loss with the anchors of a checkpoint; the same loss if it has none for the same outputs.

    What a network's outputs stand for depends on the anchors that it was trained with, whatever boxes there are now.
    """
    grids, anchors = detection.grids_of(loss.build()), list_recorded(recorded)
    if grids is None or anchors is None or list(map(len, anchors)) != list(map(len, grids.anchors)):
        return loss
    return with_grids(loss, dataclasses.replace(grids, anchors=anchors))


def list_recorded(recorded: Mapping[str, Any]) -> Anchors | None:
    """The anchors of each output in the loss of a checkpoint, None if it has none."""
    anchors = recorded.get(ANCHORS, detection.AUTO)
    if anchors == detection.AUTO:
        return None
    return tuple(tuple((float(width), float(height)) for width, height in sizes) for sizes in anchors)


def are_alike(some: Anchors, others: Anchors) -> bool:
    """Whether anchors are the same for each output, as far as people write their digits."""
    if list(map(len, some)) != list(map(len, others)):
        return False
    return all(
        math.isclose(side, other, rel_tol=_ROUNDING)
        for sizes, other_sizes in zip(some, others, strict=True)
        for size, other_size in zip(sizes, other_sizes, strict=True)
        for side, other in zip(size, other_size, strict=True)
    )


def format_anchors(anchors: Anchors) -> str:
    """The anchors of all outputs by area: `10.0x13.0 16.0x30.0`."""
    sizes = sort_sizes([size for of_grid in anchors for size in of_grid])
    return " ".join(f"{width:.1f}x{height:.1f}" for width, height in sizes)


def _find_layout(loss: Choice, network: Network, datasets: Datasets) -> Layout:
    """The grids of the outputs, still without anchors. Raises ConfigError."""
    if not datasets.classes:
        message = "the classes are not known. Expected boxes, or a checkpoint of a network that learned from some"
        raise ConfigError(Problem("neural_network.data.classes", message))
    if len(datasets.shapes) > 1:
        raise ConfigError(Problem("neural_network.data", "objects are found in images of one size"))
    height, width = datasets.shape[1:]
    outputs = [[size or 0 for size in shape] for shape in network.outputs_of(datasets.shape)]
    return find_layout(outputs, (height, width), len(datasets.classes), strides=loss.settings["strides"])


def _cluster(boxes: TrainingBoxes, layout: Layout) -> Sequence[Size]:
    """The anchors that suit the training boxes. Raises ConfigError."""
    if boxes.sizes is None:
        raise RuntimeError("the samples have no boxes")
    return cluster_sizes(boxes.sizes, layout.count_anchors())


def _refuse_activations(graph: Graph) -> None:
    """Raise ConfigError if outputs are not what weighted sums give: boxes and scores are computed from these."""
    problems = [
        Problem(layer.where, f"layer '{layer.name}' has the activation {activation}. {_LINEAR}")
        for layer, activation in find_activations_at_end(graph)
    ]
    if problems:
        raise ConfigError(*problems)


def _check_order(network: Network, shape: Sequence[int], layout: Layout) -> None:
    """Raise ConfigError if the one output has the positions of the grids in another order than the strides say."""
    graph, shapes = network.graph, network.shapes_of(shape)
    node = graph.nodes[graph.outputs[0]]
    if len(graph.outputs) > 1 or graph.layers[node.layer].class_name != "Concatenate":
        return
    parts = [shapes[number][1] if len(shapes[number]) == 2 else None for number in node.inputs]
    cells = [rows * columns for rows, columns in layout.cells]
    if None in parts or sorted(parts, key=lambda part: part or 0) != sorted(cells) or parts == cells:
        return
    strides = dict(zip(cells, layout.strides, strict=True))
    cure = [strides[part] for part in parts if part is not None]
    message = f"{list(layout.strides)} make grids of {_list(cells)} cells, but the output has first {_list(parts)}"
    raise ConfigError(Problem(_STRIDES, f"{message}. Expected {cure}"))


def _list(numbers: Sequence[int | None]) -> str:
    return ", then ".join(map(str, numbers))


_LINEAR = "Expected none: boxes and scores are computed from linear outputs"
