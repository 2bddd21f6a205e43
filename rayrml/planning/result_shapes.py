"""The results of torch's operations on tensors that have shapes but no numbers.

Torch follows many operations on such tensors in Python, and the first of them imports its compiler, which takes longer
than the rest of a check. The operations of most networks and losses are followed here instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

# Operations whose results have no other sizes than their arguments.
_KEEP_SIZES = {
    *("addmm", "cumsum", "sum", "mean", "var_mean"),
    *("elu_backward", "leaky_relu_backward", "hardtanh_backward", "softplus_backward", "hardsigmoid_backward"),
    *("hardswish_backward", "mish_backward"),
    *("_softmax_backward_data", "_log_softmax", "_log_softmax_backward_data"),
    *("nll_loss_forward", "nll_loss_backward", "nll_loss2d_forward", "nll_loss2d_backward"),
    *("mse_loss", "mse_loss_backward", "huber_loss", "huber_loss_backward"),
    *("binary_cross_entropy", "binary_cross_entropy_backward", "binary_cross_entropy_with_logits"),
}


def find_results(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What an operation of `torch.ops` returns for tensors on the device "meta": tensors there.

    None if the operation is not followed here, or does not take such tensors.
    """
    name = function._schema.name.removeprefix("aten::")
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if any(tensor.device.type != "meta" for tensor in tensors):
        return None
    with contextlib.suppress(RuntimeError, IndexError, TypeError):
        if name in _FORMULAS:
            return _FORMULAS[name](*args, **kwargs)
        if name in _KEEP_SIZES or (torch.Tag.pointwise in function.tags and not function._schema.is_mutable):
            return _try(function, args, kwargs, {size for tensor in tensors for size in tensor.shape})
    return None


def _try(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], sizes: Set[int]) -> Any:
    """The results of an operation that keeps `sizes`, which is computed with small ones in their place."""
    small = {0: 0, 1: 1} | {size: number for number, size in enumerate(sorted(sizes - {0, 1}), 2)}
    large = {number: size for size, number in small.items()}

    def shrink(tensor: torch.Tensor) -> torch.Tensor:
        shape = [small[size] for size in tensor.shape]
        repeated = [1 if tensor.stride(axis) == 0 else size for axis, size in enumerate(shape)]
        return _like(tensor, repeated, "cpu").fill_(1).expand(shape)

    def restore(tensor: torch.Tensor) -> torch.Tensor:
        return _like(tensor, [large[size] for size in tensor.shape])

    args, kwargs = tree_map_only(torch.Tensor, shrink, (args, kwargs))
    return tree_map_only(torch.Tensor, restore, function(*args, **kwargs))


def _like(tensor: torch.Tensor, shape: Sequence[int], device: str = "meta") -> torch.Tensor:
    """A tensor of this shape, with the type of `tensor` and with its order of axes in memory."""
    order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))  # stable: axes of size 1 keep their place
    return torch.empty_permuted(tuple(shape), order, dtype=tensor.dtype, device=device)


def _concatenate(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    first = tensors[0]
    if any(tensor.ndim != first.ndim or tensor.dtype != first.dtype for tensor in tensors):
        raise TypeError
    shape = list(first.shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return _like(first, shape)


def _stack(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    return _concatenate([tensor.unsqueeze(dim) for tensor in tensors], dim)


def _resample(pixels: torch.Tensor, output_size: Sequence[int], *_: Any, **__: Any) -> torch.Tensor:
    return _like(pixels, [*pixels.shape[:2], *output_size])


def _normalize_batch(samples: torch.Tensor, *others: Any) -> tuple[torch.Tensor, ...]:
    channels = samples.shape[1] if others[4] else 0  # in training
    return (_like(samples, samples.shape), *(samples.new_empty(channels) for _ in range(2)))


def _normalize_groups(samples: torch.Tensor, *others: Any) -> tuple[torch.Tensor, ...]:
    num_samples, groups = samples.shape[0], others[5]
    return (_like(samples, samples.shape), *(samples.new_empty(num_samples, groups) for _ in range(2)))


def _normalize_backward(_: Any, samples: torch.Tensor, *others: Any) -> tuple[Any, ...]:
    channels = samples.shape[1:2]
    made = (_like(samples, samples.shape), samples.new_empty(channels), samples.new_empty(channels))
    return tuple(tensor if needed else None for tensor, needed in zip(made, others[-1], strict=True))


_FORMULAS: dict[str, Callable[..., Any]] = {
    "cat": _concatenate,
    "stack": _stack,
    "upsample_bilinear2d": _resample,
    "native_batch_norm": _normalize_batch,
    "native_batch_norm_backward": _normalize_backward,
    "native_group_norm": _normalize_groups,
    "native_group_norm_backward": _normalize_backward,
}
