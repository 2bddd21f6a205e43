"""Lists of transforms in two phases: once for each image when it is decoded, then again for each batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, overload

import numpy as np
import torch
from torch.nn import functional as F

from rayrml.boxes.batch import Boxes
from rayrml.config.sections import SideName
from rayrml.data.draws import Draws
from rayrml.data.image_ops import ImageOperations, Resampling, Shape, change_shape
from rayrml.data.transforms.mixing import Mixing, Pair, PairTransform, Targets
from rayrml.data.transforms.mosaic import Mosaic
from rayrml.data.transforms.moving import Motion
from rayrml.data.transforms.on_images import split_off_single
from rayrml.data.transforms.partners import fetch_partners
from rayrml.data.transforms.steps import (
    Step,
    make_steps,
    merge_steps,
    refuse_pixels_after_normalize,
    split_off_image_operations,
)
from rayrml.data.transforms.table import Placed
from rayrml.data.transforms.with_boxes import (
    change_batch,
    list_batch_motions,
    list_decoding_motions,
    move_back,
    move_through,
    send_no_images,
)
from rayrml.errors import ConfigError, Problem
from rayrml.tensors import to_floats
from rayrml.workers import Workers


@dataclasses.dataclass(frozen=True)
class BatchTransforms:
    """The transforms of each batch, on the compute device; can be sent to workers.

    Attributes:
        steps: the steps, in order.
        target_resampling: how the pixels of target images are interpolated.
        num_classes: the number of shares that a label turns into if labels are mixed.
    """

    steps: tuple[Step, ...] = ()
    target_resampling: Resampling = "bilinear"
    num_classes: int | None = None

    @overload
    def __call__(
        self, input: torch.Tensor, target: Boxes, source: Draws | None = ..., workers: Workers = ...
    ) -> tuple[torch.Tensor, Boxes]: ...

    @overload
    def __call__(
        self, input: torch.Tensor, target: torch.Tensor | None, source: Draws | None = ..., workers: Workers = ...
    ) -> Pair: ...

    def __call__(
        self,
        input: torch.Tensor,
        target: torch.Tensor | Boxes | None,
        source: Draws | None = None,
        workers: Workers = Workers(),  # noqa: B008 (frozen)
    ) -> tuple[torch.Tensor, torch.Tensor | Boxes | None]:
        """Inputs and targets after all transforms, as floats; pixels are in [0, 1] unless normalized.

        An empty batch is returned unchanged. If samples are mixed with others of the global batch, all workers must
        call it, also for an empty part of it.

        Args:
            input: (N, C, *spatial), floats, or pixels as bytes as they were read.
            target: images or the like (N, C, *spatial); values (N, K); or class indices (N,), which become shares
                (N, num_classes) if samples are mixed and stay unchanged otherwise; or boxes, in pixels of the inputs;
                or None.
            source: the samples' random numbers. Can be left out if nothing is random.
            workers: those whose parts make up the global batch.
        """
        if not len(input):
            self._send_nothing(input, workers)
            return input, target
        if isinstance(target, Boxes):
            return change_batch(self.steps, input, target, source=source, workers=workers)
        if self.num_classes is not None and self.mixes and target is not None and target.ndim == 1:
            target = F.one_hot(target, self.num_classes).float()
        num_axes = max(input.ndim, 0 if target is None else target.ndim) - 2
        draws: dict[tuple[str, int], torch.Tensor] = {}
        pair: Pair = (input, target)
        for step in self.steps:
            partners = None
            if step.draw not in draws:
                drawn = step.transform.draw(len(input), source and source.of(*step.draw), num_axes)
                draws[step.draw] = _on(input.device, step, drawn)
                partners = _fetch_partners(pair, drawn, source, workers) if step.mixes and source else None
            pair = self._apply(step, draws[step.draw], pair, partners)
        input, target = pair
        return to_floats(input), None if target is None else to_floats(target)

    def _send_nothing(self, input: torch.Tensor, workers: Workers) -> None:
        """Take part in the exchange of samples without having any."""
        nothing = np.empty(0, int)
        for step in self.steps:
            if step.mixes:
                fetch_partners([input], nothing, nothing, workers)
            if isinstance(step.transform, Mosaic):
                send_no_images(input, workers)

    def _apply(self, step: Step, draws: torch.Tensor, pair: Pair, partners: Pair | None) -> Pair:
        input, target = pair
        if isinstance(step.transform, Mixing) and partners is not None:
            return step.transform.mix(pair, partners, draws)
        if isinstance(step.transform, PairTransform):
            return step.transform.pair(input, target, draws)
        if step.part == "input":
            return step.transform(input, draws, "bilinear"), target
        if target is not None and target.ndim > 2:
            return input, step.transform(target, draws, self.target_resampling)
        return input, target

    def shape(self, shape: Shape, part: Literal["input", "target"] = "input") -> Shape:
        """The output shape (C, *spatial) for inputs, or target images, of one shape.

        Raises:
            ConfigError: a transform does not support the samples that reach it.
        """
        for step in self.steps:
            if step.part in (part, "both"):
                shape = change_shape(step.where, step.transform, shape)
        return shape

    def evaluation(self) -> BatchTransforms:
        """The same without random transforms."""
        kept = ((step, step.transform.evaluation()) for step in self.steps)
        steps = tuple(dataclasses.replace(step, transform=transform) for step, transform in kept if transform)
        return dataclasses.replace(self, steps=steps)

    @property
    def makes_target(self) -> bool:
        """Whether targets are made from inputs."""
        return any(step.makes_target for step in self.steps)

    @property
    def mixes(self) -> bool:
        """Whether samples are mixed with each other, so that class indices become shares of the classes."""
        return any(step.mixes for step in self.steps)


class Transforms(NamedTuple):
    """Both phases.

    Attributes:
        input: operations on each input, applied when it is decoded; those that are random do need torch.
        target: the same for target images.
        batched: transforms of each batch.
    """

    input: ImageOperations
    target: ImageOperations
    batched: BatchTransforms

    def need_sizes(self) -> set[SideName]:
        """The sides whose samples have one size only after a transform of batches, if their sizes differ."""
        sides: dict[SideName, ImageOperations] = {"input": self.input, "target": self.target}
        return {
            side
            for side, operations in sides.items()
            if not operations.fix_size
            and any(step.transform.fixes_size for step in self.batched.steps if step.part in (side, "both"))
        }

    def decoded_boxes(self, boxes: Boxes, sizes: torch.Tensor, draws: Draws | None = None) -> Boxes:
        """Boxes, on the CPU, in pixels of inputs as they are decoded: what `batched` expects.

        Args:
            boxes: in pixels of the images that are read.
            sizes: (N, 2) heights and widths of these images.
            draws: the random numbers with which they are decoded; None for those of an evaluation.
        """
        return move_through(boxes, list_decoding_motions(self.input, sizes.long(), draws))

    def evaluated_boxes(self, boxes: Boxes, sizes: torch.Tensor) -> Boxes:
        """Boxes, on the CPU, in pixels of the network's inputs in evaluation; see `decoded_boxes`."""
        return move_through(boxes, self._evaluation_motions(sizes))

    def original_boxes(self, corners: torch.Tensor, images: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Boxes (M, 4) float64 in pixels of the images that were read, cut at their edges, on the device of `corners`.

        A rotation is undone by the box around the four corners turned back.

        Args:
            corners: (M, 4) xmin, ymin, xmax, ymax in pixels of the network's inputs in evaluation.
            images: (M,) the image of each box, from 0 to N - 1.
            sizes: (N, 2) heights and widths of the images that were read.
        """
        return move_back(corners, images, self._evaluation_motions(sizes), sizes.long())

    def _evaluation_motions(self, sizes: torch.Tensor) -> list[Motion]:
        """What evaluation does to images of these heights and widths (N, 2), from files to inputs."""
        decoding = list_decoding_motions(self.input, sizes.long(), None)
        decoded = decoding[-1].sizes if decoding else sizes.long()
        return decoding + list_batch_motions(self.batched.evaluation().steps, decoded)


def split_transforms(
    inputs: Sequence[Placed],
    targets: Sequence[Placed] = (),
    *,
    target_is_mask: bool = False,
    target_is_label: bool = False,
    target_is_values: bool = False,
    target_is_boxes: bool = False,
    num_classes: int | None = None,
    input_pixels: bool = True,
    target_pixels: bool = True,
    varying: Collection[SideName] = (),
) -> Transforms:
    """The two phases of the transforms of inputs and of target images.

    Everything before the first random transform is done once for each image, everything after it in each batch. A
    later `resize` is also done once if no transform before it prevents that, so that images may have different sizes.
    If that is not possible, all that precedes equal sizes is done to each image by itself in each epoch.

    Args:
        inputs: the transforms of inputs.
        targets: the transforms of targets if they are images; often the same as `inputs`.
        target_is_mask: whether targets are images of values that must not be mixed.
        target_is_label: whether targets are class indices.
        target_is_values: whether targets are rows of numbers.
        target_is_boxes: whether targets are boxes, which follow the inputs and have no transforms of their own.
        num_classes: the number of shares that a label turns into if samples are mixed; None if the loss does not
            accept shares.
        input_pixels: whether inputs are pixels of images, which are bytes until they are changed in batches; otherwise
            they are numbers of any type, which are floats in batches.
        target_pixels: the same for targets that are images or the like.
        varying: which of both have different sizes.

    Raises:
        ConfigError: a transform does not support this kind of targets, of loss, or of numbers.
    """
    if target_is_boxes:
        _refuse_transforms_of_boxes(targets)
    kind: Targets = "masks" if target_is_mask else "labels" if target_is_label else "images" if targets else "none"
    kind = "boxes" if target_is_boxes else "values" if target_is_values else kind
    resampling: Resampling = "nearest" if target_is_mask else "bilinear"
    if targets == inputs:  # their JSON path alone does not say which of the two is wrong
        targets = [dataclasses.replace(choice, where=f"{choice.where} (of targets)") for choice in targets]
    input_operations, input_steps = _split(inputs, "input", "bilinear", pixels=input_pixels, varying=varying)
    target_operations, target_steps = _split(targets, "target", resampling, pixels=target_pixels, varying=varying)
    order = merge_steps(input_steps, target_steps, kind)
    if target_is_label and num_classes is None:
        _refuse_mixing(order)
    return Transforms(input_operations, target_operations, BatchTransforms(order, resampling, num_classes))


def _refuse_mixing(steps: Sequence[Step]) -> None:
    """Raise ConfigError if steps mix labels."""
    message = "mixes labels. Expected a loss that accepts class shares, not only single labels"
    problems = [Problem(step.where, message) for step in steps if step.mixes]
    if problems:
        raise ConfigError(*problems)


def _refuse_transforms_of_boxes(targets: Sequence[Placed]) -> None:
    """Raise ConfigError if boxes have transforms of their own."""
    if targets:
        message = "boxes follow the images. Move it to 'transforms'"
        raise ConfigError(*(Problem(choice.where, message) for choice in targets))


def _split(
    chosen: Sequence[Placed], side: SideName, resampling: Resampling, *, pixels: bool, varying: Collection[SideName]
) -> tuple[ImageOperations, Sequence[Step]]:
    """What is done to each sample of a side when it is decoded, and the steps that remain for batches."""
    operations, rest = split_off_image_operations(chosen, resampling, pixels)
    if pixels and resampling != "nearest":
        refuse_pixels_after_normalize(chosen)
    steps = make_steps(rest, side, pixels)
    if side not in varying or operations.fix_size:
        return operations, steps
    single, steps = split_off_single(steps, resampling, pixels)
    return dataclasses.replace(operations, varying=single), steps


def _fetch_partners(pair: Pair, draws: torch.Tensor, source: Draws, workers: Workers) -> Pair:
    """The samples with which those of the batch are mixed."""
    samples, positions = [tensor for tensor in pair if tensor is not None], source.positions_of(len(draws))
    input, *target = fetch_partners(samples, draws[:, 1].numpy(), positions, workers)
    return input, target[0] if target else None


def _on(device: torch.device, step: Step, draws: torch.Tensor) -> torch.Tensor:
    return draws if step.transform.draws_on_host else draws.to(device, non_blocking=True)
