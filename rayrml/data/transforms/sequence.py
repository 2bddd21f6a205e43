"""A list of transforms in its two phases: once for each image as it is decoded, then anew for each batch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch

from rayrml.data.image_ops import ImageOperations, Resampling, Shape, located
from rayrml.data.transforms.table import Placed
from rayrml.data.transforms.transform import Transform, to_floats

Part = Literal["input", "target"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One transform at work on inputs or on targets.

    Attributes:
        where: its JSON path.
        part: what it changes.
        draw: which random numbers it gets: the k-th use of a transform draws the same for inputs and for targets.
        transform: what it does.
    """

    where: str
    part: Part
    draw: tuple[str, int]
    transform: Transform


@dataclasses.dataclass(frozen=True)
class BatchTransforms:
    """What is done to each batch, on the device that computes with it; can be sent to workers."""

    steps: tuple[Step, ...] = ()
    target_resampling: Resampling = "bilinear"

    def __call__(
        self, input: torch.Tensor, target: torch.Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Inputs and targets after all transforms, images as floats in [0, 1] unless normalized.

        Args:
            input: (N, C, H, W), bytes as they were read or floats.
            target: images (N, C, H, W); or class indices (N,), which stay as they are; or None.
            generator: where random numbers come from; the same state gives the same batch on any device. Can be
                left out where nothing is random.
        """
        draws: dict[tuple[str, int], torch.Tensor] = {}
        for step in self.steps:
            if step.draw not in draws:
                draws[step.draw] = _drawn(step.transform, input, generator)
            if step.part == "input":
                input = step.transform(input, draws[step.draw], "bilinear")
            elif target is not None and target.ndim > 1:
                target = step.transform(target, draws[step.draw], self.target_resampling)
        return to_floats(input), target if target is None or target.ndim == 1 else to_floats(target)

    def shape(self, input: Shape, part: Part = "input") -> Shape:
        """The shape (C, H, W) that inputs, or targets, have afterwards.

        Raises:
            ConfigError: a transform cannot take the images that reach it.
        """
        for step in self.steps:
            if step.part == part:
                with located(step.where):
                    input = step.transform.shape(input)
        return input

    def evaluation(self) -> BatchTransforms:
        """The same without what is random."""
        kept = ((step, step.transform.evaluation()) for step in self.steps)
        steps = tuple(dataclasses.replace(step, transform=transform) for step, transform in kept if transform)
        return dataclasses.replace(self, steps=steps)


class Transforms(NamedTuple):
    """Both phases.

    Attributes:
        input: what is done to each input image once, when it is decoded; needs no torch.
        target: the same for target images.
        batched: what is done to each batch.
    """

    input: ImageOperations
    target: ImageOperations
    batched: BatchTransforms


def split(inputs: Sequence[Placed], targets: Sequence[Placed] = (), *, target_is_mask: bool = False) -> Transforms:
    """The two phases of the transforms of inputs and of target images.

    All that comes before the first random transform is done once, all that follows in each batch.

    Args:
        inputs: what is done to inputs.
        targets: what is done to targets, if they are images; often the same as `inputs`.
        target_is_mask: targets hold discrete values, which must not be mixed.
    """
    resampling: Resampling = "nearest" if target_is_mask else "bilinear"
    input_operations, input_rest = _lead(inputs, "bilinear")
    target_operations, target_rest = _lead(targets, resampling)
    steps = (*_steps(input_rest, "input"), *_steps(target_rest, "target"))
    return Transforms(input_operations, target_operations, BatchTransforms(steps, resampling))


def _lead(chosen: Sequence[Placed], resampling: Resampling) -> tuple[ImageOperations, Sequence[Placed]]:
    """The operations that can be done once, and the transforms that follow them."""
    operations = []
    for number, choice in enumerate(chosen):
        operation = choice.build().on_image(resampling)
        if operation is None:
            return ImageOperations(tuple(operations)), chosen[number:]
        operations.append((choice.where, operation))
    return ImageOperations(tuple(operations)), ()


def _steps(chosen: Sequence[Placed], part: Part) -> Iterator[Step]:
    uses: Counter[str] = Counter()
    for choice in chosen:
        yield Step(choice.where, part, (choice.name, uses[choice.name]), choice.build())
        uses[choice.name] += 1


def _drawn(transform: Transform, images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    if not transform.num_draws:
        return images.new_empty(0)
    if generator is None:
        raise ValueError("random transforms need a generator")
    draws = transform.draw(len(images), generator)
    return draws if transform.keeps_on_host else draws.to(images.device, non_blocking=True)
