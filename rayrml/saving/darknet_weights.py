"""Reads a network's weights from darknet's files, such as `yolov3.weights`, which hold neither names nor sizes.

Source: darknet, `parser.c`, `load_weights_upto` and `load_convolutional_weights`.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rayrml import storage
from rayrml.data.discovery import quote_some
from rayrml.errors import ConfigError, DataError, Problem, describe
from rayrml.networks.graph import Graph
from rayrml.networks.layers.convolution import Convolution, DepthwiseConvolution
from rayrml.networks.layers.layer import Layer
from rayrml.networks.layers.normalization import BatchNormalization
from rayrml.networks.network import Network
from rayrml.saving.checkpoints import LoadReport
from rayrml.saving.foreign_files import describe_other

_ENDING = re.compile(r"\.(weights|backup|conv\.\d+)$")
_OF_NORM = ("bias", "weight", "running_mean", "running_var")
_NEUTRAL = {"bias": 0.0, "weight": 1.0}  # of normalization, which computes the same without them
_LARGEST_VERSION = 1_000_000  # in a header; what begins otherwise is another file
_BYTES = 4
_BOX_NUMBERS = 5  # that an anchor has before its classes
_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution with the batch normalization that takes its output.

    Attributes:
        name: of the layer.
        layer: the convolution.
        norm_name: of the normalization, "" without one.
        norm: the normalization.
    """

    name: str
    layer: Convolution | DepthwiseConvolution
    norm_name: str = ""
    norm: BatchNormalization | None = None

    @property
    def filters(self) -> int:
        return self.layer.filters

    @property
    def numbers_of_filter(self) -> int:
        """How many numbers the file has for each output channel."""
        return self.layer.weight[0].numel() + (1 if self.norm is None else len(_OF_NORM))

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, self.norm_name) if self.norm_name else (self.name,)

    def parts(self) -> list[tuple[str, Layer, str, tuple[int, ...]]]:
        """Layer name, layer, attribute and shape of what the file has, in its order."""
        kernel = (self.name, self.layer, "weight", tuple(self.layer.weight.shape))
        if self.norm is None:
            return [(self.name, self.layer, "bias", (self.filters,)), kernel]
        return [*((self.norm_name, self.norm, attribute, (self.filters,)) for attribute in _OF_NORM), kernel]


def is_darknet_name(path: str) -> bool:
    """Whether a path ends as darknet's files do: `.weights`, `.backup`, or `.conv.74` for the first layers alone."""
    return _ENDING.search(storage.split(path)[1].lower()) is not None


def load_darknet_weights(
    network: Network, path: str | Path, where: str = "", *, num_classes: int | None = None
) -> LoadReport:
    """Load the weights of a darknet file into the network's convolutions and their normalization.

    The order is that of the numbers at the ends of the convolutions' names, else that of the network's file. A file may
    end after any convolution. If it is for other classes, the convolutions that give the outputs keep their weights.

    Args:
        network: the network that gets them.
        path: the file.
        where: the JSON path that names it.
        num_classes: of the objects that the network finds, None if it finds none or they are unknown.

    Raises:
        ConfigError: the file has another number of weights; names both.
        DataError: the file cannot be read, or is not one of darknet.
    """
    place = where or str(path)
    convolutions, by_number = _sort(_find_convolutions(network))
    if not convolutions:
        raise ConfigError(Problem(place, f"'{path}' has weights of convolutions, but the network has none"))
    values, rest = _read(path, place)
    filters = None if rest else _fit(convolutions, len(values), num_classes)
    if filters is None:
        raise ConfigError(Problem(place, _describe_misfit(path, convolutions, len(values), rest=rest)))
    loaded, differing, unused = _load(convolutions, filters, values, (path, place))
    names = [layer.name for layer in network.graph.layers if layer.name in network.layers()]
    weighted = [name for name in names if network.layers()[name].weights]
    return LoadReport(
        loaded=tuple(name for name in weighted if name in loaded),
        initial=tuple(name for name in weighted if name not in loaded and name not in differing),
        skipped_weights=tuple(unused),
        differing=tuple(name for name in weighted if name in differing),
        warnings=(*_warn_of_order(convolutions, by_number), *_warn_of_padding(network)),
    )


def _find_convolutions(network: Network) -> list[_Convolution]:
    """The convolutions of images with the normalization of each, in the order of the network's file."""
    modules = network.layers()
    norms = _norms(network.graph, modules)
    found: list[_Convolution] = []
    for spec in network.graph.layers:
        layer = modules.get(spec.name)
        if isinstance(layer, Convolution | DepthwiseConvolution) and layer.rank == 2:
            norm_name, norm = norms.get(spec.name, ("", None))
            found.append(_Convolution(spec.name, layer, norm_name, norm))
    return found


def _norms(graph: Graph, modules: dict[str, Layer]) -> dict[str, tuple[str, BatchNormalization]]:
    """For each layer, the batch normalization that takes its output."""
    norms: dict[str, tuple[str, BatchNormalization]] = {}
    for node in graph.nodes:
        name = graph.layers[node.layer].name
        layer = modules.get(name)
        if isinstance(layer, BatchNormalization):
            norms.setdefault(graph.layers[graph.nodes[node.inputs[0]].layer].name, (name, layer))
    return norms


def _sort(convolutions: Sequence[_Convolution]) -> tuple[list[_Convolution], bool]:
    """The convolutions in darknet's order, and whether this is that of the numbers in their names."""
    numbers = [_number(each.name, convolutions) for each in convolutions]
    known = [number for number in numbers if number is not None]
    if len(set(known)) < len(convolutions):
        return list(convolutions), False
    return [each for _, each in sorted(zip(known, convolutions, strict=True), key=lambda pair: pair[0])], True


def _number(name: str, convolutions: Sequence[_Convolution]) -> int | None:
    """The number at the end of a name; 0 for Keras's first one: `conv2d` if all others are `conv2d_1` and so on."""
    found = re.search(r"\d+$", name)
    if found:
        return int(found[0])
    numbered = re.compile(rf"{re.escape(name)}_\d+")
    return 0 if all(numbered.fullmatch(each.name) for each in convolutions if each.name != name) else None


def _read(path: str | Path, place: str) -> tuple[np.ndarray, int]:
    """All numbers after the header, (n,) float32 that stay in the file until used, and how many bytes follow them."""
    try:
        local = Path(storage.local_copy(path))
        size = local.stat().st_size
        other = describe_other(local)
        header = np.fromfile(local, "<i4", 3)
        if other or len(header) < 3 or not all(0 <= version < _LARGEST_VERSION for version in header[:2]):
            reason = f"{other or 'It begins like no known file'}. Expected darknet's header, then float32"
            raise DataError(Problem(place, f"'{path}' is not a file of darknet's weights. {reason}"))
        major, minor = map(int, header[:2])
        start = 20 if major * 10 + minor >= 2 and major < 1000 and minor < 1000 else 16
        count, rest = divmod(max(size - start, 0), _BYTES)
        return np.memmap(local, "<f4", "r", start, (count,)) if count else np.zeros(0, np.float32), rest
    except FileNotFoundError:
        raise DataError(Problem(place, f"no such file: '{path}'")) from None
    except OSError as error:
        raise DataError(Problem(place, f"cannot read '{path}'. {describe(error)}")) from None


def _fit(convolutions: Sequence[_Convolution], count: int, num_classes: int | None) -> list[int] | None:
    """The output channels in the file of each convolution that is in it; None if `count` numbers do not fit.

    Output layers have as many for each anchor as a box and its classes have, in the file and in the network.
    """
    own = [each.filters for each in convolutions]
    sizes = [each.filters * each.numbers_of_filter for each in convolutions]
    ends = list(itertools.accumulate(sizes))
    if count in ends:
        return own[: ends.index(count) + 1]
    last = [each.layer.is_last for each in convolutions]
    others = sum(size for size, is_last in zip(sizes, last, strict=True) if not is_last)
    per_filter = sum(each.numbers_of_filter for each in convolutions if each.layer.is_last)
    channels, rest = divmod(count - others, per_filter) if per_filter else (0, 0)
    given = next((filters for filters, is_last in zip(own, last, strict=True) if is_last), 1)
    anchors = 1 if num_classes is None else max(given // (_BOX_NUMBERS + num_classes), 1)
    if rest or channels % anchors or channels // anchors <= _BOX_NUMBERS:
        return None
    return [channels if is_last else filters for filters, is_last in zip(own, last, strict=True)]


def _describe_misfit(path: str | Path, convolutions: Sequence[_Convolution], count: int, *, rest: int) -> str:
    """What is wrong with a file of so many numbers, and so many bytes of another one."""
    ends = list(itertools.accumulate(each.filters * each.numbers_of_filter for each in convolutions))
    held = f"{count:,} numbers" + (f" and {rest} of the {_BYTES} bytes of another" if rest else "")
    own = f"{len(convolutions)} convolution{'s' if len(convolutions) > 1 else ''}"
    text = f"'{path}' has {held}, but the network has {ends[-1]:,} in {own}"
    if count >= ends[-1]:
        more = f", {count - ends[-1]:,} fewer" if count > ends[-1] else ""
        return f"{text}{more}. Expected weights of this network, or of it for other classes"
    within = next(i for i, end in enumerate(ends) if end > count)
    place = f"it ends within '{convolutions[within].name}', which is number {within + 1}"
    return f"{text}: {place}. Expected a complete file of this network, or one that ends after a convolution"


def _load(
    convolutions: Sequence[_Convolution], filters: Sequence[int], values: np.ndarray, source: tuple[object, str]
) -> tuple[set[str], set[str], list[str]]:
    """Copy the numbers into the layers, after a look at all of them.

    Returns:
        The names of the layers that got theirs, of those that have another number of channels, and of the weights in
        the file that their layer lacks.

    Raises:
        DataError: numbers that no network has, because those of another network were cut in the wrong places.
    """
    loaded: set[str] = set()
    differing: set[str] = set()
    unused: list[str] = []
    copies: list[tuple[torch.Tensor, np.ndarray]] = []
    at = 0
    for each, channels in zip(convolutions, filters, strict=False):
        if channels != each.filters:
            differing.update(each.names)
            at += channels * each.numbers_of_filter
            continue
        loaded.update(each.names)
        for name, layer, attribute, shape in each.parts():
            part = values[at : at + int(np.prod(shape))].reshape(shape)
            at += part.size
            _check(part, (name, attribute), source)
            own = getattr(layer, attribute)
            if own is not None:
                copies.append((own, part))
            elif (part != _NEUTRAL[attribute] if layer is each.norm else part != 0).any():
                unused.append(f"{name}.{attribute}")
    with torch.no_grad():
        for own, part in copies:
            own.copy_(torch.from_numpy(part.astype(np.float32)))
        for each in convolutions:
            if each.norm is not None and each.name in loaded and each.layer.bias is not None:
                each.layer.bias.zero_()  # darknet has none before a normalization
    return loaded, differing, unused


def _check(part: np.ndarray, weight: tuple[str, str], source: tuple[object, str]) -> None:
    """Raise DataError if values are no weights."""
    layer, attribute = weight
    path, place = source
    if not np.isfinite(part).all():
        wrong = "numbers that are not finite"
    elif attribute == "running_var" and (part < 0).any():
        wrong = "running variances below 0"
    else:
        return
    cure = "The file is damaged, or of a network whose convolutions have another order"
    raise DataError(Problem(place, f"'{path}' gives layer '{layer}' {wrong}. {cure}"))


def _warn_of_order(convolutions: Sequence[_Convolution], by_number: bool) -> list[str]:
    """A sentence on the order that had to be taken from the network's file."""
    if by_number or len(convolutions) == 1:
        return []
    names = quote_some([each.name for each in convolutions], _MOST_NAMED)
    return [
        "darknet's files have no names, and not every convolution has a number of its own at the end of its name: the "
        f"weights were loaded in the order of the network's file ({names})"
    ]


def _warn_of_padding(network: Network) -> list[str]:
    """A sentence on convolutions that pad at other sides than darknet's do."""
    modules, graph = network.layers(), network.graph
    concerned: dict[str, None] = {}
    for node in graph.nodes:
        layer = modules.get(graph.layers[node.layer].name)
        if isinstance(layer, Convolution | DepthwiseConvolution) and layer.rank == 2 and layer.window.pads is None:
            sizes = network.shapes[node.inputs[0]][-3:][1:]
            if any(_is_shifted(size, layer, axis) for axis, size in enumerate(sizes)):
                concerned[graph.layers[node.layer].name] = None
    if not concerned:
        return []
    names = quote_some(concerned, _MOST_NAMED)
    return [
        f'with strides and "padding": "same", {names} pad right and below, but darknet\'s convolutions left and above: '
        "outputs are those of an image that is moved (by 31 pixels in YOLOv3). Expected a ZeroPadding2D of "
        '[[1, 0], [1, 0]] before each of them, and "padding": "valid"'
    ]


def _is_shifted(size: int | None, layer: Convolution | DepthwiseConvolution, axis: int) -> bool:
    """Whether `same` begins elsewhere than half a kernel before the first cell; for an open size, whether it may."""
    half = layer.window.kernel[axis] // 2
    return half > 0 if size is None else layer.window.amounts((size,) * layer.rank)[axis][0] != half
