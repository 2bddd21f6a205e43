"""From chosen rows to steps: what can be done once, what remains for batches, and in which order."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from rayrml.data import image_ops
from rayrml.data.image_ops import ImageOperation, ImageOperations, Resampling
from rayrml.data.transforms.mixing import Mixing, PairTransform, Targets
from rayrml.data.transforms.sizing import Resize
from rayrml.data.transforms.table import Placed
from rayrml.data.transforms.transform import Transform
from rayrml.errors import ConfigError, Problem

Part = Literal["input", "target", "both"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One use of a transform.

    Attributes:
        where: its JSON path.
        part: what it changes.
        draw: identifies its random numbers: the k-th use of a transform gets the same ones for inputs and targets.
        transform: the transform.
    """

    where: str
    part: Part
    draw: tuple[str, int]
    transform: Transform

    @property
    def makes_target(self) -> bool:
        """Whether it makes targets from inputs."""
        return isinstance(self.transform, PairTransform) and self.transform.makes_target

    @property
    def mixes(self) -> bool:
        """Whether it mixes samples with each other, so that class indices become shares of the classes."""
        return isinstance(self.transform, Mixing)


def split_off_image_operations(
    chosen: Sequence[Placed], resampling: Resampling, pixels: bool
) -> tuple[ImageOperations, Sequence[Placed]]:
    """The operations that can be done once for each sample, and the transforms that remain for batches.

    Raises:
        ConfigError: a transform needs pixels, but samples are not images.
    """
    unread = [] if pixels else [choice.where for choice in chosen if _reads_pixels(choice.build(), resampling)]
    if unread:
        message = "works on image pixels, but samples are arrays of other numbers"
        raise ConfigError(*(Problem(where, message) for where in unread))
    done: list[tuple[str, ImageOperation]] = []
    for choice in chosen:
        operation = choice.build().on_image(resampling, pixels)
        if operation is None:
            break
        done.append((choice.where, operation))
    rest = chosen[len(done) :]
    return ImageOperations((*done, *_early_resize(rest, resampling, pixels))), rest


def make_steps(chosen: Sequence[Placed], part: Part, pixels: bool = True) -> list[Step]:
    """The steps of transforms in their order; neighbours that belong together become one step."""
    made: list[Step] = []
    uses: Counter[str] = Counter()
    for choice in chosen:
        transform = choice.build() if pixels else choice.build().without_pixels()
        joined = made[-1].transform.joined(transform) if made else None
        if joined:
            made[-1] = dataclasses.replace(made[-1], where=choice.where, transform=joined)
            continue
        made.append(Step(choice.where, part, (choice.name, uses[choice.name]), transform))
        uses[choice.name] += 1
    return made


def merge_steps(inputs: Sequence[Step], targets: Sequence[Step], kind: Targets) -> tuple[Step, ...]:
    """Steps of inputs and targets in one order, in which both are ready for the steps that change them together.

    Raises:
        ConfigError: a step that changes both does not support this kind of targets, or is set for targets only.
    """
    order: list[Step] = []
    waiting = list(targets)
    for step in inputs:
        if not isinstance(step.transform, PairTransform):
            order.append(step)
            continue
        _refuse_targets(step.where, step.transform, kind)
        same = [i for i, other in enumerate(waiting) if other.draw == step.draw]
        ready = same[0] if same else 0 if step.makes_target else len(waiting)
        order += [*waiting[:ready], dataclasses.replace(step, part="both")]
        waiting = waiting[ready + len(same[:1]) :]
    for step in waiting:
        if isinstance(step.transform, PairTransform):
            raise ConfigError(Problem(step.where, "changes inputs too. Move it to 'transforms' or 'input_transforms'"))
    return (*order, *waiting)


def refuse_pixels_after_normalize(chosen: Sequence[Placed]) -> None:
    """Raise ConfigError if a transform adds pixels to images that `normalize` has changed to other numbers."""
    names = [choice.name for choice in chosen]
    after = chosen[names.index("normalize") :] if "normalize" in names else ()
    message = "adds pixels of gray. Expected before 'normalize', not after it"
    problems = [Problem(choice.where, message) for choice in after if choice.build().adds_pixels]
    if problems:
        raise ConfigError(*problems)


def _refuse_targets(where: str, transform: PairTransform, kind: Targets) -> None:
    """Raise ConfigError unless a transform of both inputs and targets supports this kind of targets."""
    expected = " or ".join(transform.targets).replace("none or", "no targets, or")
    if kind == "none" and transform.needs_target:
        raise ConfigError(Problem(where, f"needs targets. Expected {expected}"))
    if kind not in ("none", *transform.targets):
        raise ConfigError(Problem(where, f"does not support targets that are {kind}. Expected {expected}"))


def _reads_pixels(transform: Transform, resampling: Resampling) -> bool:
    return transform.reads_pixels and (resampling != "nearest" or transform.changes_masks)


def _early_resize(rest: Sequence[Placed], resampling: Resampling, pixels: bool) -> list[tuple[str, ImageOperation]]:
    """A `resize` that can precede the transforms before it, as large as they need; [] if there is none.

    Samples of different sizes cannot share a batch, but a flip, say, may precede the `resize` that makes them equal.
    """
    room = 1.0
    for choice in rest:
        transform = choice.build()
        if isinstance(transform, Resize):
            size = tuple(math.ceil(length * room - 1e-9) for length in transform.size)
            return [(choice.where, image_ops.Resize(size, resampling, pixels))]
        more = transform.room()
        if more is None:
            return []
        room *= more
    return []
