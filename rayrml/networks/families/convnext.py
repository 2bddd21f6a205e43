"""ConvNeXt, as in `keras.applications`."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

from rayrml.networks.families.family import Classifier, Range
from rayrml.networks.families.writing import Tensor, Writer

_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels in [0, 1]
_WHITE = 255
_SCALE = 1e-6  # of the blocks at the beginning
_PREFIX = "convnext_"


@dataclasses.dataclass(frozen=True)
class ConvNeXt(Classifier):
    """Residual blocks of depthwise 7 x 7 convolutions and dense layers. Source: arXiv 2201.03545.

    Attributes:
        depths: how many blocks the four stages have.
        widths: channels of each.
    """

    depths: tuple[int, ...] = ()
    widths: tuple[int, ...] = ()

    encodes: ClassVar[bool] = False
    pixels: ClassVar[Range] = "0 to 255"

    @property
    def prefix(self) -> str:
        """What the names of its layers begin with."""
        return f"{_PREFIX}{self.name.removeprefix('convnext')}"

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.input
        if x.channels == len(_MEANS):
            mean = [number * _WHITE for number in _MEANS]
            variance = [(number * _WHITE) ** 2 for number in _DEVIATIONS]
            name = f"{self.prefix}_prestem_normalization"
            x = net.add("Normalization", x, name, axis=-1, mean=mean, variance=variance)
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            x = self._smaller(net, x, stage, width)
            for number in range(depth):
                x = _block(net, x, f"{self.prefix}_stage_{stage}_block_{number}")
        return x

    def head(self, net: Writer, x: Tensor) -> Tensor:
        """Write the layers from the last ones with positions to the output; the output."""
        x = net.add("GlobalAveragePooling2D", x, f"{self.prefix}_head_gap")
        x = net.add("LayerNormalization", x, f"{self.prefix}_head_layernorm", epsilon=1e-6)
        return net.add("Dense", x, f"{self.prefix}_head_dense", units=self.outputs, activation=self.ending)

    def _smaller(self, net: Writer, x: Tensor, stage: int, width: int) -> Tensor:
        """The first layers, or those before another stage."""
        if stage == 0:
            convolution = ("Conv2D", f"{self.prefix}_stem_conv", {"filters": width, "kernel_size": 4, "strides": 4})
            normalization = ("LayerNormalization", f"{self.prefix}_stem_layernorm", {"epsilon": 1e-6})
            return net.add_sequence(x, f"{self.prefix}_stem", [convolution, normalization])
        name, number = f"{self.prefix}_downsampling", stage - 1
        normalization = ("LayerNormalization", f"{name}_layernorm_{number}", {"epsilon": 1e-6})
        convolution = ("Conv2D", f"{name}_conv_{number}", {"filters": width, "kernel_size": 2, "strides": 2})
        return net.add_sequence(x, f"{name}_block_{number}", [normalization, convolution])


def _block(net: Writer, x: Tensor, name: str) -> Tensor:
    width = x.channels
    y = net.add("Conv2D", x, f"{name}_depthwise_conv", filters=width, kernel_size=7, padding="same", groups=width)
    y = net.add("LayerNormalization", y, f"{name}_layernorm", epsilon=1e-6)
    y = net.add("Dense", y, f"{name}_pointwise_conv_1", units=4 * width)
    y = net.add("Activation", y, f"{name}_gelu", activation="gelu")
    y = net.add("Dense", y, f"{name}_pointwise_conv_2", units=width)
    y = net.add_custom("LayerScale", y, f"{name}_layer_scale", init_values=_SCALE, projection_dim=width)
    y = net.add("Activation", y, f"{name}_identity", activation="linear")
    return net.add("Add", [x, y])


NETWORKS = {"convnexttiny": functools.partial(ConvNeXt, "convnexttiny", (3, 3, 9, 3), (96, 192, 384, 768))}
