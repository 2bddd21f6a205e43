"""Batch normalization by the mean and variance of a global batch, of which each worker holds a part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from rayrml.networks.layers.lanes import Lane, open_lane
from rayrml.workers import Workers


class SharedStatistics:
    """Adds up over all workers what batch normalization sums over a batch; the layers of a network have one in common.

    All workers must do the same calls, forward and backward, in the same order. A worker whose part of the batch is
    empty goes along with a sample that does not count.

    Args:
        workers: the workers that share each batch.

    Attributes:
        normalize: `normalize` with these statistics.
        active: whether layers add up now; it is not set in evaluations, which workers do at their own pace.
        counts: whether this worker's samples count.
    """

    def __init__(self, workers: Workers):
        self._workers = workers
        self._lane: Lane | None = None
        self.active = False
        self.counts = True
        # A compiled network has to be cut at the exchange in any case. This imports torch's compiler, which takes
        # longer than the rest of torch: not before a network is trained, when its optimizer needs it, too.
        self.normalize = torch.compiler.disable(self._normalize)

    @contextlib.contextmanager
    def step(self, *, counts: bool) -> Iterator[None]:
        """Add up in forward and backward within the block."""
        if self._lane is None:
            self._lane = open_lane(self._workers)
        self.active, self.counts = True, counts
        try:
            yield
        finally:
            self.active, self.counts = False, True

    def _normalize(
        self, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, *, epsilon: float
    ) -> tuple[torch.Tensor, Moments]:
        return normalize(x, weight, bias, epsilon=epsilon, shared=self)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor`, overwritten with the sum over the workers whose samples count."""
        if self._lane is None:
            raise RuntimeError("sums are for the time of a step")
        self._lane.sum(tensor if self.counts else tensor.zero_())
        return tensor

    def average(self, statistics: Sequence[torch.Tensor], count: int) -> None:
        """Overwrite (C,) means over this worker's `count` samples with the means over the samples of all workers."""
        sums = torch.stack([*statistics, torch.ones_like(statistics[0])]).double() * count
        *means, total = self.sum(sums)
        for own, mean in zip(statistics, means, strict=True):
            own.copy_(mean / total)


class Moments(NamedTuple):
    """What a global batch contributes to running statistics.

    Attributes:
        mean: (C,) of each channel.
        variance: (C,) of each channel, divided by the number of values.
        num_values: how many each channel has, a scalar of float64 on the device.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    num_values: torch.Tensor


def normalize(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    *,
    epsilon: float,
    shared: SharedStatistics,
) -> tuple[torch.Tensor, Moments]:
    """`x` (N, C, *spatial) normalized by the global batch, and the moments of that batch.

    The gradient is that of the global batch too: workers exchange one tensor forward and one backward. Those of weight
    and bias are this worker's part, as all gradients of parameters are. They cannot be differentiated once more, as the
    penalty of a critic's gradients is. Source: arXiv 1502.03167, section 3.

    Raises:
        RuntimeError: in a second backward, through the gradient.
    """
    y, mean, variance, count = _Normalization.apply(_Settings(epsilon, shared), x, weight, bias)
    return y, Moments(mean, variance, count)


class _Settings(NamedTuple):
    epsilon: float
    shared: SharedStatistics


class _Normalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, settings: _Settings, x: torch.Tensor, *affine: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        weight, bias = affine
        mean, variance, count = _moments(x, settings.shared)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + settings.epsilon), count)
        ctx.settings = settings
        ctx.mark_non_differentiable(mean, variance, count)
        ctx.set_materialize_grads(False)
        y = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, settings.epsilon)
        return y, mean, variance, count

    @staticmethod
    @once_differentiable  # the mean and variance that are kept are constants to autograd: it would be wrong silently
    def backward(ctx: Any, gradient: torch.Tensor | None, *_: None) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, mean, scale, count = ctx.saved_tensors
        epsilon, shared = ctx.settings
        if gradient is None or not shared.counts:
            gradient = torch.zeros_like(x)
        # Torch's own kernel, asked for these sums alone: of gradient * normalized x, and of the gradient.
        _, products, plain = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, scale, True, epsilon, [False, True, True]
        )
        to_x = None
        _, of_x, of_weight, of_bias = ctx.needs_input_grad
        if of_x:
            sums = shared.sum(torch.stack([products, plain]).double())
            to_x = _gradient(gradient, x, (weight, mean, scale), sums / count) if shared.counts else gradient
        return None, to_x, products if of_weight else None, plain if of_bias else None


def _moments(x: torch.Tensor, shared: SharedStatistics) -> Moments:
    channels = x.shape[1]
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    old = torch.zeros(2, channels, dtype=kind, device=x.device)
    mean, variance = (m.double() for m in torch.ops.aten.batch_norm_update_stats(x, old[0], old[1], 0.0))
    # In float64: variances are differences of these sums.
    size = x.numel() // channels
    sums = torch.cat([mean, variance + mean.square(), mean.new_ones(1)]).mul_(size)
    shared.sum(sums)
    count = sums[-1]
    mean, squares = (sums[:-1] / count).chunk(2)
    return Moments(mean.to(kind), (squares - mean.square()).clamp_(min=0).to(kind), count.clone())


def _gradient(
    gradient: torch.Tensor,
    x: torch.Tensor,
    affine: tuple[torch.Tensor | None, torch.Tensor, torch.Tensor],
    means: torch.Tensor,
) -> torch.Tensor:
    """The gradient of `x`: weight * scale * (gradient - mean gradient - normalized x * mean product).

    As x times a factor, plus the gradient times another, plus a constant, each one number a channel.
    """
    weight, mean, scale = affine
    mean, scale = mean.double(), scale.double()
    factor = scale if weight is None else scale * weight
    of_x = -factor * scale * means[0]
    constant = -factor * means[1] - of_x * mean
    factor, of_x, constant = (_over_channels(value, x) for value in (factor, of_x, constant))
    return torch.addcmul(constant, x, of_x).addcmul_(gradient, factor).to(x.dtype)


def _over_channels(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """(C,) as (1, C, 1, ...), which combines with `x`, in float32 at least."""
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    return values.to(kind).view(1, -1, *(1,) * (x.ndim - 2))
