"""The loss of networks whose outputs are grids of boxes: where objects are, and of which class they are."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field, WithJsonSchema
from torch.nn import functional

from rayrml.boxes.batch import Boxes
from rayrml.boxes.coding import Assignment, assign, decode, list_priors
from rayrml.boxes.grids import Grids, Outputs, join_outputs
from rayrml.boxes.overlap import areas, complete_ious, generalized_ious
from rayrml.errors import ConfigError, Problem
from rayrml.losses.loss import Loss

AUTO = "auto"
_LARGEST = 1_000_000  # pixels of an anchor: areas of much larger boxes overflow
_MOST_SHOWN = 80  # characters of a wrong value

BoxLoss = Literal["yolo", "giou", "ciou"]
Term = Literal["box", "object", "no_object", "class"]
TERMS: tuple[Term, ...] = ("box", "object", "no_object", "class")
Weights = dict[Term, Annotated[float, Field(ge=0, allow_inf_nan=False)]]


def _checked(anchors: Any) -> Any:
    """Anchors as tuples: sizes, or those of each output. Raises ValueError for anything else but `auto`."""
    if anchors == AUTO:
        return AUTO
    sizes = f'Expected "{AUTO}", a list of sizes [width, height] in pixels, or such a list for each output'
    if not isinstance(anchors, list | tuple) or not anchors:
        raise ValueError(f"{_show(anchors)} is not a list of anchors. {sizes}")
    nested = all(isinstance(part, list | tuple) and part and isinstance(part[0], list | tuple) for part in anchors)
    for size in itertools.chain(*anchors) if nested else anchors:
        if not _is_size(size):
            raise ValueError(f"{_show(size)} is not the size of an anchor. {sizes}")
    return _to_tuples(anchors)


def _is_size(size: Any) -> bool:
    """Whether this is [width, height] in pixels."""
    if not isinstance(size, list | tuple) or len(size) != 2:
        return False
    return all(isinstance(side, int | float) and side is not True and 0 < side <= _LARGEST for side in size)


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _to_tuples(value: Any) -> Any:
    return tuple(map(_to_tuples, value)) if isinstance(value, list | tuple) else float(value)


_SIDE = {"type": "number", "exclusiveMinimum": 0, "maximum": _LARGEST}
_SIZES = {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": _SIDE}}
_SCHEMA = {"anyOf": [{"const": AUTO, "type": "string"}, _SIZES, {"type": "array", "minItems": 1, "items": _SIZES}]}
Anchors = Annotated[Any, AfterValidator(_checked), WithJsonSchema(_SCHEMA)]
_Stride = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Strides = Annotated[tuple[_Stride, ...], Field(min_length=1)] | None
Share = Annotated[float, Field(ge=0, le=1)]


def yolo_v3(
    grids: Grids | None = None,
    /,
    *,
    anchors: Anchors = AUTO,
    strides: Strides = None,
    ignore_threshold: Share = 0.5,
    box_loss: BoxLoss = "yolo",
    weights: Weights | None = None,
) -> Loss:
    """Errors of boxes, of objectness and of classes, summed over the places of an image's grids.

    A box is learnt at one place: the anchor of the most similar size, in the cell of the box's middle. Everywhere else
    nothing should be found, except where the predicted box overlaps a true one by an IoU above `ignore_threshold`.

    - `box`: binary cross entropy of x and y, half the squared error of w and h, times 2 - the box's share of the image;
      with `giou` or `ciou`, 1 - that overlap instead,
    - `object`, `no_object`: binary cross entropy of the objectness,
    - `class`: binary cross entropy of each class.

    Without `anchors` and `strides`, they follow from the training boxes and from the shapes of the outputs. Source:
    arXiv 1804.02767, section 2; darknet's `yolo_layer.c`; for `giou` and `ciou` arXiv 1902.09630 and 1911.08287.
    """
    every = dict.fromkeys(TERMS, 1.0) | {**(weights or {})}
    if not any(every.values()):
        raise ConfigError(Problem("neural_network.loss.weights", "are all 0: there is nothing to learn"))
    settings = DetectionLoss(anchors, strides, ignore_threshold, box_loss, every)
    if grids is None:
        return Loss(settings, targets="boxes", metric="map", join=join_outputs)
    function = settings.on(grids)
    return Loss(
        function,
        targets="boxes",
        metric="map",
        join=join_outputs,
        parts=function.parts,
        term_names=tuple(f"{term}_loss" for term in TERMS),
    )


@dataclasses.dataclass(frozen=True)
class DetectionLoss:
    """What a configuration says of the loss; `on` makes it a function, once the network's grids are known.

    Attributes:
        anchors: width and height of each anchor in input pixels, or of each anchor of each output; or `auto`.
        strides: input pixels of a cell of each output, None to find them.
        ignore_threshold: the IoU with a true box above which a predicted one is no mistake.
        box_loss: what is measured between a predicted box and its true one.
        weights: of each of the `TERMS`.
    """

    anchors: Anchors
    strides: Strides
    ignore_threshold: float
    box_loss: BoxLoss
    weights: Mapping[str, float]

    def __call__(self, outputs: Outputs, boxes: Boxes) -> torch.Tensor:
        """There is no loss yet: what the outputs stand for is not known."""
        raise RuntimeError("the network's grids are not known yet")

    def on(self, grids: Grids) -> GridLoss:
        """The loss of a network with these grids, whose anchors and strides count."""
        return GridLoss(self, grids)


@dataclasses.dataclass(frozen=True)
class GridLoss:
    """A mean loss over the images of a batch: (outputs, true boxes in input pixels) -> a scalar."""

    settings: DetectionLoss
    grids: Grids

    def __call__(self, outputs: Outputs, boxes: Boxes) -> torch.Tensor:
        """The weighted sum of the terms, for outputs as the network gives them. Raises ConfigError as `terms`."""
        return self.total(self.terms(outputs, boxes))

    def parts(self, outputs: Outputs, boxes: Boxes) -> tuple[torch.Tensor, torch.Tensor]:
        """The weighted sum of the terms, and the `TERMS` themselves (4,). Raises ConfigError as `terms`."""
        found = self.terms(outputs, boxes)
        return self.total(found), torch.stack([found[name] for name in TERMS])

    def total(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The weighted sum of the terms. One of weight 0 does not count, even if it is infinite."""
        weights = self.settings.weights
        return torch.stack([terms[name] * weights[name] for name in TERMS if weights[name]]).sum()

    def terms(self, outputs: Outputs, boxes: Boxes) -> dict[str, torch.Tensor]:
        """Each of the `TERMS`: its mean over the images, without its weight; 0 for a batch without images.

        Computed in float32, or in float64 if the outputs are that, also where networks compute in 16 bits: these
        operations are none of those that autocast shortens. Nothing waits for the outputs' device.

        Args:
            outputs: (N, channels, rows, columns) each, or one (N, channels, positions).
            boxes: those of the N images, on the outputs' device.

        Raises:
            ConfigError: the outputs do not have the grids' shapes.
        """
        numbers = self.grids.split(outputs)  # (N, A, 5 + C, P)
        if len(boxes) != len(numbers):
            raise ValueError(f"expected boxes of {len(numbers)} images, got {len(boxes)}")
        truth, images = assign(boxes.corners, self.grids), boxes.images
        of_boxes = numbers[images, truth.anchors, :, truth.positions]  # (M, 5 + C)
        sums = {
            "box": _sum(self._box_errors(of_boxes, truth, boxes), ~boxes.ignored),
            **self._objectness(numbers, truth, boxes, images),
            "class": _sum(_class_errors(of_boxes, boxes.classes), ~boxes.ignored),
        }
        return {name: sums[name] / max(len(numbers), 1) for name in TERMS}

    def _box_errors(self, of_boxes: torch.Tensor, truth: Assignment, boxes: Boxes) -> torch.Tensor:
        """(M,) the error of each box at its place."""
        height, width = self.grids.size
        scales = (2 - areas(boxes.corners) / (width * height)).to(of_boxes.dtype)
        if self.settings.box_loss == "yolo":
            numbers = truth.numbers.to(of_boxes.dtype)
            places = functional.binary_cross_entropy_with_logits(of_boxes[:, :2], numbers[:, :2], reduction="none")
            errors = places.sum(1) + (of_boxes[:, 2:4] - numbers[:, 2:]).square().sum(1) / 2
        else:
            overlap = generalized_ious if self.settings.box_loss == "giou" else complete_ious
            priors = list_priors(self.grids, of_boxes)[truth.anchors, truth.positions]
            errors = 1 - overlap(decode(of_boxes[:, :4], priors), boxes.corners.to(of_boxes.dtype))
        return scales * errors

    def _objectness(
        self, numbers: torch.Tensor, truth: Assignment, boxes: Boxes, images: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The errors of objectness, summed over the places with a box, and over those where nothing is."""
        logits = numbers[:, :, 4]  # (N, A, P)
        places = (images * self.grids.num_anchors + truth.anchors) * self.grids.num_positions + truth.positions
        counts = torch.zeros(logits.numel(), dtype=torch.int32, device=logits.device)
        taken = (counts.index_add_(0, places, (~boxes.ignored).int()) > 0).view(logits.shape)
        near = find_near(numbers, boxes, self.grids, self.settings.ignore_threshold)
        errors = functional.binary_cross_entropy_with_logits(logits, taken.to(logits.dtype), reduction="none")
        return {"object": _sum(errors, taken), "no_object": _sum(errors, ~(taken | near))}


def grids_of(loss: Loss) -> Grids | None:
    """What the outputs of a network that learns by this loss stand for; None if these are no grids, or unknown ones."""
    return loss.function.grids if isinstance(loss.function, GridLoss) else None


@torch.no_grad()
def find_near(numbers: torch.Tensor, boxes: Boxes, grids: Grids, threshold: float) -> torch.Tensor:
    """(N, A, P) bool, whether the box predicted at a place is near a true one of its image.

    It is if their IoU is above the threshold, or if more than that share of it lies in an ignored box.

    Time and memory are those of one box and all places of its image, for each box: images do not wait for the one with
    the most boxes. A batch of 64 images with 8 boxes each and 10,647 places has 5 million pairs. Some of them are
    compared at a time, which takes 5 MB on a CPU and 600 MB on a GPU at the most.

    Args:
        numbers: (N, A, 5 + C, P) the outputs.
        boxes: those of the N images.
        grids: what the outputs stand for.
        threshold: from 0 to 1.
    """
    predicted = decode(numbers[:, :, :4].movedim(2, -1), list_priors(grids, numbers))  # (N, A, P, 4)
    planes = predicted.flatten(1, 2).movedim(-1, 0).contiguous()  # (4, N, A P)
    covered = (planes[2] - planes[0]) * (planes[3] - planes[1])
    images, corners = boxes.images, boxes.corners.to(numbers.dtype)
    hits = torch.zeros(covered.shape, dtype=torch.int32, device=covered.device)
    length = max(1, _count_pairs(numbers) // grids.num_places)
    for start in range(0, len(images), length):
        rows = slice(start, start + length)
        of_image, (left, top, right, bottom) = images[rows], corners[rows].T[:, :, None]
        width = torch.minimum(planes[2][of_image], right).sub_(torch.maximum(planes[0][of_image], left)).relu_()
        height = torch.minimum(planes[3][of_image], bottom).sub_(torch.maximum(planes[1][of_image], top)).relu_()
        common = width.mul_(height)
        own = covered[of_image]
        union = own + (right - left) * (bottom - top) - common
        whole = torch.where(boxes.ignored[rows, None], own, union)
        hits.index_add_(0, of_image, (common > threshold * whole).int())
    return (hits > 0).view(predicted.shape[:-1])


def _count_pairs(numbers: torch.Tensor) -> int:
    """How many pairs of a box and a place are compared at a time: what the cache of a CPU holds, or a GPU does fast."""
    return 2**17 if numbers.device.type == "cpu" else 2**24


def _class_errors(of_boxes: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """(M,) binary cross entropies of all classes of each box, summed."""
    logits = of_boxes[:, 5:]
    truth = (classes[:, None] == torch.arange(logits.shape[1], device=logits.device)).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)


def _sum(errors: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """The sum of the errors that are counted; others may be infinite."""
    return torch.where(counted, errors, 0.0).sum()


LOSSES = {"YOLOv3": yolo_v3}
