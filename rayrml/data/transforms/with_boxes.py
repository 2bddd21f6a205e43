"""Boxes that go with images through lists of transforms, and the way back to the images that were read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from rayrml.boxes.batch import Boxes, no_boxes
from rayrml.data import image_ops
from rayrml.data.draws import Draws
from rayrml.data.image_ops import ImageOperation, ImageOperations
from rayrml.data.transforms import sizing, turning
from rayrml.data.transforms.mosaic import OTHERS, Mosaic
from rayrml.data.transforms.moving import Motion, bound_corners, cut_corners, invert, join_maps, move_boxes
from rayrml.data.transforms.on_images import OnImages
from rayrml.data.transforms.partners import fetch_images
from rayrml.data.transforms.steps import Step
from rayrml.data.transforms.transform import Transform
from rayrml.tensors import to_floats
from rayrml.workers import Workers

_AXES = 2  # spatial ones of images


def change_batch(
    steps: Sequence[Step], images: torch.Tensor, boxes: Boxes, *, source: Draws | None, workers: Workers
) -> tuple[torch.Tensor, Boxes]:
    """Images (N, C, H, W) as floats and their boxes after all steps, both on the device of the images."""
    if len(boxes) != len(images):
        raise ValueError(f"expected the boxes of {len(images)} images, got those of {len(boxes)}")
    boxes, device = boxes.to("cpu"), images.device
    for step in steps:
        transform, sizes = step.transform, torch.tensor(images.shape[2:]).expand(len(images), -1)
        draws = transform.draw(len(images), source and source.of(*step.draw), _AXES)
        if isinstance(transform, Mosaic):
            if source is not None:
                keys, positions = draws[:, 1].numpy(), source.positions_of(len(draws))
                partners = fetch_images(images, boxes, keys, positions, number=OTHERS, workers=workers)
                images, boxes = transform.tile((images, boxes), partners, draws)
            continue
        motion = transform.motion(draws, sizes)
        boxes = boxes if motion is None else move_boxes(boxes, motion)
        on_device = draws if transform.draws_on_host else draws.to(device, non_blocking=True)
        images = transform(images, on_device, "bilinear")
    return to_floats(images), boxes.to(device)


def send_no_images(images: torch.Tensor, workers: Workers) -> None:
    """Take part in the exchange of a mosaic's images without having any."""
    nothing = np.empty(0, int)
    fetch_images(images, no_boxes(0), nothing, nothing, number=OTHERS, workers=workers)


def list_decoding_motions(operations: ImageOperations, sizes: torch.Tensor, draws: Draws | None) -> list[Motion]:
    """What is done to images of these heights and widths (N, 2) while they are decoded.

    It is that of an evaluation if there are no `draws`, the random numbers of the images.
    """
    fixed = [(_row_of(operation), ("", 0)) for _, operation in operations.steps]
    motions = list(_follow(fixed, sizes, None))
    if isinstance(operations.varying, OnImages):
        steps = operations.varying.steps
        varying = [(step.transform if draws is not None else step.transform.evaluation(), step.draw) for step in steps]
        motions += _follow(varying, motions[-1].sizes if motions else sizes, draws)
    return motions


def list_batch_motions(steps: Sequence[Step], sizes: torch.Tensor) -> list[Motion]:
    """What steps that are not random do to images of these heights and widths (N, 2)."""
    return list(_follow([(step.transform, step.draw) for step in steps], sizes, None))


def move_through(boxes: Boxes, motions: Sequence[Motion]) -> Boxes:
    """Boxes, on the CPU, after all motions of their images."""
    for motion in motions:
        boxes = move_boxes(boxes, motion)
    return boxes


def move_back(
    corners: torch.Tensor, images: torch.Tensor, motions: Sequence[Motion], sizes: torch.Tensor
) -> torch.Tensor:
    """Boxes (M, 4) in images before all motions, when these had `sizes` (N, 2); they are cut at their edges.

    Args:
        corners: (M, 4) xmin, ymin, xmax, ymax in pixels after all motions.
        images: (M,) the image of each box.
        motions: what was done to the images.
        sizes: (N, 2) heights and widths of the images before.
    """
    ways_back, images = invert(join_maps(motions, len(sizes))).to(corners.device), images.to(corners.device)
    return cut_corners(bound_corners(corners, ways_back[images]), sizes.to(corners.device)[images])


def _follow(
    rows: Sequence[tuple[Transform | None, tuple[str, int]]], sizes: torch.Tensor, draws: Draws | None
) -> Iterator[Motion]:
    """The motions of images by rows, each with what identifies its random numbers, one after the other."""
    for row, draw in rows:
        if row is None:
            continue
        drawn = row.draw(len(sizes), draws and draws.of(*draw), _AXES)
        motion = row.motion_one(drawn, sizes)
        if motion is not None:
            yield motion
            sizes = motion.sizes


def _row_of(operation: ImageOperation) -> Transform | None:
    """The row of the table that does the same to batches; None for what leaves all pixels where they are."""
    match operation:
        case image_ops.Resize():
            return sizing.Resize(size=operation.size)
        case image_ops.CenterCrop():
            return sizing.CenterCrop(size=operation.size)
        case image_ops.Letterbox():
            return sizing.Letterbox(size=operation.size)
        case image_ops.Rotate():
            return turning.Rotate(degrees=operation.degrees)
        case image_ops.ConvertColor():
            return None
    raise TypeError(f"it is not known where {type(operation).__name__} moves boxes")
