"""What all networks by name have in common: the keys that any of them takes, and how one becomes Keras JSON."""

# The annotations are the schema of all rows, also of those in other modules: they are objects here, not text.

import dataclasses
from typing import Annotated, ClassVar, Literal

import pydantic

from rayrml.networks.families.writing import Json, Tensor, Writer

Positive = Annotated[int, pydantic.Field(ge=1)]
Share = Annotated[float, pydantic.Field(ge=0, lt=1)]
InputShape = Annotated[tuple[Positive | None, ...], pydantic.Field(min_length=2)]
Ending = Literal["softmax", "log_softmax", "sigmoid", "linear", "tanh", "relu"]
Range = Literal["any", "0 to 255", "-1 to 1", "normalized", "BGR"]

_CHANNELS = 3
_AXES = {2: "images, [height, width, channels]", 3: "volumes, [depth, height, width, channels]"}


@dataclasses.dataclass(frozen=True)
class Family:
    """A network by name.

    Attributes:
        name: the row's name, which is the model's.
        input: [*spatial, C], where null is any size; None as for ImageNet.
        classes: how many numbers the network gives: for each sample or, if it segments, for each pixel.
        activation: what follows the last weights.
        weights: a file with weights of Keras, which are loaded by the names of the layers.
        pixels: which ones the weights that Keras offers were trained with.
        default_classes: how many classes there are unless somebody says so.
        segments: whether there is an output for each pixel.
        ranks: how many spatial axes the input may have; the first unless somebody says so.
    """

    name: str
    input: InputShape | None = dataclasses.field(default=None, kw_only=True)
    classes: Positive | None = dataclasses.field(default=None, kw_only=True)
    activation: Ending | None = dataclasses.field(default=None, kw_only=True)
    weights: str | None = dataclasses.field(default=None, kw_only=True)

    pixels: ClassVar[Range] = "any"
    default_classes: ClassVar[int] = 1000
    segments: ClassVar[bool] = False
    ranks: ClassVar[tuple[int, ...]] = (2,)

    @property
    def rank(self) -> int:
        """How many spatial axes the input has."""
        return self.ranks[0] if self.input is None else len(self.input) - 1

    @property
    def output_rank(self) -> int:
        """How many spatial axes the output has."""
        return self.rank if self.segments else 0

    @property
    def input_shapes(self) -> tuple[tuple[int | None, ...]]:
        """The shape (C, *spatial) of the input as far as the section gives it."""
        *spatial, channels = self.input or (None,) * (self.rank + 1)
        return ((channels, *spatial),)

    @property
    def output_shapes(self) -> tuple[tuple[int | None, ...]]:
        """The shape (C, *spatial) of the output as far as the section gives it."""
        return ((self.classes, *(None,) * self.output_rank),)

    @property
    def multiple(self) -> int:
        """What the spatial sizes of the input must be multiples of."""
        return 1

    @property
    def expects(self) -> Range:
        """Which pixels the weights that Keras offers were trained with."""
        return self.pixels

    @property
    def default_size(self) -> int:
        """Pixels of a side if no input is given."""
        return 224

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(*spatial, C) of the input."""
        return self.input or (*(self.default_size,) * self.rank, _CHANNELS)

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for a sample or a pixel."""
        return self.classes or self.default_classes

    @property
    def ending(self) -> Ending:
        """The last activation."""
        return self.activation or ("softmax" if self.outputs > 1 else "sigmoid")

    def find_misfit(self, shape: tuple[int | None, ...]) -> str | None:
        """What keeps the network from taking inputs of `shape`, (*spatial, C); None if nothing does."""
        if len(shape) - 1 not in self.ranks:
            taken = " or ".join(_AXES[rank] for rank in self.ranks)
            return f"{self.name} takes {taken}, got {_listed(shape)}"
        if shape[-1] is None:
            return "the number of channels must be known"
        if any(size is not None and size % self.multiple for size in shape[:-1]):
            return f"{self.name} takes sizes that are multiples of {self.multiple}, got {_listed(shape)}"
        return None

    def find_conflict(self) -> tuple[str, str] | None:
        """A key that does not go together with others, and why; None if all do."""
        return None

    @property
    def section(self) -> Json:
        """The keys and values that give this network, as in a configuration."""
        keys = [field.name for field in dataclasses.fields(self) if field.kw_only]
        return {"network": self.name, **{key: value for key in keys if (value := getattr(self, key)) is not None}}

    def layers(self) -> Json:
        """The Keras JSON of the network."""
        net = Writer(self.name, self.shape)
        return net.document(self.build(net))

    def build(self, net: Writer) -> Tensor:
        """Write the layers; the output."""
        raise NotImplementedError


class Classifier(Family):
    """A network that gives numbers for each image, and whose layers before these can be the encoder of others."""

    encodes: ClassVar[bool] = True

    def build(self, net: Writer) -> Tensor:
        """Write the layers; the output."""
        return self.head(net, self.encode(net))

    def encode(self, net: Writer) -> Tensor:
        """Write the layers up to the last ones with positions; their output."""
        raise NotImplementedError

    def head(self, net: Writer, x: Tensor) -> Tensor:
        """Write the layers from the last ones with positions to the output; the output."""
        return self.predictions(net, net.add("GlobalAveragePooling2D", x, "avg_pool"))

    def predictions(self, net: Writer, x: Tensor) -> Tensor:
        """Write the last layer; the output."""
        return net.add("Dense", x, "predictions", units=self.outputs, activation=self.ending)


def _listed(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('null' if size is None else str(size) for size in shape)}]"
