"""Which pictures the outputs of a network make, and why they make none where one might expect some."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rayrml.config.mistakes import Findings
from rayrml.data import image_ops
from rayrml.data.datasets import Datasets
from rayrml.data.reader_keys import DATA, PICTURES
from rayrml.data.sample_geometry import list_size_changes, show_same
from rayrml.errors import ConfigError
from rayrml.inference.box_pictures import BoxDrawing
from rayrml.inference.class_table import find_output_ending
from rayrml.inference.pictures import Drawing, PictureKind
from rayrml.inference.sample_grid import SampleDrawing
from rayrml.losses import Loss
from rayrml.networks.ending import find_ending
from rayrml.networks.network import Network
from rayrml.planning.application import GAN
from rayrml.planning.data_types import DataTypes
from rayrml.planning.generation import choose_drawing
from rayrml.planning.settings import Settings
from rayrml.planning.target_values import find_scaling

_WHERE = f"{DATA}.{PICTURES}"
_NO_PICTURES = {
    "always": "has no effect: outputs are neither images nor boxes",
    "boxes": "has no effect: outputs are not boxes",
}  # by what is wanted
_MOST_CLASSES = 65535  # one number of 16 bits is for pixels without a class
_PIXEL_CHANNELS = (1, 3)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The pictures of a network's outputs.

    Attributes:
        drawing: how outputs become pictures, None if they do not.
        reason: why they do not although they are images, "" if they are none.
    """

    drawing: Drawing | BoxDrawing | SampleDrawing | None = None
    reason: str = ""

    @property
    def choice(self) -> str | None:
        """What predictions with the trained network set `test_output_images` to, None for nothing.

        Pictures of boxes are made on request alone: what counts are the detections, which are in files of their own.
        """
        if isinstance(self.drawing, BoxDrawing | SampleDrawing):
            return None
        return self.drawing.kind if self.drawing is not None else "none" if self.reason else None


def choose_pictures(settings: Settings, network: Network, datasets: Datasets, findings: Findings) -> Pictures:
    """The pictures of the network's outputs.

    Args:
        settings: what the configuration says.
        network: which gives the outputs.
        datasets: the samples.
        findings: gets what is wrong with pictures that are requested.
    """
    if settings.nn.app == GAN:
        return Pictures(choose_drawing(settings.nn, network, findings))
    data, reader = settings.data, settings.types.input_reader
    if reader is None or reader.read is None or not reader.pixels or settings.types.targets_are_labels:
        return Pictures()
    loss: Loss | None = settings.loss.build() if settings.loss is not None else None
    if loss is not None and loss.targets == "boxes":
        return _choose_boxes(settings, datasets, findings)
    wanted = "auto" if data.test_output_images == "none" else data.test_output_images
    output = network.outputs_of(datasets.shape)[0]
    if wanted in ("auto", "always"):
        kind = _find_kind(output, network, loss, (settings.types, datasets))
    else:
        kind = None if wanted == "boxes" else wanted
    misfit = _NO_PICTURES.get(wanted) if kind is None else _find_misfit(kind, output)
    if misfit is not None and wanted != "auto":
        findings.add(_WHERE, misfit)
    if kind is None or misfit is not None:
        return Pictures()
    try:
        changes = list_size_changes(datasets.transforms)
        reason = _find_displacement(output, datasets)
    except ConfigError as error:
        changes, reason = (), "; ".join(map(str, error.problems))
    if reason and wanted != "auto":
        findings.add(_WHERE, f"is not possible: {reason}")
    if reason:
        return Pictures(reason=reason)
    return Pictures(
        Drawing(
            kind=kind,
            ending=find_output_ending(network.graph, loss),
            num_classes=max(output[0] or 0, 2),
            classes=datasets.classes,
            input_size=(datasets.shape[1], datasets.shape[2]),
            changes=changes,
        )
    )


def _choose_boxes(settings: Settings, datasets: Datasets, findings: Findings) -> Pictures:
    """The pictures of boxes, if they are requested."""
    wanted = settings.data.test_output_images
    if wanted in ("masks", "pixels"):
        findings.add(_WHERE, "has no effect: outputs are boxes, not images. Expected 'boxes'")
    if wanted not in ("boxes", "always"):
        return Pictures()
    return Pictures(BoxDrawing(datasets.classes, settings.nn.detection.score_threshold))


def warn_of_pictures(pictures: Pictures, settings: Settings) -> tuple[str, ...]:
    """A sentence on pictures that are expected but not possible."""
    if not pictures.reason or not settings.data.draws:
        return ()
    return (f"the predictions are not written as pictures: {pictures.reason}",)


def _find_kind(
    output: Sequence[int | None], network: Network, loss: Loss | None, samples: tuple[DataTypes, Datasets]
) -> PictureKind | None:
    """What outputs of this shape represent, None if that is not known or no picture."""
    if len(output) != 3:
        return None
    types, datasets = samples
    channels, ending = output[0] or 0, find_ending(network.graph)
    if loss is not None and loss.targets == "labels":
        return "masks"
    if types.targets_are_arrays:
        if types.targets_are_class_numbers or types.data.target_is_mask:
            return "masks" if channels == 1 or ending in ("softmax", "log_softmax") else None
        return "pixels" if channels in _PIXEL_CHANNELS and _targets_are_pixels(types, datasets) else None
    if channels > 1 and ending in ("softmax", "log_softmax"):
        return "masks"
    if channels == 1 and loss is not None and loss.binary:
        return "masks"
    return "pixels" if channels in _PIXEL_CHANNELS and ending == "sigmoid" else None


def _targets_are_pixels(types: DataTypes, datasets: Datasets) -> bool:
    """Whether targets are fractions of white, gray or in RGB."""
    reader, transforms = types.target_reader, datasets.transforms
    recolored = any(isinstance(operation, image_ops.ConvertColor) for _, operation in transforms.target.steps)
    if reader is None or not reader.pixels or recolored:
        return False
    scaling = find_scaling(reader, transforms.batched, "target")
    return scaling is not None and not scaling.steps


def _find_misfit(kind: PictureKind, output: Sequence[int | None]) -> str | None:
    """Why outputs of this shape cannot be such pictures, None if they can."""
    shape = f"the network's outputs have the shape {tuple(output)}"
    if len(output) != 3:
        return f"has no effect: {shape}. Expected one value for each pixel, (channels, height, width)"
    if kind == "pixels" and output[0] not in _PIXEL_CHANNELS:
        return f"{shape}. Expected 1 channel for gray images, or 3 for RGB"
    return None if (output[0] or 0) <= _MOST_CLASSES else f"{shape}. Expected at most {_MOST_CLASSES} classes"


def _find_displacement(output: Sequence[int | None], datasets: Datasets) -> str:
    """Why it is not known where outputs of this shape are in inputs, "" if it is known."""
    inputs = list_size_changes(datasets.transforms)
    if datasets.test_targets or datasets.training is not None:
        targets = list_size_changes(datasets.transforms, "target")
        has_files = any(s is not None and s.target is not None for s in (datasets.training, datasets.test))
        if has_files and not show_same(inputs, targets):
            return "targets show another part of the images than the inputs do"
    size, own = datasets.shape[1:], tuple(length or 0 for length in output[1:])
    if any(
        all(long == factor * short for long, short in zip(a, b, strict=True)) for a, b, factor in _ratios(size, own)
    ):
        return ""
    sizes = " and ".join("x".join(map(str, lengths)) for lengths in (own, size))
    return f"outputs and inputs are of {sizes} pixels, so it is not known which pixels belong together"


def _ratios(size: Sequence[int], own: Sequence[int]) -> list[tuple[Sequence[int], Sequence[int], int]]:
    """The two sizes in both orders, with the whole number of times that the first is as long as the second."""
    return [(a, b, a[0] // b[0]) for a, b in ((size, own), (own, size)) if b[0]]
