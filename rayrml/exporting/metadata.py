"""What a file says of its network: classes, how files become inputs, and what outputs stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayrml.exporting.exportable import BATCH, Exportable, loss_of
from rayrml.exporting.preprocessing import Preprocessing
from rayrml.inference.class_table import Classifier, tabulator
from rayrml.inference.value_table import Labeller, Measurer
from rayrml.saving.checkpoints import Checkpoint
from rayrml.version import __version__

FORMAT = 1
PROBABLE = ("logits", "softmax", "log_softmax", "sigmoid", "sigmoid_logits")  # kinds that become probabilities


def describe(
    exported: Exportable, kept: Checkpoint, preprocessing: Preprocessing | None, *, from_pixels: bool
) -> dict[str, Any]:
    """The metadata, in JSON's types, of what is exported from a checkpoint.

    Args:
        exported: whose inputs and outputs are described.
        kept: the checkpoint.
        preprocessing: how files become inputs, None if that is not known.
        from_pixels: whether the file itself does that.
    """
    outputs = _describe_outputs(exported, kept)
    if exported.gives_probabilities:
        outputs = [{**outputs[0], "kind": "probabilities"}]
    return {
        "format": FORMAT,
        "rayrml": __version__,
        "epoch": kept.epoch,
        "classes": list(kept.classes),
        "inputs": [
            {"name": one.name, "shape": [BATCH, *one.shape], "dtype": str(one.dtype).removeprefix("torch.")}
            for one in exported.inputs
        ],
        "preprocessing": _describe_preprocessing(preprocessing, kept, from_pixels=from_pixels),
        "outputs": outputs,
        "detection": _describe_grids(kept),
    }


def output_kind(kept: Checkpoint) -> tuple[Any, str]:
    """What makes lines of a table of outputs, and their kind: `logits`, `softmax`, ..., `numbers` or `boxes`."""
    if kept.generates:
        return None, "samples"
    loss = loss_of(kept)
    if loss is not None and loss.targets == "boxes":
        return None, "grids"
    table = tabulator(kept.layers, kept.loss or None, kept.classes, kept.targets)
    if isinstance(table, Measurer):
        return table, "numbers"
    if isinstance(table, Labeller):
        return table, table.ending
    if not isinstance(table, Classifier):
        return table, "values"
    takes_classes = loss is not None and loss.takes is not None
    return table, table.ending if table.certain or table.names or takes_classes else "values"


def _describe_outputs(exported: Exportable, kept: Checkpoint) -> list[dict[str, Any]]:
    table, kind = output_kind(kept)
    shapes = exported.network.output_shapes
    found = [
        {"name": name, "shape": [BATCH, *(size or "any" for size in shape)], "kind": kind}
        for name, shape in zip(exported.outputs, shapes, strict=True)
    ]
    if isinstance(table, Measurer):
        found[0]["names"] = list(table.columns)
    if isinstance(table, Labeller):
        found[0] |= {"names": list(table.names), "threshold": table.threshold}
    return found


def _describe_preprocessing(
    preprocessing: Preprocessing | None, kept: Checkpoint, *, from_pixels: bool
) -> dict[str, Any] | None:
    if kept.generates:
        return {"input_type": "noise", "in_file": False, "steps": []}
    if preprocessing is None:
        return None
    is_image = preprocessing.input_type == "images"
    images = {"colors": "gray" if preprocessing.channels == 1 else "RGB"} if is_image else {}
    return {
        "input_type": preprocessing.input_type,
        **images,
        **{key: value for key, value in preprocessing.options.items() if key != "grayscale"},
        "in_file": from_pixels,
        "sliced": preprocessing.slicers,
        "averages_flips": preprocessing.flips if from_pixels else "none",
        "steps": list(preprocessing.steps),
    }


def _describe_grids(kept: Checkpoint) -> Mapping[str, Any] | None:
    """How the outputs of a network that finds objects become boxes, None for other networks."""
    loss = loss_of(kept)
    if loss is None or loss.targets != "boxes":
        return None
    known = {key: kept.loss[key] for key in ("anchors", "strides") if kept.loss.get(key)}
    return {**known, "each_anchor": ["x", "y", "w", "h", "objectness", "classes"], **kept.detection}
