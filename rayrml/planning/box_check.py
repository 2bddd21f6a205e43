"""What `rayrml check` and the log say of boxes: how many of each class, how large, and what is probably wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from rayrml.boxes.anchors import mean_iou
from rayrml.boxes.batch import Boxes
from rayrml.boxes.coding import assign
from rayrml.boxes.grids import Grids
from rayrml.config.tables import Choice
from rayrml.data.box_labels import BoxTable
from rayrml.data.datasets import Datasets
from rayrml.formatting import shorten
from rayrml.losses.detection import AUTO, grids_of
from rayrml.planning.grids import ANCHORS, are_alike, format_anchors, list_recorded
from rayrml.planning.settings import Settings
from rayrml.planning.training_boxes import TrainingBoxes

_SMALL = 2.0  # pixels of a side, below which a box has hardly a pixel of its own
_UNSUITED = 0.5  # mean IoU of boxes and their best anchors
HEADINGS = ("Class", "Boxes (training)", "Images", "Boxes (test)", "Images")


def count_boxes(datasets: Datasets) -> list[tuple[str, ...]]:
    """A row for each class: its name, and how many boxes and how many images with it each part has."""
    sources = (datasets.training, datasets.test)
    columns = [_count(None if source is None else source.samples.boxes, len(datasets.classes)) for source in sources]
    return [(name, *training, *test) for name, training, test in zip(datasets.classes, *columns, strict=True)]


def describe_sizes(datasets: Datasets) -> str | None:
    """The smallest and the largest box of training in pixels of the network's input; None without any."""
    boxes = TrainingBoxes(datasets).boxes
    if boxes is None or not len(boxes.corners):
        return None
    sizes = boxes.corners[:, 2:] - boxes.corners[:, :2]
    areas = sizes.prod(1)
    smallest, largest = (sizes[number].tolist() for number in (areas.argmin(), areas.argmax()))
    return f"{smallest[0]:.1f} x {smallest[1]:.1f} to {largest[0]:.1f} x {largest[1]:.1f} pixels of the network's input"


def describe_anchors(boxes: TrainingBoxes, settings: Settings) -> Iterator[str]:
    """A sentence on the anchors and how well they suit the training boxes; none if nothing is trained."""
    grids, mean = _grids_of(settings.loss), _measure(boxes, settings.loss)
    if grids is not None and mean is not None:
        kind = "Anchors as given" if _are_given(settings) else "Anchors of the training boxes"
        yield f"{kind}: {format_anchors(grids.anchors)}; mean IoU with the boxes {mean:.4f}"


def warn_of_anchors(boxes: TrainingBoxes, settings: Settings, recorded: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on anchors that suit few boxes, or that a checkpoint's network was not trained with.

    Args:
        boxes: those of training.
        settings: what the configuration says, with the loss of the network's grids.
        recorded: the loss of the checkpoint that is loaded, {} without one.
    """
    grids, mean = _grids_of(settings.loss), _measure(boxes, settings.loss)
    if grids is None:
        return
    if mean is not None and mean < _UNSUITED and _are_given(settings):
        yield f'the anchors have a mean IoU of {mean:.2f} with the training boxes: few are like them. Use "auto"'
    before = list_recorded(recorded)
    if before is not None and not are_alike(before, grids.anchors):
        sizes = format_anchors(before)
        yield f"the checkpoint's network was trained with other anchors ({sizes}): it learns sizes anew"


def warn_of_boxes(training: TrainingBoxes, loss: Choice | None) -> Iterator[str]:
    """Sentences on boxes that can hardly be learnt."""
    boxes, grids, datasets = training.boxes, _grids_of(loss), training.datasets
    if boxes is None or grids is None:
        return
    counted = boxes.keep(~boxes.ignored)
    counts = counted.classes.bincount(minlength=len(datasets.classes)).tolist()
    without = [name for name, count in zip(datasets.classes, counts, strict=True) if not count]
    if without:
        yield f"no training image has a box of {'class' if len(without) == 1 else 'classes'} {shorten(without)}"
    small = ((counted.corners[:, 2:] - counted.corners[:, :2]).amin(1) < _SMALL).sum().item()
    if small:
        which = f"{small} of {len(counted.corners)} training boxes {'is' if small == 1 else 'are'}"
        yield f"{which} smaller than {_SMALL:g} pixels in the network's input: a larger input shows them better"
    shared = _count_shared(counted, grids)
    if shared:
        which = f"{shared} of {len(counted.corners)} training boxes {'shares its' if shared == 1 else 'share their'}"
        yield f"{which} place with another box of the image: finer grids or more anchors tell them apart"


def _count(table: BoxTable | None, num_classes: int) -> list[tuple[str, str]]:
    """For each class, the number of boxes and of images with it."""
    if table is None:
        return [("-", "-")] * num_classes
    rows = ~table.ignored
    boxes = np.bincount(table.classes[rows], minlength=num_classes)
    pairs = np.unique(np.stack([table.classes[rows], table.images[rows]]), axis=1)
    images = np.bincount(pairs[0], minlength=num_classes)
    return [(f"{count:,}", f"{with_it:,}") for count, with_it in zip(boxes, images, strict=True)]


def _grids_of(loss: Choice | None) -> Grids | None:
    return None if loss is None else grids_of(loss.build())


def _are_given(settings: Settings) -> bool:
    return (settings.nn.loss or {}).get(ANCHORS, AUTO) != AUTO


def _measure(boxes: TrainingBoxes, loss: Choice | None) -> float | None:
    """The mean IoU of the training boxes and the anchors most like them; None without any."""
    grids, sizes = _grids_of(loss), boxes.sizes
    if grids is None or sizes is None or not len(sizes):
        return None
    return mean_iou(sizes, [size for of_grid in grids.anchors for size in of_grid])


def _count_shared(boxes: Boxes, grids: Grids) -> int:
    """How many boxes have the same image, anchor and cell as one before."""
    truth = assign(boxes.corners, grids)
    places = torch.stack([boxes.images, truth.anchors, truth.positions], 1)
    return len(places) - len(places.unique(dim=0))
