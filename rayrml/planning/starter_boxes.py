"""A configuration to start from for images with boxes: a small network that fits their classes and sizes."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rayrml.data.box_labels import (
    BoxPart,
    LabelledBoxes,
    LabelOptions,
    Labels,
    Recognized,
    make_boxes,
    read_labels,
    recognize,
)
from rayrml.data.box_labels.class_names import find_description
from rayrml.data.discovery import Samples, find_samples, quote_some
from rayrml.data.layout import Role
from rayrml.data.readers.images import IMAGE_EXTENSIONS, read_header
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.formatting import shorten
from rayrml.planning import starter_recipe
from rayrml.planning.starter_detector import NUM_ANCHORS, build_detector, count_grids

Size = tuple[int, int]  # height, width

COMMENTS = {
    "num_epochs": "Training ends earlier if mAP no longer rises; best.pt is the network of the best epoch.",
    "layers": "One line per layer. The layers boxes_... are the outputs: 3 anchors x (5 + classes) channels each.",
    "batch_size": "Below 4 images, `rayrml new --batch-size` writes GroupNormalization, which batches do not change.",
    "transforms": "What is random happens in training only. Larger sizes show small objects better and take more time.",
    "optimizer": "If the loss jumps or stays where it is, try a third of the learning rate.",
    "anchors": '"auto": the usual sizes of the training boxes.',
    "score_threshold": "Detections with lower scores are neither written nor drawn; mAP counts them all.",
}
_CALLED: dict[Role, str] = {"training": "Training", "validation": "Test", "test": "Final test"}
_PREFIXES: dict[Role, str] = {"training": "", "validation": "test_", "test": "final_test_"}
_SHARE = 0.2  # of the images is kept for the test if no part is
_STEP, _LEAST, _MOST = 32, 128, 416  # pixels of a side of the network's input
_SMALL_SHARE, _SMALL_SIDE = 0.1, 32  # at most this share of the boxes has sides below so many pixels of the input
_BATCH_SIZE, _LARGER_BATCH_SIZE, _MANY = 8, 16, 2000  # images: more have larger batches
_LEAST_IN_BATCH = 4  # images from which statistics of a batch are good enough
_VIEWS, _EPOCHS = 20_000, (40, 200)  # images that a training goes through, and the least and the most epochs
_MOST_LOOKED_AT = 100
_MOST_PRELOADED = 2**30  # bytes
_SIDES = (("left", "right"),)  # words in names of classes that a flip would make wrong


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A part of a data set: its images, their boxes, and where these are.

    Attributes:
        images: those that are used.
        boxes: what their label files say.
        keys: what the keys `input_path`, `target_path` and `samples` are.
        notes: what is to be said of the label files.
    """

    images: Samples
    boxes: LabelledBoxes
    keys: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def good(self) -> list[int]:
        """The images that can be used."""
        return [number for number in range(len(self.images)) if number not in self.boxes.bad]

    @property
    def num_images(self) -> int:
        """How many images can be used."""
        return len(self.good)

    @property
    def sizes(self) -> list[Size]:
        """Their heights and widths."""
        return [(height, width) for height, width in self.boxes.table.sizes[self.good].tolist()]


@dataclasses.dataclass(frozen=True)
class BoxesFound:
    """A data set with boxes.

    Attributes:
        source: where and in which format it is.
        parts: "training" and perhaps "validation" and "test".
        classes: the classes in the order of the outputs.
        size: height and width of the network's input.
        gray: whether some of the images are all grayscale.
        notes: what is not used.
    """

    source: Recognized
    parts: Mapping[Role, Labelled]
    classes: tuple[str, ...]
    size: Size
    gray: bool
    notes: tuple[str, ...]

    @property
    def training(self) -> Labelled:
        """The images to train on."""
        return self.parts["training"]

    @property
    def may_be_flipped(self) -> bool:
        """Whether left and right do not matter, as far as names of classes and images tell."""
        words = {word for name in self.classes for word in name.lower().replace("-", "_").replace(" ", "_").split("_")}
        told = any(words & set(pair) for pair in _SIDES)
        return not told and starter_recipe.may_be_flipped(self.training.sizes, self.gray)


def find_boxes(folder: Path) -> BoxesFound | None:
    """The images with boxes in a folder, None if it is no data set with boxes.

    Raises:
        DataError: it is one, but cannot be used: files are missing or wrong, or no training image has a box.
        ConfigError: a key of the configuration would be wrong.
    """
    source = recognize(str(folder))
    if source is None:
        return None
    parts: dict[Role, Labelled] = {}
    notes = list(source.notes)
    classes = source.classes or None
    for role, part in _choose_roles(source.parts).items():
        parts[role] = _read(part, source, classes, role)
        classes = parts[role].boxes.classes
    training = parts["training"]
    size = choose_size(training.sizes, _shares(training.boxes))
    _refuse_few(training.boxes, NUM_ANCHORS * count_grids(size), source.source)
    return BoxesFound(
        source=source,
        parts=parts,
        classes=training.boxes.classes,
        size=size,
        gray=_are_gray(training),
        notes=tuple(notes),
    )


def choose_size(sizes: Sequence[Size], shares: np.ndarray) -> Size:
    """Height and width of the network's input, multiples of 32 from 128 to 416.

    Most boxes have 32 pixels or more there, as long as images need not be enlarged for it. It has the proportions of
    the images if these have one, and is square otherwise.

    Args:
        sizes: heights and widths of images.
        shares: (M,) sides of boxes, as shares of their image's longer side.
    """
    own = statistics.median(map(max, sizes))
    wanted = _SMALL_SIDE / max(float(np.quantile(shares, _SMALL_SHARE)), 1e-6)
    longest = _fit(min(wanted, own))
    if not starter_recipe.have_one_proportion(sizes):
        return longest, longest
    height, width = (statistics.median(lengths) for lengths in zip(*sizes, strict=True))
    scale = longest / max(height, width)
    return _fit(height * scale), _fit(width * scale)


def choose_batch_size(num_images: int) -> int:
    """Images of a batch, for so many to train on."""
    return _BATCH_SIZE if num_images < _MANY else _LARGER_BATCH_SIZE


def configuration(found: BoxesFound, name: str, batch_size: int | None = None) -> dict[str, Any]:
    """A configuration that trains a small network on the boxes; the run's files are named after `name`.

    Args:
        found: the data set.
        name: of the configuration.
        batch_size: images of a batch, None to choose it.
    """
    channels = 1 if found.gray else 3
    num_images = _count_training(found)
    num_epochs = min(max(round(_VIEWS / num_images), _EPOCHS[0]), _EPOCHS[1])
    count = sum(part.num_images for part in found.parts.values())
    flip = [{"random_horizontal_flip": 0.5}] if found.may_be_flipped else []
    data: dict[str, Any] = {"input_type": "images", "target_type": "boxes"}
    for role, part in found.parts.items():
        data |= {f"{_PREFIXES[role]}{key}": value for key, value in part.keys.items()}
    data |= {
        **({} if "validation" in found.parts else {"test_share": _SHARE}),
        **({"box_format": found.source.format} if found.source.format != "coco" else {}),
        "batch_size": batch_size or choose_batch_size(num_images),
        "grayscale": found.gray,
        "preload": count * channels * found.size[0] * found.size[1] <= _MOST_PRELOADED,
        "on_bad_sample": "skip",
        "transforms": [{"letterbox": list(found.size)}, *flip],
    }
    groups = min(data["batch_size"], num_images) < _LEAST_IN_BATCH
    schedule = [{"type": "Warmup", "num_epochs": 1, "start_factor": 0.1, "per": "step"}, {"type": "Cosine"}]
    network = {
        "app": "obj",
        "outfile": f"out_{name}.txt",
        "num_epochs": num_epochs,
        "layers": build_detector((*found.size, channels), len(found.classes), groups=groups),
        "checkpoints": {"save": f"./{name}_model/", "interval": num_epochs},
        "data": data,
        "optimizer": {"type": "Adam", "learning_rate": 0.001, "lr_scheduler": schedule},
        "loss": {"function": "YOLOv3", "anchors": "auto"},
        "detection": {"score_threshold": 0.25, "nms_iou": 0.45},
        "early_stopping": {"patience": num_epochs // 3, "metric": "map"},
    }
    return {"neural_network": network}


def describe(found: BoxesFound, batch_size: int) -> Iterator[str]:
    """Sentences on what was found and what is written."""
    count = f"{len(found.classes)} class{'' if len(found.classes) == 1 else 'es'}"
    yield f"{count}: {shorten(found.classes)}"
    for role, part in found.parts.items():
        yield from (f"{_CALLED[role]}: {note}" for note in part.notes)
    yield from found.notes
    if "validation" not in found.parts:
        yield "A fifth of the images is kept for the test"
    heights, widths = zip(*found.training.sizes, strict=True)
    kind = "gray" if found.gray else "in colour"
    size = " x ".join(map(str, found.size))
    borders = "" if starter_recipe.have_one_proportion(found.training.sizes) else ". Gray borders fill the rest"
    of_images = f"{min(heights)} to {max(heights)} x {min(widths)} to {max(widths)}"
    yield f"Images of {of_images} pixels become {size}, {kind}{borders}"
    if found.may_be_flipped:
        yield "In training they are flipped left to right. Remove the flip if sides matter"
    else:
        yield "In training they are not flipped: it looks as if sides matter"
    if min(batch_size, _count_training(found)) < _LEAST_IN_BATCH:
        yield "Batches are too small for BatchNormalization: GroupNormalization treats each image by itself"


def _choose_roles(parts: Mapping[Role, BoxPart]) -> dict[Role, BoxPart]:
    """The parts by what they are used for: the test after each epoch has the validation images if there are any."""
    chosen: dict[Role, BoxPart] = {"training": parts["training"]}
    if "validation" in parts:
        chosen["validation"] = parts["validation"]
        if "test" in parts:
            chosen["test"] = parts["test"]
    elif "test" in parts:
        chosen["validation"] = parts["test"]
    return chosen


def _read(part: BoxPart, source: Recognized, classes: tuple[str, ...] | None, role: Role) -> Labelled:
    """The images and boxes of a part. Raises DataError if there are none, or half of them are bad."""
    if not isinstance(part.input_path, str):
        folders = quote_some(part.input_path, 3)
        message = f"{role} images are in several folders, {folders}. Expected one folder, or one list of images"
        raise DataError(Problem(source.source, message))
    where = source.source
    options = LabelOptions(
        target_path=part.target_path, box_format=source.format, classes=classes, samples=part.samples, skips=True
    )
    try:
        labels = read_labels(find_samples(part.input_path, IMAGE_EXTENSIONS, where), options)
        boxes = make_boxes(labels, classes)
    except (ConfigError, DataError) as error:  # places are keys of a configuration that there is not yet
        raise DataError(*(_place(problem, where) for problem in error.problems)) from None
    reasons = [*labels.samples.unreadable, *(boxes.bad[number] for number in sorted(boxes.bad))]
    if 2 * len(boxes.bad) > len(labels):
        raise DataError(Problem(where, f"{len(boxes.bad)} of {len(labels)} images have bad labels: {reasons[0]}"))
    keys = {"input_path": part.input_path, "target_path": labels.files.folder}
    if part.samples is not None:
        keys["samples"] = part.samples
    if role == "training" and source.classes and not _tell_classes(labels, source.classes):
        keys["classes"] = source.source
    notes = [*labels.notes, *boxes.notes]
    if reasons:
        notes.append(f"{'1 image is' if len(reasons) == 1 else f'{len(reasons)} images are'} left out: {reasons[0]}")
    return Labelled(labels.samples, boxes, keys, tuple(notes))


def _place(problem: Problem, where: str) -> Problem:
    return Problem(where, problem.message) if problem.where.startswith("neural_network.") else problem


def _shares(boxes: LabelledBoxes) -> np.ndarray:
    """(M,) the sides of boxes, as the roots of their areas, in shares of the longer side of their images."""
    table, counted = boxes.table, ~boxes.table.ignored
    corners = table.corners[counted]
    areas = (corners[:, 2:] - corners[:, :2]).prod(1)
    return np.sqrt(areas) / table.sizes[table.images[counted]].max(1)


def _are_gray(part: Labelled) -> bool:
    images = part.images.only(part.good)
    return all(read_header(images.path(number)).gray for number in images.spread(_MOST_LOOKED_AT))


def _refuse_few(boxes: LabelledBoxes, needed: int, where: str) -> None:
    """Raise DataError if there are fewer boxes than anchors."""
    count = int((~boxes.table.ignored).sum())
    if count < needed:
        message = f"the training images have {count} boxes. Expected {needed} or more, one for each anchor"
        raise DataError(Problem(where, message))


def _tell_classes(labels: Labels, classes: tuple[str, ...]) -> bool:
    """Whether the class names that a run finds near the labels are these."""
    try:
        described, _ = find_description([labels.files.folder, labels.samples.root])
    except DataError:
        return False
    return described is not None and described.names == classes


def _count_training(found: BoxesFound) -> int:
    """How many images are trained on."""
    count = found.training.num_images
    return count if "validation" in found.parts else max(round(count * (1 - _SHARE)), 1)


def _fit(length: float) -> int:
    return min(max(-(-round(length) // _STEP) * _STEP, _LEAST), _MOST)
