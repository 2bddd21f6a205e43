"""Residual networks, as in `keras.applications`, and their shallow relatives."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

from rayrml.networks.families.family import Classifier, Range
from rayrml.networks.families.writing import Tensor, Writer

_WIDTHS = (64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class ResNet(Classifier):
    """A residual network. Source: arXiv 1512.03385.

    Attributes:
        depths: how many blocks the four stages have.
        basic: blocks of two convolutions, as torchvision has them, instead of bottlenecks of three.
    """

    depths: tuple[int, ...] = ()
    basic: bool = False

    pixels: ClassVar[Range] = "BGR"

    @property
    def expects(self) -> Range:
        """Which pixels the weights that Keras offers were trained with."""
        return "any" if self.basic else self.pixels

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("ZeroPadding2D", net.input, "conv1_pad", padding=3)
        x = net.add("Conv2D", x, "conv1_conv", filters=64, kernel_size=7, strides=2, use_bias=not self.basic)
        x = _normalized(net, x, "conv1", "conv1_relu")
        x = net.add("ZeroPadding2D", x, "pool1_pad", padding=1)
        x = net.add("MaxPooling2D", x, "pool1_pool", pool_size=3, strides=2)
        for stage, (width, depth) in enumerate(zip(_WIDTHS, self.depths, strict=True)):
            for number in range(depth):
                block = _basic_block if self.basic else _bottleneck
                stride = 2 if stage and not number else 1
                x = block(net, x, f"conv{stage + 2}_block{number + 1}", width, stride=stride, first=not number)
        return x


@dataclasses.dataclass(frozen=True)
class ResNetV2(Classifier):
    """A residual network whose blocks begin with the normalization. Source: arXiv 1603.05027.

    Attributes:
        depths: how many blocks the four stages have.
        basic: blocks of two convolutions instead of bottlenecks of three.
    """

    depths: tuple[int, ...] = ()
    basic: bool = False

    pixels: ClassVar[Range] = "-1 to 1"

    @property
    def expects(self) -> Range:
        """Which pixels the weights that Keras offers were trained with."""
        return "any" if self.basic else self.pixels

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("ZeroPadding2D", net.input, "conv1_pad", padding=3)
        x = net.add("Conv2D", x, "conv1_conv", filters=64, kernel_size=7, strides=2)
        net.features[2] = x
        x = net.add("ZeroPadding2D", x, "pool1_pad", padding=1)
        x = net.add("MaxPooling2D", x, "pool1_pool", pool_size=3, strides=2)
        for stage, (width, depth) in enumerate(zip(_WIDTHS, self.depths, strict=True)):
            for number in range(1, depth + 1):
                stride = 2 if number == depth and stage < len(_WIDTHS) - 1 else 1
                name = f"conv{stage + 2}_block{number}"
                x = _preactivated_block(net, x, name, width, stride=stride, first=number == 1, basic=self.basic)
        return _normalized(net, x, "post", "post_relu")


def _bottleneck(net: Writer, x: Tensor, name: str, width: int, *, stride: int, first: bool) -> Tensor:
    shortcut = x
    if first:
        shortcut = net.add("Conv2D", x, f"{name}_0_conv", filters=4 * width, kernel_size=1, strides=stride)
        shortcut = _normalized(net, shortcut, f"{name}_0")
    x = net.add("Conv2D", x, f"{name}_1_conv", filters=width, kernel_size=1, strides=stride)
    x = _normalized(net, x, f"{name}_1", f"{name}_1_relu")
    x = net.add("Conv2D", x, f"{name}_2_conv", filters=width, kernel_size=3, padding="same")
    x = _normalized(net, x, f"{name}_2", f"{name}_2_relu")
    x = net.add("Conv2D", x, f"{name}_3_conv", filters=4 * width, kernel_size=1)
    x = net.add("Add", [shortcut, _normalized(net, x, f"{name}_3")], f"{name}_add")
    return net.add("Activation", x, f"{name}_out", activation="relu")


def _basic_block(net: Writer, x: Tensor, name: str, width: int, *, stride: int, first: bool) -> Tensor:
    shortcut = x
    if first and x.channels != width:
        shortcut = net.add("Conv2D", x, f"{name}_0_conv", filters=width, kernel_size=1, strides=stride, use_bias=False)
        shortcut = _normalized(net, shortcut, f"{name}_0")
    x = net.add("ZeroPadding2D", x, f"{name}_1_pad", padding=1)
    x = net.add("Conv2D", x, f"{name}_1_conv", filters=width, kernel_size=3, strides=stride, use_bias=False)
    x = _normalized(net, x, f"{name}_1", f"{name}_1_relu")
    x = net.add("Conv2D", x, f"{name}_2_conv", filters=width, kernel_size=3, padding="same", use_bias=False)
    x = net.add("Add", [shortcut, _normalized(net, x, f"{name}_2")], f"{name}_add")
    return net.add("Activation", x, f"{name}_out", activation="relu")


def _preactivated_block(
    net: Writer, x: Tensor, name: str, width: int, *, stride: int, first: bool, basic: bool
) -> Tensor:
    wide = width if basic else 4 * width
    active = _normalized(net, x, f"{name}_preact", f"{name}_preact_relu")
    shortcut = x
    if first and x.channels != wide:
        shortcut = net.add("Conv2D", active, f"{name}_0_conv", filters=wide, kernel_size=1, strides=stride)
    elif stride > 1:
        shortcut = net.add("MaxPooling2D", x, pool_size=1, strides=stride)
    x = active
    if basic:
        x = net.add("Conv2D", x, f"{name}_1_conv", filters=width, kernel_size=3, padding="same", use_bias=False)
    else:
        x = net.add("Conv2D", x, f"{name}_1_conv", filters=width, kernel_size=1, use_bias=False)
    x = _normalized(net, x, f"{name}_1", f"{name}_1_relu")
    x = net.add("ZeroPadding2D", x, f"{name}_2_pad", padding=1)
    if basic:
        x = net.add("Conv2D", x, f"{name}_2_conv", filters=width, kernel_size=3, strides=stride)
    else:
        x = net.add("Conv2D", x, f"{name}_2_conv", filters=width, kernel_size=3, strides=stride, use_bias=False)
        x = _normalized(net, x, f"{name}_2", f"{name}_2_relu")
        x = net.add("Conv2D", x, f"{name}_3_conv", filters=wide, kernel_size=1)
    return net.add("Add", [shortcut, x], f"{name}_out")


def _normalized(net: Writer, x: Tensor, name: str, activation: str | None = None) -> Tensor:
    """Batch normalization, then a ReLU named `activation` if there is one."""
    x = net.add("BatchNormalization", x, f"{name}_bn", epsilon=1.001e-5)
    return x if activation is None else net.add("Activation", x, activation, activation="relu")


_SHALLOW = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_DEEP = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _rows(kind: Callable[..., Any], suffix: str) -> dict[str, Callable[..., Any]]:
    return {
        f"resnet{number}{suffix}": functools.partial(kind, f"resnet{number}{suffix}", depths, number in _SHALLOW)
        for number, depths in (_SHALLOW | _DEEP).items()
    }


NETWORKS = _rows(ResNet, "") | _rows(ResNetV2, "v2")
