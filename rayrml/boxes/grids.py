"""The outputs of a detection network: grids of cells, each of which predicts a box for each of some anchors.

Source: arXiv 1804.02767, section 2.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch

from rayrml.boxes.anchors import Size, deal_out
from rayrml.errors import ConfigError, Problem

Shape = Sequence[int]
Outputs = torch.Tensor | Sequence[torch.Tensor]
_OUTPUT = "neural_network.loss.function"
_STRIDES = "neural_network.loss.strides"
_ANCHORS = "neural_network.loss.anchors"
_PER_BOX = 5  # channels of an anchor besides the classes: x, y, w, h and objectness
_KNOWN_STRIDES = ((32, 16, 8), (32, 16), (32,), (16, 8), (16,), (8,))
_ROUNDING = 1e-6  # cells: that much more than a whole number of them is no further one


@dataclasses.dataclass(frozen=True)
class Layout:
    """The grids of a network's outputs, all with the same number of channels.

    Attributes:
        size: height and width of the network's input in pixels.
        num_classes: how many classes there are.
        num_channels: those of each output.
        strides: input pixels of a cell of each grid.
        cells: rows and columns of each grid.
    """

    size: tuple[int, int]
    num_classes: int
    num_channels: int
    strides: tuple[float, ...]
    cells: tuple[tuple[int, int], ...]

    def count_anchors(self) -> int:
        """How many anchors all outputs together have, from the number of channels. Raises ConfigError."""
        each = _PER_BOX + self.num_classes
        if self.num_channels % each or not self.num_channels:
            message = f"the output has {self.num_channels} channels, but for {_count(self.num_classes, 'class')}"
            cure = f"it needs a multiple of 5 + {self.num_classes} = {each}: {each} for each anchor"
            raise ConfigError(Problem(_OUTPUT, f"{message} {cure}"))
        return self.num_channels // each * len(self.cells)

    def with_anchors(self, anchors: Sequence[Size] | Sequence[Sequence[Size]]) -> Grids:
        """The grids with anchors: sizes to be dealt out, or the sizes of each output.

        Raises:
            ConfigError: the anchors or the channels do not fit.
        """
        lists = _list_by_output(anchors)
        dealt = deal_out(_to_sizes(anchors), self.strides) if lists is None else tuple(map(_to_sizes, lists))
        if len(dealt) != len(self.cells):
            message = f"{_count(len(dealt), 'list')} of anchors for {_count(len(self.cells), 'grid')}"
            raise ConfigError(Problem(_ANCHORS, f"has {message}. Expected one for each"))
        counts = {len(sizes) for sizes in dealt}
        if len(counts) > 1 or 0 in counts:
            raise ConfigError(Problem(_ANCHORS, "needs the same number of anchors for each output, at least one"))
        needed = (each := len(dealt[0])) * (_PER_BOX + self.num_classes)
        if needed != self.num_channels:
            message = f"the output has {self.num_channels} channels, but {_count(each, 'anchor')} and"
            product = f"{_count(self.num_classes, 'class')} need {each} x (5 + {self.num_classes}) = {needed}"
            raise ConfigError(Problem(_OUTPUT, f"{message} {product}"))
        return Grids(self.size, self.num_classes, self.strides, self.cells, dealt)


@dataclasses.dataclass(frozen=True)
class Grids:
    """What each number of a detection network's outputs stands for.

    A place is an anchor at a position; positions are the cells of all grids, one grid after the other, each row by row.

    Attributes:
        size: height and width of the network's input in pixels.
        num_classes: how many classes there are.
        strides: input pixels of a cell of each grid.
        cells: rows and columns of each grid.
        anchors: of each grid, width and height of each anchor in input pixels; the same number for each grid.
    """

    size: tuple[int, int]
    num_classes: int
    strides: tuple[float, ...]
    cells: tuple[tuple[int, int], ...]
    anchors: tuple[tuple[Size, ...], ...]

    @property
    def num_anchors(self) -> int:
        """How many anchors each cell has."""
        return len(self.anchors[0])

    @property
    def num_positions(self) -> int:
        """How many cells all grids have."""
        return sum(rows * columns for rows, columns in self.cells)

    @property
    def num_places(self) -> int:
        """How many boxes are predicted for an image."""
        return self.num_anchors * self.num_positions

    def split(self, outputs: Outputs) -> torch.Tensor:
        """(N, anchors, 5 + classes, positions) the outputs by anchor, in one row of positions, at least float32.

        Raises:
            ConfigError: the outputs do not have the grids' shapes.
        """
        row = join_outputs(outputs)
        shape = self.num_anchors, _PER_BOX + self.num_classes, self.num_positions
        if row.ndim != 3 or row.shape[1:] != (shape[0] * shape[1], shape[2]):
            message = f"the outputs have {tuple(row.shape[1:])} channels and positions"
            raise ConfigError(Problem(_OUTPUT, f"{message}, but the grids have {(shape[0] * shape[1], shape[2])}"))
        return row.unflatten(1, shape[:2])


def join_outputs(outputs: Outputs) -> torch.Tensor:
    """(N, channels, positions) the outputs (N, channels, rows, columns) one after the other, at least float32."""
    parts = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    rows = [part.flatten(2).to(torch.promote_types(part.dtype, torch.float32)) for part in parts]
    return rows[0] if len(rows) == 1 else torch.cat(rows, 2)


def find_layout(
    shapes: Sequence[Shape], size: tuple[int, int], num_classes: int, *, strides: Sequence[float] | None = None
) -> Layout:
    """The grids of a network's outputs.

    Args:
        shapes: the shape of each output for one sample: (channels, rows, columns); or one output (channels,
            positions), whose positions are the cells of several grids.
        size: height and width of the network's input in pixels.
        num_classes: how many classes there are.
        strides: input pixels of a cell of each grid; None to find them.

    Raises:
        ConfigError: the outputs are no such grids.
    """
    odd = next((shape for shape in shapes if len(shape) != (2 if len(shapes) == 1 and len(shape) == 2 else 3)), None)
    if odd is not None or not shapes:
        message = f"an output of the network has shape {tuple(odd or ())}. Expected (channels, rows, columns)"
        raise ConfigError(Problem(_OUTPUT, f"{message}, or one output (channels, positions)"))
    channels = {shape[0] for shape in shapes}
    if len(channels) > 1:
        message = f"the outputs have {' and '.join(map(str, sorted(channels)))} channels. Expected the same number"
        raise ConfigError(Problem(_OUTPUT, message))
    if len(shapes[0]) == 2:
        of_each = _strides_of_row(shapes[0][1], size, strides)
        cells = tuple(_cells(size, stride) for stride in of_each)
    else:
        cells = tuple((shape[1], shape[2]) for shape in shapes)
        of_each = _strides_of_grids(cells, size, strides)
    return Layout(size, num_classes, shapes[0][0], tuple(map(_shorten, of_each)), cells)


def _strides_of_grids(
    cells: Sequence[tuple[int, int]], size: tuple[int, int], given: Sequence[float] | None
) -> Sequence[float]:
    """Input pixels of a cell of each output."""
    if given is None:
        for rows, columns in cells:
            if size[0] * columns != size[1] * rows:
                message = f"an output has {rows} x {columns} cells for an input of {_in_pixels(size)}"
                found = f"{_format(size[0] / rows)} pixels in height, {_format(size[1] / columns)} in width"
                raise ConfigError(Problem(_OUTPUT, f"{message}: {found}. Expected cells that are squares"))
        return [size[0] / rows for rows, _ in cells]
    if len(given) != len(cells):
        message = f"has {_count(len(given), 'value')}, but the network has {_count(len(cells), 'output')}"
        raise ConfigError(Problem(_STRIDES, message))
    for stride, grid in zip(given, cells, strict=True):
        if _cells(size, stride) != grid:
            message = f"{_format(stride)} makes {_product(_cells(size, stride))} cells of an input of"
            raise ConfigError(Problem(_STRIDES, f"{message} {_in_pixels(size)}, but the output has {_product(grid)}"))
    return given


def _strides_of_row(positions: int, size: tuple[int, int], given: Sequence[float] | None) -> Sequence[float]:
    """Input pixels of a cell of each of the grids that one output consists of."""
    if given is not None:
        if _count_cells(size, given) != positions:
            grids = " + ".join(_product(_cells(size, stride)) for stride in given)
            message = f"make {grids} = {_count_cells(size, given)} cells of an input of {_in_pixels(size)}"
            raise ConfigError(Problem(_STRIDES, f"{message}, but the output has {positions} positions"))
        return given
    for strides in _KNOWN_STRIDES:
        whole = not any(side % stride for side in size for stride in strides)
        if whole and _count_cells(size, strides) == positions:
            return strides
    message = f"is needed: the output has {positions} positions, which are no grids of known strides"
    known = f"[32, 16, 8] make {_count_cells(size, (32, 16, 8))}" if not (size[0] % 32 or size[1] % 32) else ""
    known = known or "sides that are no multiples of the strides"
    cure = "Expected the input pixels of a cell of each grid"
    raise ConfigError(Problem(_STRIDES, f"{message} for an input of {_in_pixels(size)} ({known}). {cure}"))


def _cells(size: tuple[int, int], stride: float) -> tuple[int, int]:
    """Rows and columns of a grid that covers the input."""
    rows, columns = (max(1, math.ceil(side / stride - _ROUNDING)) for side in size)
    return rows, columns


def _count_cells(size: tuple[int, int], strides: Sequence[float]) -> int:
    return sum(math.prod(_cells(size, stride)) for stride in strides)


def _list_by_output(anchors: Sequence[Any]) -> Sequence[Any] | None:
    """The anchors if they are the sizes of each output; None if they are sizes."""
    return anchors if anchors and anchors[0] and isinstance(anchors[0][0], Sequence) else None


def _to_sizes(anchors: Sequence[Any]) -> tuple[Size, ...]:
    return tuple((float(width), float(height)) for width, height in anchors)


def _shorten(stride: float) -> float:
    return int(stride) if float(stride).is_integer() else stride


def _format(number: float) -> str:
    return f"{number:.5g}"


def _product(cells: tuple[int, int]) -> str:
    return f"{cells[0]} x {cells[1]}"


def _in_pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels (height x width)"


def _count(number: int, name: str) -> str:
    plural = f"{name}es" if name.endswith("s") else f"{name}s"
    return f"{number} {name if number == 1 else plural}"
