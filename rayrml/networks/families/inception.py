"""Inception v3 and Xception, as in `keras.applications`."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

from rayrml.networks.families.family import Classifier, Range
from rayrml.networks.families.writing import Tensor, Writer

Steps = tuple[tuple[int, int, int], ...]  # filters, height and width of each convolution of a branch

_POOLED_WIDTHS = (32, 64, 64)  # of the pooled branches of the first modules
_MIDDLE_WIDTHS = (128, 160, 160, 192)  # inside the modules with long kernels
_MIDDLE_BLOCKS = range(5, 13)  # of Xception, without a change of resolution


@dataclasses.dataclass(frozen=True)
class InceptionV3(Classifier):
    """Modules of parallel convolutions. Source: arXiv 1512.00567."""

    encodes: ClassVar[bool] = False
    pixels: ClassVar[Range] = "-1 to 1"

    @property
    def default_size(self) -> int:
        """Pixels of a side if no input is given."""
        return 299

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = _convolved(net, net.input, 32, (3, 3), halving=True)
        x = _convolved(net, x, 32, (3, 3), padding="valid")
        x = _convolved(net, x, 64, (3, 3))
        x = net.add("MaxPooling2D", x, pool_size=3, strides=2)
        x = _convolved(net, x, 80, (1, 1), padding="valid")
        x = _convolved(net, x, 192, (3, 3), padding="valid")
        x = net.add("MaxPooling2D", x, pool_size=3, strides=2)
        for number, width in enumerate(_POOLED_WIDTHS):
            steps: tuple[Steps, ...] = (
                ((64, 1, 1),),
                ((48, 1, 1), (64, 5, 5)),
                ((64, 1, 1), (96, 3, 3), (96, 3, 3)),
            )
            x = _module(net, x, f"mixed{number}", steps, pooled=width)
        x = _reduction(net, x, "mixed3", (((384, 3, 3),), ((64, 1, 1), (96, 3, 3), (96, 3, 3))))
        for number, w in enumerate(_MIDDLE_WIDTHS, 4):
            steps = (
                ((192, 1, 1),),
                ((w, 1, 1), (w, 1, 7), (192, 7, 1)),
                ((w, 1, 1), (w, 7, 1), (w, 1, 7), (w, 7, 1), (192, 1, 7)),
            )
            x = _module(net, x, f"mixed{number}", steps, pooled=192)
        long = ((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3))
        x = _reduction(net, x, "mixed8", (((192, 1, 1), (320, 3, 3)), long))
        return _wide_module(net, _wide_module(net, x, 0), 1)


def _module(net: Writer, x: Tensor, name: str, steps: tuple[Steps, ...], *, pooled: int) -> Tensor:
    branches = [_branch(net, x, branch) for branch in steps]
    mean = net.add("AveragePooling2D", x, pool_size=3, strides=1, padding="same")
    return net.add("Concatenate", [*branches, _convolved(net, mean, pooled, (1, 1))], name)


def _reduction(net: Writer, x: Tensor, name: str, steps: tuple[Steps, ...]) -> Tensor:
    """Branches of half the resolution."""
    branches = [_branch(net, x, branch, halving=True) for branch in steps]
    return net.add("Concatenate", [*branches, net.add("MaxPooling2D", x, pool_size=3, strides=2)], name)


def _wide_module(net: Writer, x: Tensor, number: int) -> Tensor:
    """The last modules, some of whose branches fork."""
    first = _convolved(net, x, 320, (1, 1))
    forked = _forked(net, _convolved(net, x, 384, (1, 1)), f"mixed9_{number}")
    double = _forked(net, _convolved(net, _convolved(net, x, 448, (1, 1)), 384, (3, 3)), None)
    mean = net.add("AveragePooling2D", x, pool_size=3, strides=1, padding="same")
    branches = [first, forked, double, _convolved(net, mean, 192, (1, 1))]
    return net.add("Concatenate", branches, f"mixed{9 + number}")


def _forked(net: Writer, x: Tensor, name: str | None) -> Tensor:
    return net.add("Concatenate", [_convolved(net, x, 384, (1, 3)), _convolved(net, x, 384, (3, 1))], name)


def _branch(net: Writer, x: Tensor, steps: Steps, *, halving: bool = False) -> Tensor:
    for number, (filters, height, width) in enumerate(steps, 1):
        x = _convolved(net, x, filters, (height, width), halving=halving and number == len(steps))
    return x


def _convolved(
    net: Writer, x: Tensor, filters: int, kernel: tuple[int, int], *, halving: bool = False, padding: str = "same"
) -> Tensor:
    strides, padding = (2, "valid") if halving else (1, padding)
    x = net.add(
        "Conv2D", x, filters=filters, kernel_size=list(kernel), strides=strides, padding=padding, use_bias=False
    )
    return net.add("Activation", net.add("BatchNormalization", x, scale=False), activation="relu")


@dataclasses.dataclass(frozen=True)
class Xception(Classifier):
    """Residual blocks of separable convolutions. Source: arXiv 1610.02357."""

    encodes: ClassVar[bool] = False
    pixels: ClassVar[Range] = "-1 to 1"

    @property
    def default_size(self) -> int:
        """Pixels of a side if no input is given."""
        return 299

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("Conv2D", net.input, "block1_conv1", filters=32, kernel_size=3, strides=2, use_bias=False)
        x = _activated(net, x, "block1_conv1")
        x = net.add("Conv2D", x, "block1_conv2", filters=64, kernel_size=3, use_bias=False)
        x = _activated(net, x, "block1_conv2")
        for number, filters in ((2, 128), (3, 256), (4, 728)):
            x = _halving_block(net, x, number, (filters, filters))
        for number in _MIDDLE_BLOCKS:
            y = x
            for step in (1, 2, 3):
                y = net.add("Activation", y, f"block{number}_sepconv{step}_act", activation="relu")
                y = _separated(net, y, f"block{number}_sepconv{step}", 728)
            x = net.add("Add", [y, x])
        x = _halving_block(net, x, 13, (728, 1024))
        for step, filters in ((1, 1536), (2, 2048)):
            x = _separated(net, x, f"block14_sepconv{step}", filters)
            x = net.add("Activation", x, f"block14_sepconv{step}_act", activation="relu")
        return x


def _halving_block(net: Writer, x: Tensor, number: int, filters: tuple[int, int]) -> Tensor:
    shortcut = net.add("Conv2D", x, filters=filters[1], kernel_size=1, strides=2, padding="same", use_bias=False)
    shortcut = net.add("BatchNormalization", shortcut)
    for step, width in enumerate(filters, 1):
        if (number, step) != (2, 1):
            x = net.add("Activation", x, f"block{number}_sepconv{step}_act", activation="relu")
        x = _separated(net, x, f"block{number}_sepconv{step}", width)
    x = net.add("MaxPooling2D", x, f"block{number}_pool", pool_size=3, strides=2, padding="same")
    return net.add("Add", [x, shortcut])


def _separated(net: Writer, x: Tensor, name: str, filters: int) -> Tensor:
    x = net.add("SeparableConv2D", x, name, filters=filters, kernel_size=3, padding="same", use_bias=False)
    return net.add("BatchNormalization", x, f"{name}_bn")


def _activated(net: Writer, x: Tensor, name: str) -> Tensor:
    return net.add("Activation", net.add("BatchNormalization", x, f"{name}_bn"), f"{name}_act", activation="relu")


NETWORKS = {
    "inceptionv3": functools.partial(InceptionV3, "inceptionv3"),
    "xception": functools.partial(Xception, "xception"),
}
