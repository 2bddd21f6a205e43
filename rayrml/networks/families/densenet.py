"""DenseNet, as in `keras.applications`."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

from rayrml.networks.families.family import Classifier, Range
from rayrml.networks.families.writing import Tensor, Writer

_GROWTH = 32  # channels that each layer adds


@dataclasses.dataclass(frozen=True)
class DenseNet(Classifier):
    """Blocks whose layers take the outputs of all layers before. Source: arXiv 1608.06993.

    Attributes:
        depths: how many layers the four blocks have.
    """

    depths: tuple[int, ...] = ()

    pixels: ClassVar[Range] = "normalized"

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("ZeroPadding2D", net.input, padding=3)
        x = net.add("Conv2D", x, "conv1_conv", filters=64, kernel_size=7, strides=2, use_bias=False)
        x = _activated(net, x, ("conv1_bn", "conv1_relu"))
        x = net.add("ZeroPadding2D", x, padding=1)
        x = net.add("MaxPooling2D", x, "pool1", pool_size=3, strides=2)
        for block, depth in enumerate(self.depths, 2):
            for number in range(1, depth + 1):
                x = _layer(net, x, f"conv{block}_block{number}")
            if block <= len(self.depths):
                x = _transition(net, x, f"pool{block}")
        return _activated(net, x, ("bn", "relu"))


def _layer(net: Writer, x: Tensor, name: str) -> Tensor:
    y = _activated(net, x, (f"{name}_0_bn", f"{name}_0_relu"))
    y = net.add("Conv2D", y, f"{name}_1_conv", filters=4 * _GROWTH, kernel_size=1, use_bias=False)
    y = _activated(net, y, (f"{name}_1_bn", f"{name}_1_relu"))
    y = net.add("Conv2D", y, f"{name}_2_conv", filters=_GROWTH, kernel_size=3, padding="same", use_bias=False)
    return net.add("Concatenate", [x, y], f"{name}_concat")


def _transition(net: Writer, x: Tensor, name: str) -> Tensor:
    """Half as many channels at half the resolution."""
    x = _activated(net, x, (f"{name}_bn", f"{name}_relu"))
    x = net.add("Conv2D", x, f"{name}_conv", filters=x.channels // 2, kernel_size=1, use_bias=False)
    return net.add("AveragePooling2D", x, f"{name}_pool", pool_size=2, strides=2)


def _activated(net: Writer, x: Tensor, names: tuple[str, str]) -> Tensor:
    x = net.add("BatchNormalization", x, names[0], epsilon=1.001e-5)
    return net.add("Activation", x, names[1], activation="relu")


NETWORKS = {
    name: functools.partial(DenseNet, name, depths)
    for name, depths in {
        "densenet121": (6, 12, 24, 16),
        "densenet169": (6, 12, 32, 32),
        "densenet201": (6, 12, 48, 32),
    }.items()
}
