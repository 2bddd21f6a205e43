"""Networks with an output for each pixel: U-Nets of their own, and decoders behind the classifiers."""

# The annotations are the schema of the rows: they are objects here, not text.

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, ClassVar

import pydantic

from rayrml.config.names import suggest
from rayrml.networks.families import densenet, efficientnet, mobilenet, resnet, vgg
from rayrml.networks.families.decoding import Blocks, Normalization
from rayrml.networks.families.family import Classifier, Family, Positive, Range, Share
from rayrml.networks.families.writing import Tensor, Writer

ENCODERS: dict[str, Callable[..., Classifier]] = {
    name: row for chapter in (resnet, vgg, densenet, mobilenet, efficientnet) for name, row in chapter.NETWORKS.items()
}

_STRIDES = (16, 8, 4, 2)  # of what decoders take from an encoder, the coarsest first
_COARSEST = 32
_CENTER = 512  # filters where an encoder ends with a pooling
_LEVELS = (1, 2, 3, 6)  # regions of a side in which PSPNet takes means
_PYRAMID_STRIDE = 8


def _known(name: str) -> str:
    if name.casefold() not in ENCODERS:
        raise ValueError(f"no encoder is named '{name}'. {suggest(name, ENCODERS)}")
    return name.casefold()


Encoder = Annotated[str, pydantic.AfterValidator(_known), pydantic.WithJsonSchema({"enum": list(ENCODERS)})]


@dataclasses.dataclass(frozen=True)
class Segmenter(Family):
    """A network with an output for each pixel.

    Attributes:
        normalization: what follows convolutions: `group` and `none` also suit batches of a few samples.
        dropout: share of the channels that training leaves out.
    """

    normalization: Normalization = dataclasses.field(default="batch", kw_only=True)
    dropout: Share = dataclasses.field(default=0.0, kw_only=True)

    default_classes: ClassVar[int] = 1
    segments: ClassVar[bool] = True

    def blocks(self, net: Writer) -> Blocks:
        """What writes its layers."""
        return Blocks(net, self.rank, self.normalization)

    def end(self, blocks: Blocks, x: Tensor, name: str = "final_conv", kernel: int = 3) -> Tensor:
        """The output."""
        return blocks.end(blocks.drop(x, self.dropout), name, self.outputs, kernel=kernel, activation=self.ending)


@dataclasses.dataclass(frozen=True)
class WithEncoder(Segmenter):
    """A decoder behind the layers of a classifier.

    Attributes:
        encoder: the classifier whose layers come first; weights for it are loaded by their names.
    """

    encoder: Encoder = dataclasses.field(default="resnet34", kw_only=True)

    @property
    def expects(self) -> Range:
        """Which pixels the weights that Keras offers for the encoder were trained with."""
        return _expects(self.encoder)

    @property
    def multiple(self) -> int:
        """What the spatial sizes of the input must be multiples of."""
        return _COARSEST

    def encode(self, net: Writer) -> Tensor:
        """Write the encoder; its output, at a 32nd of the resolution."""
        return _encode(self, self.encoder, net)


@dataclasses.dataclass(frozen=True)
class UNet(Segmenter):
    """A U-Net for images or volumes, or a U-Net's decoder behind an encoder. Source: arXiv 1505.04597 and 1606.06650.

    Attributes:
        encoder: a classifier whose layers come first; null for the layers of the papers.
        depth: how often resolution is halved; 4 without an encoder, whose depth is 5.
        filters: channels of the full resolution: 64, doubled with each halving, or 16 with an encoder.
    """

    encoder: Encoder | None = dataclasses.field(default=None, kw_only=True)
    depth: Annotated[int, pydantic.Field(ge=1, le=8)] | None = dataclasses.field(default=None, kw_only=True)
    filters: Positive | None = dataclasses.field(default=None, kw_only=True)

    ranks: ClassVar[tuple[int, ...]] = (2, 3)

    @property
    def expects(self) -> Range:
        """Which pixels the weights that Keras offers for the encoder were trained with."""
        return self.pixels if self.encoder is None else _expects(self.encoder)

    @property
    def multiple(self) -> int:
        """What the spatial sizes of the input must be multiples of."""
        return _COARSEST if self.encoder is not None else 2 ** (self.depth or 4)

    def find_misfit(self, shape: tuple[int | None, ...]) -> str | None:
        """What keeps the network from taking inputs of `shape`, (*spatial, C); None if nothing does."""
        if self.encoder is not None and len(shape) == 4:
            return f"the encoder {self.encoder} takes images, [height, width, channels]. Without it, unet takes volumes"
        return super().find_misfit(shape)

    def find_conflict(self) -> tuple[str, str] | None:
        """A key that does not go together with others, and why; None if all do."""
        if self.encoder is not None and self.depth is not None:
            return "depth", "has no effect with an encoder, which halves the resolution 5 times"
        return None

    def build(self, net: Writer) -> Tensor:
        """Write the layers; the output."""
        return self._own(net) if self.encoder is None else self._behind(net, self.encoder)

    def _behind(self, net: Writer, encoder: str) -> Tensor:
        """The decoder behind an encoder."""
        blocks, x = self.blocks(net), _encode(self, encoder, net)
        filters = [(self.filters or 16) * 2**level for level in reversed(range(len(_STRIDES) + 1))]
        for stage, (stride, width) in enumerate(zip((*_STRIDES, 1), filters, strict=True)):
            x = blocks.repeat(x, f"decoder_stage{stage}_upsampling")
            if stride > 1:
                x = net.add("Concatenate", [x, net.features[stride]], f"decoder_stage{stage}_concat")
            x = blocks.convolve_twice(x, f"decoder_stage{stage}", width)
        return self.end(blocks, x)

    def _own(self, net: Writer) -> Tensor:
        """The layers of the papers, with as many positions after a convolution as before."""
        blocks, x, skips = self.blocks(net), net.input, []
        depth, filters = self.depth or 4, self.filters or 64
        for level in range(depth):
            skips.append(blocks.convolve_twice(x, f"down_{level + 1}", filters * 2**level))
            x = blocks.pool(skips[-1], f"pool_{level + 1}")
        x = blocks.drop(blocks.convolve_twice(x, "middle", filters * 2**depth), self.dropout)
        for level in reversed(range(depth)):
            width, name = filters * 2**level, f"{level + 1}"
            x = net.add(
                f"Conv{self.rank}DTranspose", x, f"up_{name}", filters=width, kernel_size=2, strides=2, padding="same"
            )
            x = net.add("Concatenate", [skips[level], x], f"join_{name}")
            x = blocks.convolve_twice(x, f"up_{name}", width)
        return blocks.end(x, "final_conv", self.outputs, kernel=1, activation=self.ending)


@dataclasses.dataclass(frozen=True)
class ResUNet(Segmenter):
    """A U-Net of residual blocks for images or volumes. Source: arXiv 1711.10684.

    Attributes:
        depth: how often resolution is halved.
        filters: channels of the full resolution; they are doubled with each halving.
    """

    depth: Annotated[int, pydantic.Field(ge=1, le=8)] = dataclasses.field(default=3, kw_only=True)
    filters: Positive = dataclasses.field(default=64, kw_only=True)

    ranks: ClassVar[tuple[int, ...]] = (2, 3)

    @property
    def multiple(self) -> int:
        """What the spatial sizes of the input must be multiples of."""
        return 2**self.depth

    def build(self, net: Writer) -> Tensor:
        """Write the layers; the output."""
        blocks = self.blocks(net)
        x = blocks.convolve(net.input, "down_0a", self.filters)
        x = blocks.sum(x, "down_0b_conv", self.filters)
        shortcut = blocks.normalize(
            blocks.sum(net.input, "down_0_shortcut_conv", self.filters, kernel=1), "down_0_shortcut"
        )
        skips = [net.add("Add", [x, shortcut], "down_0_add")]
        for level in range(1, self.depth + 1):
            skips.append(_residual(blocks, skips[-1], f"down_{level}", self.filters * 2**level, strides=2))
        x = blocks.drop(skips.pop(), self.dropout)
        for level in reversed(range(self.depth)):
            x = blocks.repeat(x, f"up_{level}")
            x = net.add("Concatenate", [x, skips[level]], f"join_{level}")
            x = _residual(blocks, x, f"up_{level}", self.filters * 2**level, strides=1)
        return blocks.end(x, "final_conv", self.outputs, kernel=1, activation=self.ending)


@dataclasses.dataclass(frozen=True)
class FPN(WithEncoder):
    """A feature pyramid behind an encoder: what it sees at all resolutions is added up. Source: arXiv 1612.03144.

    Attributes:
        filters: channels of the pyramid; half as many tell the classes apart.
    """

    filters: Annotated[int, pydantic.Field(ge=2)] = dataclasses.field(default=256, kw_only=True)

    def build(self, net: Writer) -> Tensor:
        """Write the layers; the output."""
        blocks, x = self.blocks(net), self.encode(net)
        levels: list[Tensor] = []
        for number, stride in zip((5, 4, 3, 2), _STRIDES, strict=True):
            name = f"fpn_stage_p{number}"
            if x.channels != self.filters:
                x = net.add("Conv2D", x, f"{name}_pre_conv", filters=self.filters, kernel_size=1)
            skip = net.add("Conv2D", net.features[stride], f"{name}_conv", filters=self.filters, kernel_size=1)
            x = net.add("Add", [blocks.repeat(x, f"{name}_up"), skip], f"{name}_add")
            level = blocks.convolve_twice(x, f"segm_stage{number}", self.filters // 2)
            factor = stride // _STRIDES[-1]
            levels.append(blocks.repeat(level, f"upsampling_stage{number}", factor) if factor > 1 else level)
        x = blocks.drop(net.add("Concatenate", levels, "aggregation_concat"), self.dropout)
        x = blocks.convolve(x, "final_stage", self.filters // 2)
        x = blocks.repeat(x, "final_upsampling", linear=True)
        return blocks.end(x, "head_conv", self.outputs, kernel=3, activation=self.ending)


@dataclasses.dataclass(frozen=True)
class Linknet(WithEncoder):
    """A narrow decoder behind an encoder, whose resolutions are added. Source: arXiv 1707.03718.

    Attributes:
        filters: channels of the full resolution.
    """

    filters: Positive = dataclasses.field(default=16, kw_only=True)

    def build(self, net: Writer) -> Tensor:
        """Write the layers; the output."""
        blocks, x = self.blocks(net), self.encode(net)
        for stage, stride in enumerate((*_STRIDES, 1)):
            name, skip = f"decoder_stage{stage}", net.features[stride] if stride > 1 else None
            narrow = max(x.channels // 4, 1)
            x = blocks.convolve(x, f"{name}a", narrow, kernel=1)
            x = blocks.convolve(blocks.repeat(x, f"{name}b_upsampling"), f"{name}b", narrow)
            x = blocks.convolve(x, f"{name}c", self.filters if skip is None else skip.channels, kernel=1)
            x = x if skip is None else net.add("Add", [x, skip], f"{name}_add")
        return self.end(blocks, x)


@dataclasses.dataclass(frozen=True)
class PSPNet(WithEncoder):
    """The means of regions of several sizes beside each position of an encoder. Source: arXiv 1612.01105.

    Attributes:
        filters: channels of the means, and of all together.
    """

    filters: Positive = dataclasses.field(default=512, kw_only=True)

    @property
    def default_size(self) -> int:
        """Pixels of a side if no input is given."""
        return 8 * self.multiple

    @property
    def multiple(self) -> int:
        """What the spatial sizes of the input must be multiples of."""
        return _PYRAMID_STRIDE * max(_LEVELS)

    def find_misfit(self, shape: tuple[int | None, ...]) -> str | None:
        """What keeps the network from taking inputs of `shape`, (*spatial, C); None if nothing does."""
        if None in shape[:-1]:
            return f"{self.name} takes means of regions that depend on the size of images. Expected images of one size"
        return super().find_misfit(shape)

    def build(self, net: Writer) -> Tensor:
        """Write the layers; the output."""
        blocks = self.blocks(net)
        self.encode(net)
        x = net.features[_PYRAMID_STRIDE]
        sizes = [(size or 1) // _PYRAMID_STRIDE for size in net.size]
        joined = [x]
        for level in _LEVELS:
            window = [size // level for size in sizes]
            y = net.add("AveragePooling2D", x, f"psp_level{level}_pooling", pool_size=window, strides=window)
            y = blocks.convolve(y, f"psp_level{level}", self.filters, kernel=1)
            name = f"psp_level{level}_upsampling"
            joined.append(net.add("UpSampling2D", y, name, size=window, interpolation="bilinear"))
        x = blocks.convolve(net.add("Concatenate", joined, "psp_concat"), "aggregation", self.filters, kernel=1)
        x = blocks.end(blocks.drop(x, self.dropout), "final_conv", self.outputs, kernel=3, activation="linear")
        x = blocks.repeat(x, "final_upsampling", _PYRAMID_STRIDE, linear=True)
        return net.add("Activation", x, "predictions", activation=self.ending)


def _expects(encoder: str) -> Range:
    return ENCODERS[encoder]().expects


def _encode(family: Segmenter, encoder: str, net: Writer) -> Tensor:
    """Write the layers of an encoder; its output, at a 32nd of the resolution."""
    x = ENCODERS[encoder](input=family.input, weights=family.weights).encode(net)
    if net.features.get(_COARSEST) == x:
        return x
    blocks = family.blocks(net)
    return blocks.convolve(blocks.convolve(x, "center_block1", _CENTER), "center_block2", _CENTER)


def _residual(blocks: Blocks, x: Tensor, name: str, filters: int, *, strides: int) -> Tensor:
    """Two convolutions, each after its normalization, and what they are added to."""
    y = blocks.activate(blocks.normalize(x, f"{name}a"), f"{name}a")
    y = blocks.sum(y, f"{name}a_conv", filters, strides=strides)
    y = blocks.activate(blocks.normalize(y, f"{name}b"), f"{name}b")
    y = blocks.sum(y, f"{name}b_conv", filters)
    shortcut = blocks.sum(x, f"{name}_shortcut_conv", filters, kernel=1, strides=strides)
    return blocks.net.add("Add", [y, blocks.normalize(shortcut, f"{name}_shortcut")], f"{name}_add")


NETWORKS = {
    "unet": functools.partial(UNet, "unet"),
    "resunet": functools.partial(ResUNet, "resunet"),
    "fpn": functools.partial(FPN, "fpn"),
    "linknet": functools.partial(Linknet, "linknet"),
    "pspnet": functools.partial(PSPNet, "pspnet"),
}
