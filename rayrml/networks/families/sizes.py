"""The sizes that a network by name takes, nearest to those that it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from rayrml.errors import ConfigError, Problem
from rayrml.networks.families.family import Family
from rayrml.networks.graph import read_graph
from rayrml.networks.layers.layer import smallest
from rayrml.networks.network import outline

_LARGEST = 2**12  # that is tried


def describe_multiples(family: Family) -> str:
    """A cure for an input that is no multiple of what it must be: the nearest sizes along each axis; "" otherwise."""
    *sizes, _ = family.shape
    step = family.multiple
    if step == 1 or len(sizes) not in family.ranks or None in sizes or not any((size or 0) % step for size in sizes):
        return ""
    return f". Expected sizes such as {' x '.join(_nearest(size or step, step) for size in sizes)}"


@contextlib.contextmanager
def naming_sizes(family: Family | None, path: str) -> Iterator[None]:
    """A block that builds the layers of a network; an input that is too small for these is refused with another.

    Raises:
        ConfigError: what is wrong with the layers; for a network by name with a cure, at its `path`.
    """
    try:
        yield
    except ConfigError as error:
        least = None if family is None or None in family.shape else _find_least(family)
        if family is None or least is None:
            raise
        given = " x ".join(map(str, family.shape[:-1]))
        message = f"{family.name} does not take {given}: {error.problems[0].message}"
        raise ConfigError(Problem(path, f"{message}. Expected at least {' x '.join(map(str, least))}")) from None


def _find_least(family: Family) -> tuple[int, ...] | None:
    """The least sizes that are not below those of the family's input and that its layers take; None without any."""
    sizes = smallest(family.shape[:-1])

    def takes(least: int) -> bool:
        shape = (*(max(size, least) for size in sizes), family.shape[-1])
        try:
            other = dataclasses.replace(family, input=shape)
            if other.find_misfit(shape) is not None:
                return False
            outline(read_graph(other.layers(), family.name))
        except ConfigError:
            return False
        return True

    refused, taken = min(sizes), 2 * min(sizes)
    while not takes(taken):
        refused, taken = taken, 2 * taken
        if taken > _LARGEST:
            return None
    while taken - refused > 1:
        middle = (refused + taken) // 2
        refused, taken = (refused, middle) if takes(middle) else (middle, taken)
    return tuple(max(size, taken) for size in sizes)


def _nearest(size: int, step: int) -> str:
    """The multiples of `step` next to a size, in words."""
    below = size // step * step
    if below == size or not below:
        return str(below or step)
    return f"({below} or {below + step})"
