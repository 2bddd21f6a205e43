"""What networks with an output for each pixel are made of: convolutions in two or three dimensions, normalized."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from rayrml.networks.families.writing import Tensor, Writer

Normalization = Literal["batch", "group", "none"]

_MOST_GROUPS = 8


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Writes layers of a number of spatial axes.

    Attributes:
        net: what they are written to.
        rank: how many spatial axes there are.
        normalization: what follows each convolution.
    """

    net: Writer
    rank: int
    normalization: Normalization

    def convolve(self, x: Tensor, name: str, filters: int, *, kernel: int = 3, strides: int = 1) -> Tensor:
        """A convolution `<name>_conv`, normalized, then a ReLU `<name>_relu`."""
        x = self.sum(x, f"{name}_conv", filters, kernel=kernel, strides=strides)
        return self.activate(self.normalize(x, name), name)

    def convolve_twice(self, x: Tensor, name: str, filters: int) -> Tensor:
        """Two convolutions, `<name>a` and `<name>b`."""
        return self.convolve(self.convolve(x, f"{name}a", filters), f"{name}b", filters)

    def sum(self, x: Tensor, name: str, filters: int, *, kernel: int = 3, strides: int = 1, **more: Any) -> Tensor:
        """A convolution that keeps sizes, apart from its strides; it has a bias where no normalization has one."""
        config = {"kernel_size": kernel, "strides": strides, "padding": "same", "kernel_initializer": "he_uniform"}
        biased = self.normalization == "none"
        return self.net.add(f"Conv{self.rank}D", x, name, filters=filters, use_bias=biased, **(config | more))

    def normalize(self, x: Tensor, name: str) -> Tensor:
        """The normalization, `<name>_bn` or `<name>_gn`, if there is one."""
        if self.normalization == "batch":
            return self.net.add("BatchNormalization", x, f"{name}_bn")
        if self.normalization == "group":
            groups = math.gcd(x.channels, _MOST_GROUPS)
            return self.net.add("GroupNormalization", x, f"{name}_gn", groups=groups)
        return x

    def activate(self, x: Tensor, name: str) -> Tensor:
        """A ReLU, `<name>_relu`."""
        return self.net.add("Activation", x, f"{name}_relu", activation="relu")

    def pool(self, x: Tensor, name: str) -> Tensor:
        """The maximum of each 2 x 2 (x 2) positions."""
        return self.net.add(f"MaxPooling{self.rank}D", x, name, pool_size=2, strides=2)

    def repeat(self, x: Tensor, name: str, factor: int = 2, *, linear: bool = False) -> Tensor:
        """Each position `factor` times along each axis, or interpolated between images' positions."""
        more = {"interpolation": "bilinear"} if linear else {}
        return self.net.add(f"UpSampling{self.rank}D", x, name, size=factor, **more)

    def drop(self, x: Tensor, rate: float) -> Tensor:
        """Channels left out in training, if the rate is above 0."""
        return self.net.add(f"SpatialDropout{self.rank}D", x, "dropout", rate=rate) if rate > 0 else x

    def end(self, x: Tensor, name: str, outputs: int, *, kernel: int, activation: str) -> Tensor:
        """The last convolution, with a bias."""
        more = {"kernel_size": kernel, "padding": "same", "activation": activation}
        return self.net.add(f"Conv{self.rank}D", x, name, filters=outputs, **more)
