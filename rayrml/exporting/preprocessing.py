"""From pixels as decoders give them to a network's inputs: as steps that can be named, and as operations of torch.

The steps are those of an evaluation. Up to `divide`, values are whole numbers from 0 to 255: what follows `resize` and
`letterbox` gets rounded ones, as decoding tasks store bytes. With the key `scale`, `divide` comes first: by a number,
by the `range` of the file's type (255 or 65535), or by the `max` of each image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from rayrml.config.names import find
from rayrml.config.tables import choose, make_model
from rayrml.data import colors, image_ops
from rayrml.data.readers import READERS
from rayrml.data.readers.reader import Reader
from rayrml.data.transforms import Transforms, parse_transforms, split_transforms
from rayrml.data.transforms.transform import Transform
from rayrml.data.transforms.values import Normalize
from rayrml.errors import ConfigError

_WHERE = "neural_network.data"
_WHITE = 255
Change = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to a file's array.

    Attributes:
        input_type: how files are read, as in the section `data`.
        options: those of the reader that differ from its defaults.
        pixels: whether arrays are pixels.
        steps: objects with one key each, in order.
        slicers: whether samples are parts of files.
        flips: `test_transforms`, by which predictions are means.
    """

    input_type: str
    options: Mapping[str, Any]
    pixels: bool
    steps: tuple[Mapping[str, Any], ...]
    slicers: bool
    flips: str

    @property
    def channels(self) -> int:
        """Those of the pixels as they are decoded."""
        return 1 if self.options.get("grayscale") else 3

    @property
    def fixes_size(self) -> bool:
        """Whether pixels of any size get the size of the network's input."""
        return any(name in _SIZING for step in self.steps for name in step)

    def unsupported(self) -> str | None:
        """Why programs cannot be given pixels, None if they can."""
        if not self.pixels or self.input_type != "images":
            return f"inputs are of the type '{self.input_type}', not images of 8 bits"
        if self.slicers:
            return "samples are slices of files"
        odd = [key for key in self.options if key not in ("grayscale", "pages")]
        if odd or self.options.get("pages") == "channels":
            return f"'{(odd or ['pages'])[0]}' changes how files are read"
        unknown = [name for step in self.steps for name in step if name not in _OPERATIONS]
        return f"the transform '{unknown[0]}' is not part of a network's file" if unknown else None

    def changes(self) -> list[Change]:
        """The steps as operations on (N, C, H, W) floats."""
        made: list[Change] = []
        rounds = True
        for step in self.steps:
            ((name, value),) = step.items()
            made.append(_OPERATIONS[name](value, rounds))
            rounds = rounds and name != "divide"
        return made


def find_preprocessing(data: Mapping[str, Any]) -> Preprocessing | None:
    """What a checkpoint's section `data` says of inputs; None if it says nothing.

    Raises:
        ConfigError: the section is not valid.
    """
    if not data:
        return None
    kind = find(READERS, data.get("input_type") or "images", f"{_WHERE}.input_type")
    given = {key: data[key] for key in make_model(READERS[kind]).model_fields if data.get(key) is not None}
    reader: Reader = choose(READERS, {"type": kind, **given}, _WHERE).build()
    chosen = parse_transforms(data.get("input_transforms") or [], f"{_WHERE}.input_transforms")
    return Preprocessing(
        input_type=kind,
        options={key: value for key, value in given.items() if value},
        pixels=reader.pixels,
        steps=tuple(_list_steps(_split(chosen, reader.pixels), reader.pixels, given.get("scale"))),
        slicers=bool(data.get("slicers")),
        flips=data.get("test_transforms") or "none",
    )


def _split(chosen: Sequence[Any], pixels: bool) -> Transforms:
    try:
        return split_transforms(chosen, input_pixels=pixels, varying=("input",))
    except ConfigError:  # the images of the training were of one size
        return split_transforms(chosen, input_pixels=pixels)


def _list_steps(transforms: Transforms, pixels: bool, scale: Any) -> list[Mapping[str, Any]]:
    varying: Any = transforms.input.varying
    single = [] if varying is None else [step.transform for step in varying.steps]
    divided = not pixels or scale is not None
    found: list[Mapping[str, Any]] = [{"divide": scale}] if pixels and divided else []
    found += [_describe(operation) for _, operation in transforms.input.steps]
    found += [_describe_transform(kept) for transform in single if (kept := transform.evaluation())]
    for step in transforms.batched.evaluation().steps:
        if isinstance(step.transform, Normalize) and not divided:
            found.append({"divide": _WHITE})
            divided = True
        found.append(_describe_transform(step.transform))
    return _without_repetitions([*found, *([] if divided else [{"divide": _WHITE}])])


def _without_repetitions(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The steps without those to a size that samples have: a `resize` may also be done at decoding."""
    kept: list[Mapping[str, Any]] = []
    last: Any = None
    for step in steps:
        size = next((value for name, value in step.items() if name in _SIZING), None)
        if size is None or size != last:
            kept.append(step)
        last = last if size is None else size
    return kept


def _describe_transform(transform: Transform) -> Mapping[str, Any]:
    if isinstance(transform, Normalize):
        return {"normalize": {"mean": transform.mean, "std": transform.std}}
    operation = transform.on_image("bilinear")
    return {type(transform).__name__: True} if operation is None else _describe(operation)


def _describe(operation: Any) -> Mapping[str, Any]:
    match operation:
        case image_ops.Resize():
            return {"resize": list(operation.size)}
        case image_ops.CenterCrop():
            return {"center_crop": list(operation.size)}
        case image_ops.Letterbox():
            return {"letterbox": list(operation.size)}
        case image_ops.ConvertColor():
            return {"convert_color": operation.code}
        case image_ops.Rotate():
            return {"rotate": operation.degrees}
    return {type(operation).__name__: True}


def _resize(size: Sequence[int], rounds: bool) -> Change:
    def change(x: torch.Tensor) -> torch.Tensor:
        return _rounded(F.interpolate(x, tuple(size), mode="bilinear", antialias=True), rounds)

    return change


def _center_crop(size: Sequence[int], rounds: bool) -> Change:
    def change(x: torch.Tensor) -> torch.Tensor:
        for axis, new in zip((2, 3), size, strict=True):
            old = _length(x, axis)
            free = new - old
            first = torch.where(free < 0, (-free / 2).round(), -(free / 2).floor())
            places = torch.arange(new, dtype=torch.float64) + first
            inside = (places >= 0) & (places < old)
            picked = x.index_select(axis, places.clamp(min=0).minimum(old - 1).long())
            x = torch.where(inside if axis == 3 else inside[:, None], picked, torch.zeros(()))
        return x

    return change


def _letterbox(size: Sequence[int], rounds: bool) -> Change:
    def change(x: torch.Tensor) -> torch.Tensor:
        old = [_length(x, axis) for axis in (2, 3)]
        scale = torch.minimum(size[0] / old[0], size[1] / old[1])
        (rows, in_rows), (columns, in_columns) = (
            _fit(length, (length * scale + 0.5).floor().clamp(min=1), new, x.shape[axis])
            for length, new, axis in zip(old, size, (2, 3), strict=True)
        )
        fitted = _rounded(rows @ (x @ columns.T), rounds)
        return torch.where(in_rows[:, None] & in_columns, fitted, torch.full((), float(image_ops.GRAY)))

    return change


def _fit(old: torch.Tensor, fitted: torch.Tensor, new: int, length: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights (new, old) that resize an axis to the middle `fitted` of `new` values, and which these are."""
    places = torch.arange(new, dtype=torch.float64) - ((new - fitted) / 2).floor()
    step = old / fitted
    reach = step.clamp(min=1)
    centers = ((places + 0.5) * step)[:, None]
    weights = (1 - (torch.arange(length, dtype=torch.float64)[None] + 0.5 - centers).abs() / reach).clamp(min=0)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
    return weights.float(), (places >= 0) & (places < fitted)


def _length(x: torch.Tensor, axis: int) -> torch.Tensor:
    """A scalar: the length of an axis, which is computed in the file, where any size is possible."""
    return torch.arange(x.shape[axis], dtype=torch.float64).max() + 1


def _convert(code: str, rounds: bool) -> Change:
    return lambda x: colors.convert(code, x if rounds else x * _WHITE, torch) / (1 if rounds else _WHITE)


def _divide(value: float, rounds: bool) -> Change:
    return lambda x: x / value


def _normalize(value: Mapping[str, Any], rounds: bool) -> Change:
    mean, std = (_by_channel(value[key]) for key in ("mean", "std"))
    return lambda x: (x - mean) / std


def _by_channel(value: float | Sequence[float]) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float32).reshape(-1, 1, 1)


def _rounded(x: torch.Tensor, rounds: bool) -> torch.Tensor:
    return x.round() if rounds else x


_SIZING = ("resize", "center_crop", "letterbox")
_OPERATIONS: dict[str, Callable[[Any, bool], Change]] = {
    "resize": _resize,
    "center_crop": _center_crop,
    "letterbox": _letterbox,
    "convert_color": _convert,
    "divide": _divide,
    "normalize": _normalize,
}
