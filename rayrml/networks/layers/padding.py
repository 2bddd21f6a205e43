"""The windows of convolutions and pooling: TensorFlow's `valid`, `same` and `causal`, and explicit padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.layer import Shape, format_shape

Sizes = int | tuple[int, ...]  # one number for all spatial axes, or one per axis
Pads = tuple[tuple[int, int], ...]  # (before, after) of each spatial axis
PaddingOption = str | int | tuple[int | tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """A window that slides over the spatial axes; `pads` is None for `same`, whose amounts depend on the size."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: Pads | None

    @property
    def extents(self) -> tuple[int, ...]:
        """How many cells the window spans on each axis, including the gaps of its dilation."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def amounts(self, sizes: Sequence[int]) -> Pads:
        """The padding before and after each spatial axis; the odd cell of `same` goes at the end."""
        if self.pads is not None:
            return self.pads
        return tuple(map(_same, sizes, self.kernel, self.strides, self.dilation))

    def output_sizes(self, shape: Shape) -> Shape:
        """The spatial sizes of the output for an input of `shape` (C, *spatial).

        Raises:
            ConfigError: the window does not fit into the input.
        """
        sizes = tuple(self._output_size(i, size) for i, size in enumerate(shape[1:]))
        if any(size is not None and size < 1 for size in sizes):
            message = (
                f"a window of {format_shape(self.extents)} does not fit into an input of {format_shape(shape[1:])}"
            )
            raise ConfigError(Problem("", message))
        return sizes

    def _output_size(self, i: int, size: int | None) -> int | None:
        if size is None:
            return None
        if self.pads is None:
            return -(-size // self.strides[i])
        return (size + sum(self.pads[i]) - self.extents[i]) // self.strides[i] + 1


def window(rank: int, kernel: Sizes, *, strides: Sizes, dilation: Sizes, padding: PaddingOption) -> Window:
    """The window that the keys of a layer on `rank` spatial axes describe.

    Raises:
        ConfigError: a list of the wrong length, a number below 1, or an unknown `padding`.
    """
    kernels = spread(kernel, rank, "kernel_size")
    dilations = spread(dilation, rank, "dilation_rate")
    steps = spread(strides, rank, "strides")
    mode = padding.lower() if isinstance(padding, str) else padding
    pads = None if mode == "same" else _explicit(mode, rank, kernels, dilations)
    if mode == "same" and all(step == 1 for step in steps):
        pads = tuple(_same(1, k, 1, d) for k, d in zip(kernels, dilations, strict=True))
    return Window(kernels, steps, dilations, pads)


def spread(value: Sizes, rank: int, key: str, minimum: int = 1) -> tuple[int, ...]:
    """One number for each of `rank` spatial axes.

    Raises:
        ConfigError: the wrong number of values, or one below `minimum`.
    """
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank or min(values) < minimum:
        numbers = f"{rank} numbers" if rank > 1 else "one number"
        raise ConfigError(Problem(key, f"expected {numbers} of at least {minimum}, got {list(values)}"))
    return values


def pairs(value: PaddingOption, rank: int, key: str = "padding") -> Pads:
    """(before, after) of each spatial axis, from an int, a number per axis, or pairs.

    Raises:
        ConfigError: `value` is none of these.
    """
    given = (value,) * rank if isinstance(value, int) else value
    each: list[tuple[int, ...]] = [(v, v) if isinstance(v, int) else v for v in given if not isinstance(v, str)]
    if rank == 1 and len(given) == 2 and all(isinstance(v, int) for v in given):
        each = [tuple(v for v in given if isinstance(v, int))]  # [left, right]
    if len(each) != rank or any(len(p) != 2 or min(p) < 0 for p in each):
        expected = f"an int, {rank} ints, or {rank} pairs [before, after], none below 0"
        raise ConfigError(Problem(key, f"expected {expected}, got {value!r}"))
    return tuple((before, after) for before, after in each)


def pad(x: torch.Tensor, pads: Pads, value: float = 0.0) -> torch.Tensor:
    """`x` (N, C, *spatial) with `value` around its spatial axes."""
    return torch.nn.functional.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)


def symmetric(pads: Pads) -> bool:
    """Whether each axis has the same padding before and after, which torch can apply by itself."""
    return all(before == after for before, after in pads)


def _same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _explicit(mode: PaddingOption, rank: int, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> Pads:
    if mode == "valid":
        return ((0, 0),) * rank
    if mode == "causal" and rank == 1:
        return (((kernel[0] - 1) * dilation[0], 0),)
    if isinstance(mode, str):
        known = "'valid', 'same'" + (", 'causal'" if rank == 1 else "")
        raise ConfigError(Problem("padding", f"expected {known}, numbers or pairs, got '{mode}'"))
    return pairs(mode, rank)
