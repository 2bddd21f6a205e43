"""MobileNet, versions 1 to 3, as in `keras.applications`."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, NamedTuple

from rayrml.networks.families.family import Classifier, Range, Share
from rayrml.networks.families.writing import Tensor, Writer

# Of version 1: filters and stride of each block.
_BLOCKS_1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# Of version 2: filters, stride of the first block, and number of blocks.
_STAGES_2 = ((16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1))


@dataclasses.dataclass(frozen=True)
class MobileNet(Classifier):
    """Depthwise convolutions and convolutions of size 1 in turn. Source: arXiv 1704.04861.

    Attributes:
        dropout: share of the means that training leaves out before the last layer.
    """

    dropout: Share = dataclasses.field(default=0.001, kw_only=True)

    pixels: ClassVar[Range] = "-1 to 1"

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("Conv2D", net.input, "conv1", filters=32, kernel_size=3, strides=2, padding="same", use_bias=False)
        x = _clipped(net, x, "conv1")
        for number, (filters, stride) in enumerate(_BLOCKS_1, 1):
            padding = "same"
            if stride == 2:
                x = net.add("ZeroPadding2D", x, f"conv_pad_{number}", padding=[[0, 1], [0, 1]])
                padding = "valid"
            x = net.add(
                "DepthwiseConv2D",
                x,
                f"conv_dw_{number}",
                kernel_size=3,
                strides=stride,
                padding=padding,
                use_bias=False,
            )
            x = _clipped(net, x, f"conv_dw_{number}")
            x = net.add(
                "Conv2D", x, f"conv_pw_{number}", filters=filters, kernel_size=1, padding="same", use_bias=False
            )
            x = _clipped(net, x, f"conv_pw_{number}")
        return x

    def head(self, net: Writer, x: Tensor) -> Tensor:
        """Write the layers from the last ones with positions to the output; the output."""
        x = net.add("GlobalAveragePooling2D", x, keepdims=True)
        x = net.add("Dropout", x, "dropout", rate=self.dropout)
        x = net.add("Conv2D", x, "conv_preds", filters=self.outputs, kernel_size=1, padding="same")
        x = net.add("Reshape", x, "reshape_2", target_shape=[self.outputs])
        return net.add("Activation", x, "predictions", activation=self.ending)


@dataclasses.dataclass(frozen=True)
class MobileNetV2(Classifier):
    """Residual blocks that are wide inside and narrow between. Source: arXiv 1801.04381."""

    pixels: ClassVar[Range] = "-1 to 1"

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("Conv2D", net.input, "Conv1", filters=32, kernel_size=3, strides=2, padding="same", use_bias=False)
        x = net.add("BatchNormalization", x, "bn_Conv1", epsilon=1e-3, momentum=0.999)
        x = net.add("ReLU", x, "Conv1_relu", max_value=6.0)
        number = 0
        for filters, first, count in _STAGES_2:
            for stride in (first, *(1,) * (count - 1)):
                x = _narrow_block(net, x, number, filters=filters, stride=stride)
                number += 1
        x = net.add("Conv2D", x, "Conv_1", filters=1280, kernel_size=1, use_bias=False)
        x = net.add("BatchNormalization", x, "Conv_1_bn", epsilon=1e-3, momentum=0.999)
        return net.add("ReLU", x, "out_relu", max_value=6.0)

    def head(self, net: Writer, x: Tensor) -> Tensor:
        """Write the layers from the last ones with positions to the output; the output."""
        return self.predictions(net, net.add("GlobalAveragePooling2D", x))


def _clipped(net: Writer, x: Tensor, name: str) -> Tensor:
    x = net.add("BatchNormalization", x, f"{name}_bn")
    return net.add("ReLU", x, f"{name}_relu", max_value=6.0)


def _narrow_block(net: Writer, x: Tensor, number: int, *, filters: int, stride: int) -> Tensor:
    name, y = f"block_{number}_" if number else "expanded_conv_", x
    if number:
        y = net.add("Conv2D", y, f"{name}expand", filters=6 * x.channels, kernel_size=1, padding="same", use_bias=False)
        y = _slowly_normalized(net, y, f"{name}expand_BN")
        y = net.add("ReLU", y, f"{name}expand_relu", max_value=6.0)
    y = _depthwise(net, y, f"{name}depthwise", kernel=3, stride=stride, padded=f"{name}pad")
    y = _slowly_normalized(net, y, f"{name}depthwise_BN")
    y = net.add("ReLU", y, f"{name}depthwise_relu", max_value=6.0)
    y = net.add("Conv2D", y, f"{name}project", filters=filters, kernel_size=1, padding="same", use_bias=False)
    y = _slowly_normalized(net, y, f"{name}project_BN")
    return net.add("Add", [x, y], f"{name}add") if stride == 1 and x.channels == filters else y


def _depthwise(net: Writer, x: Tensor, name: str, *, kernel: int, stride: int, padded: str) -> Tensor:
    """A depthwise convolution; with a stride, after the layer of zeros `padded`."""
    padding = "same"
    if stride == 2:
        x, padding = net.pad_for_stride(x, kernel, padded), "valid"
    return net.add("DepthwiseConv2D", x, name, kernel_size=kernel, strides=stride, padding=padding, use_bias=False)


def _slowly_normalized(net: Writer, x: Tensor, name: str) -> Tensor:
    return net.add("BatchNormalization", x, name, epsilon=1e-3, momentum=0.999)


class _Block(NamedTuple):
    """A block of version 3: `expansion` is how many times as many channels it has inside."""

    expansion: float
    filters: int
    kernel: int
    stride: int
    weighs: bool  # its channels, by their means
    hard: bool  # its activation


_SMALL = (
    _Block(1, 16, 3, 2, True, False),
    _Block(72.0 / 16, 24, 3, 2, False, False),
    _Block(88.0 / 24, 24, 3, 1, False, False),
    _Block(4, 40, 5, 2, True, True),
    *(_Block(6, 40, 5, 1, True, True),) * 2,
    *(_Block(3, 48, 5, 1, True, True),) * 2,
    _Block(6, 96, 5, 2, True, True),
    *(_Block(6, 96, 5, 1, True, True),) * 2,
)
_LARGE = (
    _Block(1, 16, 3, 1, False, False),
    _Block(4, 24, 3, 2, False, False),
    _Block(3, 24, 3, 1, False, False),
    _Block(3, 40, 5, 2, True, False),
    *(_Block(3, 40, 5, 1, True, False),) * 2,
    _Block(6, 80, 3, 2, False, True),
    _Block(2.5, 80, 3, 1, False, True),
    *(_Block(2.3, 80, 3, 1, False, True),) * 2,
    *(_Block(6, 112, 3, 1, True, True),) * 2,
    _Block(6, 160, 5, 2, True, True),
    *(_Block(6, 160, 5, 1, True, True),) * 2,
)


@dataclasses.dataclass(frozen=True)
class MobileNetV3(Classifier):
    """Version 2 with weights for channels, and piecewise linear activations. Source: arXiv 1905.02244.

    Attributes:
        blocks: what the residual blocks are.
        units: how many there are before the last layer.
        dropout: share of them that training leaves out.
    """

    blocks: tuple[_Block, ...] = ()
    units: int = 1024
    dropout: Share = dataclasses.field(default=0.2, kw_only=True)

    pixels: ClassVar[Range] = "0 to 255"

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("Rescaling", net.input, scale=1.0 / 127.5, offset=-1.0)
        x = net.add("Conv2D", x, "conv", filters=16, kernel_size=3, strides=2, padding="same", use_bias=False)
        x = net.add("Activation", _slowly_normalized(net, x, "conv_bn"), activation="hard_swish")
        for number, block in enumerate(self.blocks):
            x = _weighing_block(net, x, number, block)
        filters = _round_channels(x.channels * 6)
        x = net.add("Conv2D", x, "conv_1", filters=filters, kernel_size=1, padding="same", use_bias=False)
        return net.add("Activation", _slowly_normalized(net, x, "conv_1_bn"), activation="hard_swish")

    def head(self, net: Writer, x: Tensor) -> Tensor:
        """Write the layers from the last ones with positions to the output; the output."""
        x = net.add("GlobalAveragePooling2D", x, keepdims=True)
        x = net.add("Conv2D", x, "conv_2", filters=self.units, kernel_size=1, padding="same")
        x = net.add("Activation", x, activation="hard_swish")
        x = net.add("Dropout", x, rate=self.dropout)
        x = net.add("Conv2D", x, "logits", filters=self.outputs, kernel_size=1, padding="same")
        return net.add("Activation", net.add("Flatten", x), "predictions", activation=self.ending)


def _weighing_block(net: Writer, x: Tensor, number: int, block: _Block) -> Tensor:
    name, y = f"expanded_conv_{number}_" if number else "expanded_conv_", x
    wide = _round_channels(x.channels * block.expansion)
    if number:
        y = net.add("Conv2D", y, f"{name}expand", filters=wide, kernel_size=1, padding="same", use_bias=False)
        y = _bent(net, _slowly_normalized(net, y, f"{name}expand_bn"), hard=block.hard)
    y = _depthwise(net, y, f"{name}depthwise", kernel=block.kernel, stride=block.stride, padded=f"{name}depthwise_pad")
    y = _bent(net, _slowly_normalized(net, y, f"{name}depthwise_bn"), hard=block.hard)
    if block.weighs:
        y = _weighed(net, y, f"{name}squeeze_excite_")
    y = net.add("Conv2D", y, f"{name}project", filters=block.filters, kernel_size=1, padding="same", use_bias=False)
    y = _slowly_normalized(net, y, f"{name}project_bn")
    return net.add("Add", [x, y], f"{name}add") if block.stride == 1 and x.channels == block.filters else y


def _bent(net: Writer, x: Tensor, *, hard: bool) -> Tensor:
    return net.add("Activation", x, activation="hard_swish") if hard else net.add("ReLU", x)


def _weighed(net: Writer, x: Tensor, name: str) -> Tensor:
    """The channels, each times a number that depends on the means of all. Source: arXiv 1709.01507."""
    y = net.add("GlobalAveragePooling2D", x, f"{name}avg_pool", keepdims=True)
    narrow = _round_channels(x.channels * 0.25)
    y = net.add("Conv2D", y, f"{name}conv", filters=narrow, kernel_size=1, padding="same")
    y = net.add("ReLU", y, f"{name}relu")
    y = net.add("Conv2D", y, f"{name}conv_1", filters=x.channels, kernel_size=1, padding="same")
    # Keras's own operations min(max(y + 3, 0), 6) / 6, in layers that all of its versions have.
    y = net.add("ReLU", net.add("Rescaling", y, scale=1.0, offset=3.0), max_value=6.0)
    return net.add("Multiply", [x, net.add("Rescaling", y, scale=1.0 / 6.0, offset=0.0)], f"{name}mul")


def _round_channels(number: float) -> int:
    """The nearest multiple of 8, which is at least nine tenths of the number."""
    rounded = max(8, int(number + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * number else rounded


NETWORKS = {
    "mobilenet": functools.partial(MobileNet, "mobilenet"),
    "mobilenetv2": functools.partial(MobileNetV2, "mobilenetv2"),
    "mobilenetv3small": functools.partial(MobileNetV3, "mobilenetv3small", _SMALL, 1024),
    "mobilenetv3large": functools.partial(MobileNetV3, "mobilenetv3large", _LARGE, 1280),
}
