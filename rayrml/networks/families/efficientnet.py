"""EfficientNet, versions 1 and 2, as in `keras.applications`."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar, NamedTuple

from rayrml.networks.families.family import Classifier, Range, Share
from rayrml.networks.families.writing import Tensor, Writer

_DEVIATIONS = (0.229, 0.224, 0.225)  # of ImageNet's channels in [0, 1]
_KERNELS = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal", "seed": None},
}
_PREDICTIONS = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0 / 3.0, "mode": "fan_out", "distribution": "uniform", "seed": None},
}
_MOST_DROPPED = 0.2  # share of the samples that training lets pass the last block unchanged


class _Stage(NamedTuple):
    """Blocks of a kind, of which the first has the stride; they have `expansion` times as many channels inside."""

    filters: int
    num_blocks: int
    expansion: int
    kernel: int
    stride: int
    fused: bool = False
    weighs: bool = True


_STAGES = (
    _Stage(16, 1, 1, 3, 1),
    _Stage(24, 2, 6, 3, 2),
    _Stage(40, 2, 6, 5, 2),
    _Stage(80, 3, 6, 3, 2),
    _Stage(112, 3, 6, 5, 1),
    _Stage(192, 4, 6, 5, 2),
    _Stage(320, 1, 6, 3, 1),
)
_STAGES_S = (
    _Stage(24, 2, 1, 3, 1, fused=True, weighs=False),
    _Stage(48, 4, 4, 3, 2, fused=True, weighs=False),
    _Stage(64, 4, 4, 3, 2, fused=True, weighs=False),
    _Stage(128, 6, 4, 3, 2),
    _Stage(160, 9, 6, 3, 1),
    _Stage(256, 15, 6, 3, 2),
)


class _Block(NamedTuple):
    """One residual block: how many channels it gives, and the share of the samples that training lets pass it."""

    stage: _Stage
    filters: int
    stride: int
    dropped: float


@dataclasses.dataclass(frozen=True)
class EfficientNet(Classifier):
    """Narrow residual blocks that weigh channels, scaled in width, depth and size. Source: arXiv 1905.11946.

    Attributes:
        width: how many times as many channels it has as B0.
        depth: how many times as many blocks.
        size: pixels of a side of the images that it was made for.
        dropout: share of the means that training leaves out before the last layer.
    """

    width: float = 1.0
    depth: float = 1.0
    size: int = 224
    dropout: Share | None = dataclasses.field(default=None, kw_only=True)

    pixels: ClassVar[Range] = "0 to 255"

    @property
    def default_size(self) -> int:
        """Pixels of a side if no input is given."""
        return self.size

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("Rescaling", net.input, scale=1.0 / 255.0, offset=0.0)
        x = net.add("Normalization", x, axis=3)
        if self.weights is not None and x.channels == len(_DEVIATIONS):
            # The variances in the files of Keras are deviations.
            x = net.add("Rescaling", x, scale=[1.0 / math.sqrt(deviation) for deviation in _DEVIATIONS], offset=0.0)
        x = net.pad_for_stride(x, 3, "stem_conv_pad")
        x = _convolved(net, x, "stem_conv", filters=self._round(32), kernel_size=3, strides=2, padding="valid")
        x = _activated(net, x, "stem_")
        counts = [math.ceil(self.depth * stage.num_blocks) for stage in _STAGES]
        filters = [self._round(stage.filters) for stage in _STAGES]
        for name, block in _list_blocks(_STAGES, counts, filters, _MOST_DROPPED):
            x = _block(net, x, name, block, padded=True)
        x = _convolved(net, x, "top_conv", filters=self._round(1280), kernel_size=1)
        return _activated(net, x, "top_")

    def head(self, net: Writer, x: Tensor) -> Tensor:
        """Write the layers from the last ones with positions to the output; the output."""
        return _write_head(self, net, x, self.dropout)

    def _round(self, filters: int) -> int:
        """The number of channels of B0 times the width: a multiple of 8 that is at least nine tenths of it."""
        wide = filters * self.width
        rounded = max(8, int(wide + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * wide else rounded

    @property
    def default_dropout(self) -> float:
        """The share that is left out unless somebody says so."""
        return _DROPOUTS[self.name]


@dataclasses.dataclass(frozen=True)
class EfficientNetV2(Classifier):
    """EfficientNet whose first blocks have no depthwise convolutions. Source: arXiv 2104.00298.

    Attributes:
        dropout: share of the means that training leaves out before the last layer.
    """

    dropout: Share | None = dataclasses.field(default=None, kw_only=True)

    pixels: ClassVar[Range] = "0 to 255"
    default_dropout: ClassVar[float] = 0.2

    @property
    def default_size(self) -> int:
        """Pixels of a side if no input is given."""
        return 384

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        x = net.add("Rescaling", net.input, scale=1.0 / 128.0, offset=-1)
        x = _convolved(net, x, "stem_conv", filters=24, kernel_size=3, strides=2)
        x = _activated(net, x, "stem_", momentum=0.9)
        counts, filters = [stage.num_blocks for stage in _STAGES_S], [stage.filters for stage in _STAGES_S]
        for name, block in _list_blocks(_STAGES_S, counts, filters, _MOST_DROPPED):
            if block.stage.fused:
                x = _fused_block(net, x, name, block)
            else:
                x = _block(net, x, name, block, padded=False, momentum=0.9)
        x = _convolved(net, x, "top_conv", filters=1280, kernel_size=1)
        return _activated(net, x, "top_", momentum=0.9)

    def head(self, net: Writer, x: Tensor) -> Tensor:
        """Write the layers from the last ones with positions to the output; the output."""
        return _write_head(self, net, x, self.dropout)


def _write_head(family: EfficientNet | EfficientNetV2, net: Writer, x: Tensor, dropout: float | None) -> Tensor:
    x = net.add("GlobalAveragePooling2D", x, "avg_pool")
    x = net.add("Dropout", x, "top_dropout", rate=family.default_dropout if dropout is None else dropout)
    more = {"units": family.outputs, "activation": family.ending, "kernel_initializer": _PREDICTIONS}
    return net.add("Dense", x, "predictions", **more)


def _list_blocks(
    stages: tuple[_Stage, ...], counts: list[int], filters: list[int], most_dropped: float
) -> list[tuple[str, _Block]]:
    """The name and the kind of each block: the later ones are left out more often."""
    found: list[tuple[str, _Block]] = []
    for number, (stage, count, width) in enumerate(zip(stages, counts, filters, strict=True), 1):
        for i in range(count):
            dropped = most_dropped * len(found) / float(sum(counts))
            found.append(
                (f"block{number}{chr(ord('a') + i)}_", _Block(stage, width, 1 if i else stage.stride, dropped))
            )
    return found


def _block(net: Writer, x: Tensor, name: str, block: _Block, *, padded: bool, **momentum: float) -> Tensor:
    stage, y = block.stage, x
    if stage.expansion != 1:
        y = _convolved(net, y, f"{name}expand_conv", filters=x.channels * stage.expansion, kernel_size=1)
        y = _activated(net, y, f"{name}expand_", **momentum)
    padding, depthwise = "same", f"{name}dwconv" if padded else f"{name}dwconv2"
    if padded and block.stride == 2:
        y, padding = net.pad_for_stride(y, stage.kernel, f"{name}dwconv_pad"), "valid"
    more: dict[str, Any] = {"strides": block.stride, "padding": padding, "use_bias": False}
    y = net.add("DepthwiseConv2D", y, depthwise, kernel_size=stage.kernel, depthwise_initializer=_KERNELS, **more)
    y = _activated(net, y, name, **momentum)
    if stage.weighs:
        y = _weighed(net, y, f"{name}se_", max(1, int(x.channels * 0.25)))
    y = _convolved(net, y, f"{name}project_conv", filters=block.filters, kernel_size=1)
    y = net.add("BatchNormalization", y, f"{name}project_bn", **momentum)
    return _with_shortcut(net, (x, y), name, block)


def _fused_block(net: Writer, x: Tensor, name: str, block: _Block) -> Tensor:
    stage, y = block.stage, x
    last: dict[str, Any] = {"kernel_size": stage.kernel, "strides": block.stride}
    if stage.expansion != 1:
        y = _convolved(net, y, f"{name}expand_conv", filters=x.channels * stage.expansion, **last)
        y = _activated(net, y, f"{name}expand_", momentum=0.9)
        last = {"kernel_size": 1}
    y = _convolved(net, y, f"{name}project_conv", filters=block.filters, **last)
    y = net.add("BatchNormalization", y, f"{name}project_bn", momentum=0.9)
    if stage.expansion == 1:
        y = net.add("Activation", y, f"{name}project_activation", activation="swish")
    return _with_shortcut(net, (x, y), name, block)


def _with_shortcut(net: Writer, ends: tuple[Tensor, Tensor], name: str, block: _Block) -> Tensor:
    """A block's output, given its input and the end of its layers."""
    x, y = ends
    if block.stride != 1 or x.channels != block.filters:
        return y
    if block.dropped > 0:
        y = net.add("Dropout", y, f"{name}drop", rate=block.dropped, noise_shape=[None, 1, 1, 1])
    return net.add("Add", [y, x], f"{name}add")


def _weighed(net: Writer, x: Tensor, name: str, narrow: int) -> Tensor:
    """The channels, each times a number that depends on the means of all. Source: arXiv 1709.01507."""
    y = net.add("GlobalAveragePooling2D", x, f"{name}squeeze")
    y = net.add("Reshape", y, f"{name}reshape", target_shape=[1, 1, x.channels])
    more: dict[str, Any] = {"kernel_size": 1, "padding": "same", "kernel_initializer": _KERNELS}
    y = net.add("Conv2D", y, f"{name}reduce", filters=narrow, activation="swish", **more)
    y = net.add("Conv2D", y, f"{name}expand", filters=x.channels, activation="sigmoid", **more)
    return net.add("Multiply", [x, y], f"{name}excite")


def _convolved(net: Writer, x: Tensor, name: str, **config: Any) -> Tensor:
    more = {"padding": "same", "use_bias": False, "kernel_initializer": _KERNELS}
    return net.add("Conv2D", x, name, **(more | config))


def _activated(net: Writer, x: Tensor, prefix: str, **momentum: float) -> Tensor:
    x = net.add("BatchNormalization", x, f"{prefix}bn", **momentum)
    return net.add("Activation", x, f"{prefix}activation", activation="swish")


_VARIANTS = (  # width, depth, size and dropout
    (1.0, 1.0, 224, 0.2),
    (1.0, 1.1, 240, 0.2),
    (1.1, 1.2, 260, 0.3),
    (1.2, 1.4, 300, 0.3),
    (1.4, 1.8, 380, 0.4),
    (1.6, 2.2, 456, 0.4),
    (1.8, 2.6, 528, 0.5),
    (2.0, 3.1, 600, 0.5),
)
_DROPOUTS = {f"efficientnetb{number}": variant[-1] for number, variant in enumerate(_VARIANTS)}

NETWORKS = {
    **{
        f"efficientnetb{number}": functools.partial(EfficientNet, f"efficientnetb{number}", *variant[:3])
        for number, variant in enumerate(_VARIANTS)
    },
    "efficientnetv2s": functools.partial(EfficientNetV2, "efficientnetv2s"),
}
