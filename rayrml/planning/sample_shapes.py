"""The shapes of samples after the transforms: those of a dataset, and where the ones of several datasets differ."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from rayrml.data.addresses import Place
from rayrml.data.decoding import RESIZE_HINT
from rayrml.data.image_ops import ImageOperations
from rayrml.data.reader_keys import DATA
from rayrml.data.readers import Reader
from rayrml.data.sources import Side, Source
from rayrml.data.transforms import BatchTransforms
from rayrml.errors import ConfigError, Problem

Shapes = tuple[tuple[int, ...], ...]


def list_shapes(source: Source, transforms: BatchTransforms) -> Shapes:
    """The shapes of the network's inputs, in the order of the source's groups."""
    return tuple(transforms.shape(group.source.shape) for group in source.groups())


def find_differing(sources: Sequence[Source], shapes: Sequence[Shapes]) -> Iterator[Problem]:
    """A problem for each dataset whose samples have other shapes than those of the first one."""
    for source, others in zip(sources[1:], shapes[1:], strict=True):
        pairs = zip(shapes[0], others, strict=True)
        own, other = next((pair for pair in pairs if pair[0] != pair[1]), ((), ()))
        if own != other:
            first, second = sources[0].input.decoding.first, source.input.decoding.first
            hint = f". {RESIZE_HINT}" if (len(own), len(other)) == (3, 3) else ""
            yield Problem(DATA, f"'{first}' has shape {own} after the transforms, but '{second}' has {other}{hint}")


def fits(operations: ImageOperations, shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> bool:
    """Whether a sample of this shape becomes one of the shape that the network declares."""
    if wanted is None or len(shape) != len(wanted):
        return True  # it may get a channel axis, or is told of elsewhere
    with contextlib.suppress(ConfigError):
        return all(size in (None, own) for size, own in zip(wanted, operations.shape(shape), strict=True))
    return True


def describe_missing_channels(place: Place, shape: Sequence[int]) -> Problem:
    """What is wrong with a sample whose last axis was taken for its channels, but is none."""
    message = f"has no axis of channels: its shape is {list(shape)}, and the network takes {[1, *shape]}"
    return Problem(place.address, f'{message}. Expected "channels": "first"')


def refuse_missing_channels(inputs: Side, targets: Side) -> None:
    """Raise ConfigError if the last axis of targets is taken for their channels, but they seem to have none."""
    reader: Reader = targets.decoding.reader.build()
    lengths = len(targets.shape), len(inputs.shape)
    if reader.channels_last and 1 < lengths[0] < lengths[1]:
        message = f"has {lengths[0]} axes, of which the last would be its channels, but its input has {lengths[1]}"
        cure = 'Expected "target_channels": "first" if targets have no axis of channels'
        raise ConfigError(Problem(targets.decoding.first, f"{message}. {cure}"))
