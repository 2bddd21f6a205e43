"""The arithmetic in which a network computes: the types of numbers on a device, and how its libraries use them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

_FIRST_WITH_TF32 = 8  # compute capability


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that replaces float32 on this device at a `precision` of the configuration, None to keep it."""
    if precision in ("bf16", "fp16"):
        return torch.bfloat16 if precision == "bf16" else torch.float16
    if precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return None


def autocast(batch: torch.Tensor, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    """A block in which the network computes in `dtype` on the batch's device."""
    return contextlib.nullcontext() if dtype is None else torch.autocast(batch.device.type, dtype=dtype)


def has_tf32(device: torch.device) -> bool:
    """Whether a device multiplies float32 numbers in TF32: NVIDIA's GPUs since Ampere."""
    nvidia = device.type == "cuda" and torch.version.cuda is not None
    return nvidia and torch.cuda.get_device_capability(device)[0] >= _FIRST_WITH_TF32


@contextlib.contextmanager
def arithmetic(precision: str, device: torch.device, *, benchmark: bool = False) -> Iterator[None]:
    """A block in which this process computes on a GPU as the configuration says; on a CPU nothing is different.

    Args:
        precision: `tf32` lets products of matrices and convolutions round their factors to 10 bits.
        device: the one that computes.
        benchmark: whether cuDNN measures its algorithms for each shape and takes the fastest.
    """
    if device.type != "cuda":
        yield
        return
    # Modules whose attributes have setters, which type checkers do not know.
    matrices: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = matrices.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    cudnn.benchmark = benchmark
    if precision == "tf32":
        matrices.allow_tf32 = cudnn.allow_tf32 = True
    try:
        yield
    finally:
        matrices.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
