"""Samples that are computed from their index, where they are needed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, PositiveFloat

from rayrml.data.initial_conditions import make_initial_condition
from rayrml.data.noise import inputs_of_samples, name_samples
from rayrml.data.readers.reader import Part, Read, Reader

_Number = Annotated[int, Field(ge=1, le=1_000_000)]  # each has a name and a place in memory


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [lowest, highest], got {list(value)}")
    return value


def pde(
    *,
    domain_size: Annotated[int, Field(ge=2, le=10_000_000)],
    num_examples: _Number | None = None,
    num_test_examples: _Number | None = None,
    bc_frequency: Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ordered)] = (1.0, 1.0),
    bc_type: Literal["random_uniform", "fixed_uniform"] = "random_uniform",
) -> Reader:
    """Initial conditions b(x) = (1 - cos(2 pi c x / d)) / 2 of a PDE on `domain_size` points, (1, d), without files.

    The frequency c is drawn from `bc_frequency` (`random_uniform`, which also superposes such curves) or covers it in
    equal steps (`fixed_uniform`).
    """
    numbers: dict[str, int] = {"training": num_examples or 0, "test": num_test_examples or 0}
    draw = functools.partial(
        make_initial_condition, domain_size=domain_size, bc_frequency=bc_frequency, bc_type=bc_type
    )

    def names(part: Part) -> Sequence[str]:
        return [f"{part}/{i}" for i in range(numbers[part])]

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        yield read

    def read(name: str) -> np.ndarray:
        part, _, index = name.partition("/")
        return draw(int(index), numbers[part], seed=[list(numbers).index(part)])

    return Reader("initial conditions", opened, generate=names)


def noise(*, shape: tuple[int, ...], num_samples: _Number, seed: int) -> Reader:
    """Random numbers from which a generator makes samples; no row of the table, because nothing else takes them."""

    def names(part: Part) -> Sequence[str]:
        return name_samples(num_samples) if part == "test" else []

    @contextlib.contextmanager
    def opened(path: str) -> Iterator[Read]:
        yield read

    def read(name: str) -> np.ndarray:
        number = int(name.rpartition("_")[2])
        return inputs_of_samples(seed, np.array([number]), shape)[0]

    return Reader("random numbers", opened, generate=names)


READERS = {"pde": pde}
