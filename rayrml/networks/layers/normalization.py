"""Normalizations."""

from __future__ import annotations

import functools
from typing import Literal, TypeGuard

import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers.layer import Axes, Layer, Positive, Shape, expect_channels, known
from rayrml.networks.layers.layout import held_axis, held_order
from rayrml.networks.layers.recomputation import is_recomputing
from rayrml.networks.layers.shared_statistics import SharedStatistics
from rayrml.workers import Workers


class BatchNormalization(Layer):
    """(x - mean) / deviation along `axis`, with the batch's statistics in training and the running ones otherwise.

    The running statistics become momentum * old + (1 - momentum) * new. Source: arXiv 1502.03167.

    Attributes:
        synchronized: whether the JSON asks for the statistics of all workers' parts of a batch.
        shared: what adds the statistics up over workers, None if each normalizes its own part.
    """

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        axis: Axes = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        synchronized: bool | None = None,
        renorm: Literal[False] = False,
        renorm_clipping: None = None,
        renorm_momentum: float = 0.99,
    ):
        super().__init__()
        self.dim = held_axis(_one(axis), shape)
        self.momentum, self.epsilon = momentum, epsilon
        self.synchronized = bool(synchronized)
        self.shared: SharedStatistics | None = None
        # Only Keras 3 writes `synchronized`. Its running variance uses the batch's biased variance, as Keras 2's does
        # for tensors of rank 2 and 3; Keras 2's fused kernel for images uses the unbiased one, as torch does.
        self.biased = synchronized is not None or len(shape) < 3
        self.size = known(shape[self.dim - 1])
        self.add_weight("weight", "gamma", (self.size,), initializer="ones", present=scale)
        self.add_weight("bias", "beta", (self.size,), initializer="zeros", present=center)
        self.add_weight("running_mean", "moving_mean", (self.size,), initializer="zeros", trainable=False)
        self.add_weight("running_var", "moving_variance", (self.size,), initializer="ones", trainable=False)

    def freeze(self) -> None:
        """Train nothing: the running statistics are used but not updated."""
        super().freeze()
        self.fix_mode(False)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's."""
        expect_channels(shapes[0][self.dim - 1 :], self.size)
        return shapes[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if self.dim != 1:
            return self._normalize(x.transpose(1, self.dim)).transpose(1, self.dim)
        return self._normalize(x)

    def _normalize(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self._batch_norm(x, self.running_var)
        if self.shared is not None and self.shared.active:
            return self._normalize_together(x, self.shared)
        num_values = x.numel() // x.shape[1]
        if num_values == 1:
            return self._normalize_one(x)
        if not self.biased or is_recomputing():
            return self._batch_norm(x, self.running_var)
        variance = self.running_var.clone()
        y = self._batch_norm(x, variance)
        with torch.no_grad():
            # variance = momentum * old + (1 - momentum) * unbiased, and biased = unbiased * (1 - 1 / num_values)
            self.running_var.mul_(self.momentum / num_values).add_(variance, alpha=1 - 1 / num_values)
        return y

    def _normalize_together(self, x: torch.Tensor, shared: SharedStatistics) -> torch.Tensor:
        y, moments = shared.normalize(x, self.weight, self.bias, epsilon=self.epsilon)  # pyright: ignore[reportCallIssue]
        if is_recomputing():
            return y
        with torch.no_grad():
            unbiased = moments.num_values / (moments.num_values - 1).clamp_(min=1)
            variance = moments.variance if self.biased else moments.variance * unbiased
            self.running_mean.lerp_(moments.mean.to(self.running_mean.dtype), 1 - self.momentum)
            self.running_var.lerp_(variance.to(self.running_var.dtype), 1 - self.momentum)
        return y

    def _batch_norm(self, x: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        rate = 0.0 if is_recomputing() else 1 - self.momentum
        return F.batch_norm(x, self.running_mean, variance, self.weight, self.bias, self.training, rate, self.epsilon)

    def _normalize_one(self, x: torch.Tensor) -> torch.Tensor:
        """The result for one value per channel, which torch rejects: it is its own mean, and its variance is 0."""
        if not is_recomputing():
            with torch.no_grad():
                self.running_mean.lerp_(x.flatten(), 1 - self.momentum)
                self.running_var.mul_(self.momentum)
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        return F.batch_norm(_without_deviation(x), mean, variance, self.weight, self.bias)


class LayerNormalization(Layer):
    """(x - mean) / deviation of each sample along `axis` (one or several). Source: arXiv 1607.06450."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(
        self,
        shape: Shape,
        *,
        axis: Axes = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        rms_scaling: Literal[False] = False,
    ):
        super().__init__()
        self.epsilon = epsilon
        self.dims = tuple(sorted(held_axis(a, shape) for a in ((axis,) if isinstance(axis, int) else axis)))
        self.sizes = tuple(known(shape[dim - 1]) for dim in self.dims)
        # Keras stores the factors in its own axis order, channels last; here they broadcast with the input.
        order = held_order(self.dims)
        keras = tuple(self.sizes[order.index(i)] for i in range(len(order)))
        held = tuple(shape[dim - 1] if dim in self.dims else 1 for dim in range(1, len(shape) + 1))
        sizes = tuple(known(size) for size in held)
        self.add_weight("weight", "gamma", keras, axes=order, held=sizes, initializer="ones", present=scale)
        self.add_weight("bias", "beta", keras, axes=order, held=sizes, initializer="zeros", present=center)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's."""
        for dim, size in zip(self.dims, self.sizes, strict=True):
            expect_channels(shapes[0][dim - 1 :], size)
        return shapes[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if len(self.dims) == x.ndim - 1:
            return F.layer_norm(x, x.shape[1:], self.weight, self.bias, self.epsilon)
        variance, mean = torch.var_mean(x, self.dims, correction=0, keepdim=True)
        y = (x - mean) * torch.rsqrt(variance + self.epsilon)
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias


class GroupNormalization(Layer):
    """(x - mean) / deviation of each sample in each of `groups` groups of channels. Source: arXiv 1803.08494."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(
        self,
        shape: Shape,
        *,
        groups: Positive | Literal[-1] = 32,
        axis: Axes = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
    ):
        super().__init__()
        self.epsilon = epsilon
        self.dim = held_axis(_one(axis), shape)
        self.size = known(shape[self.dim - 1])
        self.groups = self.size if groups == -1 else groups
        if self.size % self.groups:
            raise ConfigError(Problem("groups", f"{self.groups} groups do not divide {self.size} channels"))
        self.add_weight("weight", "gamma", (self.size,), initializer="ones", present=scale)
        self.add_weight("bias", "beta", (self.size,), initializer="zeros", present=center)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's."""
        expect_channels(shapes[0][self.dim - 1 :], self.size)
        return shapes[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        x = x.transpose(1, self.dim)
        if x.shape[1:].numel() == self.groups:  # one value a group, which torch refuses if there is only one sample
            return _scale(_without_deviation(x), self.weight, self.bias).transpose(1, self.dim)
        y = F.group_norm(x, self.groups, self.weight, self.bias, self.epsilon)
        return y.transpose(1, self.dim)


class InstanceNormalization(Layer):
    """(x - mean) / deviation of each channel of each sample. Source: arXiv 1607.08022.

    Keras has no such layer: the keys are torch's, so `momentum` is the fraction of the new statistics.

    Attributes:
        shared: what averages tracked statistics over workers, None if each keeps those of its own part.
    """

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None

    def __init__(
        self,
        shape: Shape,
        *,
        affine: bool = False,
        track_running_stats: bool = False,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        axis: Axes = -1,
    ):
        super().__init__()
        if held_axis(_one(axis), shape) != 1 or len(shape) < 2:
            raise ConfigError(Problem("axis", "expected the channels of an input with spatial axes"))
        self.momentum, self.epsilon, self.track = momentum, epsilon, track_running_stats
        self.shared: SharedStatistics | None = None
        self.size = known(shape[0])
        self.add_weight("weight", "gamma", (self.size,), initializer="ones", present=affine)
        self.add_weight("bias", "beta", (self.size,), initializer="zeros", present=affine)
        add_statistic = functools.partial(self.add_weight, trainable=False, present=track_running_stats)
        add_statistic("running_mean", "moving_mean", (self.size,), initializer="zeros")
        add_statistic("running_var", "moving_variance", (self.size,), initializer="ones")

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's."""
        expect_channels(shapes[0], self.size)
        return shapes[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        own, momentum = self.training or not self.track, 0.0 if is_recomputing() else self.momentum
        if own and x.shape[1:].numel() == self.size:
            y = self._normalize_one(x, momentum)
        elif own and len(x) == 1:
            y = self._normalize_sample(x, momentum)
        else:
            statistics = self.running_mean, self.running_var
            y = F.instance_norm(x, *statistics, self.weight, self.bias, own, momentum, self.epsilon)
        if self.training and self.shared is not None and self.shared.active and not is_recomputing():
            self._average(self.shared, len(x))
        return y

    def _average(self, shared: SharedStatistics, count: int) -> None:
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                shared.average([self.running_mean, self.running_var], count)

    def _normalize_sample(self, x: torch.Tensor, momentum: float) -> torch.Tensor:
        """The result for a single sample, for which torch's own gives wrong gradients in channels-last format on CPUs.

        See the test of a single sample for the case.
        """
        if self.training and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                variance, mean = torch.var_mean(x, (0, *range(2, x.ndim)))
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)
        return F.group_norm(x, self.size, self.weight, self.bias, self.epsilon)

    def _normalize_one(self, x: torch.Tensor, momentum: float) -> torch.Tensor:
        """The result for one value a channel and sample, which torch refuses: it is its own mean, its variance is 0."""
        if self.training and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.running_mean.lerp_(x.mean((0, *range(2, x.ndim))), momentum)
                self.running_var.mul_(1 - momentum)
        return _scale(_without_deviation(x), self.weight, self.bias)


class UnitNormalization(Layer):
    """The input divided by its Euclidean norm along `axis` (one or several)."""

    def __init__(self, shape: Shape, *, axis: Axes = -1):
        super().__init__()
        self.dims = tuple(held_axis(a, shape) for a in ((axis,) if isinstance(axis, int) else axis))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        return unit(x, self.dims)


def unit(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """`x` divided by its Euclidean norm along `dims`, or by 1e-6 if that is larger."""
    return x * torch.rsqrt(x.square().sum(dims, keepdim=True).clamp(min=1e-12))


def share_statistics(network: torch.nn.Module, workers: Workers, *, everywhere: bool) -> SharedStatistics | None:
    """What adds up the statistics of a network's layers over workers from now on; None if there is nothing to add up.

    Unless this is so `everywhere`, only batch normalization that asks for it with `synchronized` is concerned.
    """
    shared = SharedStatistics(workers)
    concerned = [layer for layer in network.modules() if _adds_up(layer, everywhere=everywhere)]
    for layer in concerned:
        layer.shared = shared
    return shared if concerned and workers.size > 1 else None


def part_statistics(network: torch.nn.Module) -> None:
    """Have each worker normalize its own part of a batch from now on, whatever the layers ask for."""
    for layer in network.modules():
        if _adds_up(layer, everywhere=True):
            layer.shared = None


def _adds_up(layer: torch.nn.Module, *, everywhere: bool) -> TypeGuard[BatchNormalization | InstanceNormalization]:
    if isinstance(layer, InstanceNormalization):
        return everywhere and layer.track
    return isinstance(layer, BatchNormalization) and (everywhere or layer.synchronized)


def _without_deviation(x: torch.Tensor) -> torch.Tensor:
    """`x` less itself: zeros with a gradient of zero, where a constant would leave the layers before without one."""
    return x - x


def _scale(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    """`x` (N, C, *spatial) times the weight (C,) plus the bias (C,) of its channel."""
    shape = (1, -1, *(1,) * (x.ndim - 2))
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


def _one(axis: Axes) -> int:
    axes = (axis,) if isinstance(axis, int) else axis
    if len(axes) != 1:
        raise ConfigError(Problem("axis", f"expected one axis, got {list(axes)}"))
    return axes[0]


LAYERS = {
    "BatchNormalization": BatchNormalization,
    "BatchNormalizationV1": BatchNormalization,
    "BatchNormalizationV2": BatchNormalization,
    "LayerNormalization": LayerNormalization,
    "GroupNormalization": GroupNormalization,
    "InstanceNormalization": InstanceNormalization,
    "UnitNormalization": UnitNormalization,
}
