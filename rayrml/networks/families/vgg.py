"""VGG, as in `keras.applications`."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, Literal

from rayrml.networks.families.family import Classifier, Range
from rayrml.networks.families.writing import Tensor, Writer

_WIDTHS = (64, 128, 256, 512, 512)
_UNITS = 4096


@dataclasses.dataclass(frozen=True)
class VGG(Classifier):
    """Blocks of 3 x 3 convolutions. Source: arXiv 1409.1556.

    Attributes:
        depths: how many convolutions each block has.
        top: `dense`: two layers of 4096 units on all positions, made for one size; `mean`: none, on their mean.
    """

    depths: tuple[int, ...] = ()
    top: Literal["dense", "mean"] = dataclasses.field(default="dense", kw_only=True)

    pixels: ClassVar[Range] = "BGR"

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.input
        for block, (width, depth) in enumerate(zip(_WIDTHS, self.depths, strict=True), 1):
            for number in range(1, depth + 1):
                name = f"block{block}_conv{number}"
                x = net.add("Conv2D", x, name, filters=width, kernel_size=3, padding="same", activation="relu")
            x = net.add("MaxPooling2D", x, f"block{block}_pool", pool_size=2, strides=2)
        return x

    def head(self, net: Writer, x: Tensor) -> Tensor:
        """Write the layers from the last ones with positions to the output; the output."""
        if self.top == "mean":
            return super().head(net, x)
        x = net.add("Flatten", x, "flatten")
        for name in ("fc1", "fc2"):
            x = net.add("Dense", x, name, units=_UNITS, activation="relu")
        return self.predictions(net, x)

    def find_misfit(self, shape: tuple[int | None, ...]) -> str | None:
        """What keeps the network from taking inputs of `shape`, (*spatial, C); None if nothing does."""
        if self.top == "dense" and None in shape[:-1]:
            return f'{self.name} is made for one size. "top": "mean" takes any'
        return super().find_misfit(shape)


NETWORKS = {
    "vgg16": functools.partial(VGG, "vgg16", (2, 2, 3, 3, 3)),
    "vgg19": functools.partial(VGG, "vgg19", (2, 2, 4, 4, 4)),
}
