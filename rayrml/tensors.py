"""Floats as networks take them: samples with the channels of a place together in memory, and no tiny numbers."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence

import torch

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(ndim: int) -> torch.memory_format:
    """How a convolution with tensors of `ndim` axes wants them in memory: otherwise it copies them each time."""
    return _CHANNELS_LAST.get(ndim, torch.contiguous_format)


def to_floats(samples: torch.Tensor) -> torch.Tensor:
    """Pixels 0..255 as float32 in [0, 1], in memory as a convolution wants them; anything but bytes stays as it is."""
    if samples.dtype != torch.uint8:
        return samples
    # In two steps: one that does both goes through the bytes one by one.
    floats = (
        samples.float()
        if _has_one_layout(samples)
        else samples.to(torch.float32, memory_format=channels_last(samples.ndim))
    )
    return floats.div_(255)


def to_input(samples: torch.Tensor) -> torch.Tensor:
    """(N, C, *spatial) as floats, in memory as a convolution wants them."""
    floats = to_floats(samples)
    return floats if _has_one_layout(floats) else floats.contiguous(memory_format=channels_last(floats.ndim))


def constants(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """(n,) `values` where `like` is and of its type; they are sent there once, as the CPU waits for a GPU meanwhile."""
    return _constants(tuple(values), like.dtype, like.device)


@contextlib.contextmanager
def tiny_as_zero() -> Iterator[None]:
    """The block in which numbers too small for a full mantissa (below 1.2e-38 in float32) are zeros.

    A CPU computes with them in software: the gradient of a sigmoid that is sure of itself has many, and takes twice as
    long for them. Threads that the block starts do the same.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@functools.lru_cache(maxsize=256)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # what is made there is of no use elsewhere
        return torch.tensor(values, dtype=dtype, device=device)


def _has_one_layout(samples: torch.Tensor) -> bool:
    """Whether channels are together anyway, or nobody minds."""
    return samples.ndim < 4 or samples.shape[1] == 1
