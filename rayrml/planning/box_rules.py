"""Rules between the keys of object detection."""

from __future__ import annotations

from collections.abc import Iterator

from rayrml.config.detection import BoxKeys, Detection
from rayrml.data.reader_keys import BOX_KEYS, BOXES, DATA
from rayrml.errors import Problem
from rayrml.losses import detection
from rayrml.planning.settings import Settings

_APP = "neural_network.app"
# Keys that do not go with boxes, and the end of the message.
_WITHOUT_BOXES = {"slicers": "", "target_suffix": "", "hdf5_outfile": "", "class_names": ". Expected classes"}
_OF_SIDES = {"input_transforms": ". Expected transforms", "target_transforms": ". Expected transforms"}  # both move


def finds_objects(settings: Settings) -> bool:
    """Whether the loss is one of networks that find objects."""
    return settings.loss is not None and settings.loss.name in detection.LOSSES


def _box_application(settings: Settings) -> Iterator[Problem]:
    """Losses, targets and the application go together."""
    nn, data, loss = settings.nn, settings.data, settings.loss
    if loss is None:
        return
    finds = finds_objects(settings)
    if nn.app == "obj" and not finds:
        yield Problem(_APP, f"'obj' finds objects, but the loss {loss.name} is another. Expected {_LOSSES}")
    if finds and nn.app not in (None, "obj"):
        yield Problem(_APP, f"'{nn.app}' does not go with the loss {loss.name}. Expected obj, or no app")
    if finds and data.targets not in (None, BOXES):
        message = f"the loss {loss.name} learns from boxes, but targets are of type '{data.targets}'"
        yield Problem(f"{DATA}.target_type", f'{message}. Expected "boxes"')
    if not finds and data.targets == BOXES:
        yield Problem("neural_network.loss.function", f"{loss.name} takes no boxes. Expected {_LOSSES}")
    if finds and data.inputs not in (None, "images"):
        yield Problem(f"{DATA}.input_type", 'objects are found in images. Expected "images"')


def _box_keys(settings: Settings) -> Iterator[Problem]:
    """Keys of boxes need boxes."""
    nn, data = settings.nn, settings.data
    for key in BOX_KEYS:
        used = data.targets == BOXES or (key == "classes" and finds_objects(settings))  # also of predictions
        if not used and getattr(data, key) != BoxKeys.model_fields[key].default:
            yield Problem(f"{DATA}.{key}", "has no effect: targets are not boxes")
    if not finds_objects(settings) and nn.detection != Detection():
        yield Problem("neural_network.detection", f"has no effect: no objects are found. Expected {_LOSSES}")
    if data.samples and not data.input_path:
        yield Problem(f"{DATA}.samples", "has no effect: input_path is missing. Of a test, it is test_samples")
    for part in ("test", "final_test"):
        if getattr(data, f"{part}_samples") and not getattr(data, f"{part}_input_path"):
            yield Problem(f"{DATA}.{part}_samples", f"has no effect: {part}_input_path is missing")


def _beside_boxes(settings: Settings) -> Iterator[Problem]:
    """What does not go with boxes."""
    data = settings.data
    if not finds_objects(settings):
        return
    cures = {**_WITHOUT_BOXES, **(_OF_SIDES if data.targets == BOXES else {})}
    for key in filter(lambda key: getattr(data, key), cures):
        yield Problem(f"{DATA}.{key}", f"does not go with boxes{cures[key]}")
    if data.hdf5_precision != "single":
        yield Problem(f"{DATA}.hdf5_precision", "does not go with boxes: their pixels need all digits")
    if data.test_transforms != "none":
        yield Problem(f"{DATA}.test_transforms", "does not go with boxes: outputs of flipped images are other grids")


_LOSSES = f"the loss {' or '.join(detection.LOSSES)}"
RULES = (_box_application, _box_keys, _beside_boxes)
