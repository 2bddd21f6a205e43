"""Normalizations."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError, Problem
from rayrml.layers.layer import Layer, Shape, known
from rayrml.layers.layout import held_axis


class BatchNormalization(Layer):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta along `axis`, with statistics of the batch in training.

    The running statistics move to momentum * old + (1 - momentum) * new. Source: arXiv 1502.03167.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    weight: torch.Tensor | None
    bias: torch.Tensor | None

    def __init__(
        self,
        shape: Shape,
        *,
        axis: int | tuple[int, ...] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        synchronized: Literal[False] | None = None,
        renorm: Literal[False] = False,
        renorm_clipping: None = None,
        renorm_momentum: float = 0.99,
    ):
        super().__init__()
        axes = (axis,) if isinstance(axis, int) else axis
        if len(axes) != 1:
            raise ConfigError(Problem("axis", f"expected one axis, got {list(axes)}"))
        self.dim = held_axis(axes[0], shape)
        self.momentum, self.epsilon = momentum, epsilon
        # Only Keras 3 writes `synchronized`. Its running variance takes the biased variance of the batch, as Keras 2's
        # does for tensors of rank 2 and 3; Keras 2's fused kernel for images takes the unbiased one, as torch does.
        self.biased = synchronized is not None or len(shape) < 3
        self.size = known(shape[self.dim - 1], "axis")
        self.add_weight("weight", "gamma", (self.size,), initializer="ones", present=scale)
        self.add_weight("bias", "beta", (self.size,), initializer="zeros", present=center)
        self.add_weight("running_mean", "moving_mean", (self.size,), initializer="zeros", trainable=False)
        self.add_weight("running_var", "moving_variance", (self.size,), initializer="ones", trainable=False)

    def freeze(self) -> None:
        """Train nothing: the running statistics are used, and do not move."""
        super().freeze()
        self.fix_mode(False)

    def output_shape(self, *shapes: Shape) -> Shape:
        """The input's."""
        if shapes[0][self.dim - 1] != self.size:
            raise ConfigError(Problem("axis", f"expected the size {self.size}, got {shapes[0][self.dim - 1]}"))
        return shapes[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, *spatial), of the same shape."""
        if self.dim != 1:
            return self._normalize(x.transpose(1, self.dim)).transpose(1, self.dim)
        return self._normalize(x)

    def _normalize(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self._batch_norm(x, self.running_var)
        num_values = x.numel() // x.shape[1]
        if num_values == 1:
            return self._normalize_one(x)
        if not self.biased:
            return self._batch_norm(x, self.running_var)
        variance = self.running_var.clone()
        y = self._batch_norm(x, variance)
        with torch.no_grad():
            # variance = momentum * old + (1 - momentum) * unbiased, and biased = unbiased * (1 - 1 / num_values)
            self.running_var.mul_(self.momentum / num_values).add_(variance, alpha=1 - 1 / num_values)
        return y

    def _batch_norm(self, x: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        rate = 1 - self.momentum
        return F.batch_norm(x, self.running_mean, variance, self.weight, self.bias, self.training, rate, self.epsilon)

    def _normalize_one(self, x: torch.Tensor) -> torch.Tensor:
        """The result for one value a channel, which torch refuses: it is its own mean, and its variance is 0."""
        with torch.no_grad():
            self.running_mean.lerp_(x.flatten(), 1 - self.momentum)
            self.running_var.mul_(self.momentum)
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        return F.batch_norm(torch.zeros_like(x), mean, variance, self.weight, self.bias)


LAYERS = {
    "BatchNormalization": BatchNormalization,
    "BatchNormalizationV1": BatchNormalization,
    "BatchNormalizationV2": BatchNormalization,
}
