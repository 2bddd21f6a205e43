"""Floats as networks take them: the channels of each pixel adjacent in memory, and no denormal numbers."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence

import torch

_SHORT = (torch.bfloat16, torch.float16)
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(ndim: int) -> torch.memory_format:
    """The memory format that convolutions need for tensors of `ndim` axes; others are copied each time."""
    return _CHANNELS_LAST.get(ndim, torch.contiguous_format)


def to_floats(samples: torch.Tensor) -> torch.Tensor:
    """Pixels 0..255 as float32 in [0, 1], in the memory format of convolutions; anything but bytes is left as it is."""
    if samples.dtype != torch.uint8:
        return samples
    # In two steps: a single one would go through the bytes one by one.
    floats = (
        samples.float()
        if _has_one_layout(samples)
        else samples.to(torch.float32, memory_format=channels_last(samples.ndim))
    )
    return floats.div_(255)


def to_input(samples: torch.Tensor) -> torch.Tensor:
    """(N, C, *spatial) as floats, in the memory format of convolutions."""
    floats = to_floats(samples)
    return floats if _has_one_layout(floats) else floats.contiguous(memory_format=channels_last(floats.ndim))


def to_float32(numbers: torch.Tensor) -> torch.Tensor:
    """Floats of 16 bits as float32; anything else is left as it is."""
    return numbers.float() if numbers.dtype in _SHORT else numbers


def constants(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """(n,) `values` on the device of `like` and of its type; copied only once, because that makes the CPU wait."""
    if type(like) is not torch.Tensor:  # while operations are only recorded, what is kept would be no real tensor
        return torch.tensor(tuple(values), dtype=like.dtype, device=like.device)
    return _constants(tuple(values), like.dtype, like.device)


@contextlib.contextmanager
def tiny_as_zero() -> Iterator[None]:
    """In the block, numbers too small for a full mantissa (below 1.2e-38 in float32) count as zero.

    A CPU computes with them in software. The gradient of a saturated sigmoid has many of them, and takes twice as long.
    Threads that are started in the block do the same.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@functools.lru_cache(maxsize=256)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # an inference tensor could not be used elsewhere
        return torch.tensor(values, dtype=dtype, device=device)


def _has_one_layout(samples: torch.Tensor) -> bool:
    """Whether the memory format makes no difference."""
    return samples.ndim < 4 or samples.shape[1] == 1
