"""How many bits the values of image files have, and what the reader makes of them if no key says it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from rayrml import storage
from rayrml.config.sections import Data, SideName
from rayrml.config.tables import Choice
from rayrml.data.discovery import Samples
from rayrml.data.reader_keys import DATA
from rayrml.data.readers.depth import Scale
from rayrml.data.readers.images import find_bits, images
from rayrml.errors import DataError, Problem
from rayrml.planning.data_types import DataTypes

_MOST_FILES, _MOST_OF_A_STORE = 1000, 16
_REQUESTS = 16  # concurrent ones to a store
_DEEP = frozenset({".png", ".tif", ".tiff"})  # endings of the formats that can have more than 8 bits

Found = Collection[tuple[Samples, Samples | None]]


def settle_scale(types: DataTypes, found: Found) -> DataTypes:
    """The types with the key `scale` where images have more than 8 bits and it is not given.

    Args:
        types: how both sides are read.
        found: inputs and targets of each part.

    Raises:
        DataError: some files have values of 32 bits, of which no one knows what is white, and others have not.
    """
    scales: dict[SideName, Scale] = {}
    sides: tuple[SideName, ...] = ("input", "target")
    for position, side in enumerate(sides):
        reader: Choice | None = getattr(types, side)
        if reader is None or reader.builder is not images or reader.arguments.get("scale") is not None:
            continue
        samples = [
            pair[position] or pair[0] for pair in found if pair[position] is not None or types.targets_are_arrays
        ]
        scale = _find_scale(samples)
        if scale is not None:
            scales[side] = scale
    if not scales:
        return types
    return _with_scales(types, scales)


def _with_scales(types: DataTypes, scales: dict[SideName, Scale]) -> DataTypes:
    parts: dict[str, object] = {}
    for side, scale in scales.items():
        reader: Choice = getattr(types, side)
        chosen = dataclasses.replace(reader, arguments={**reader.arguments, "scale": scale})
        parts |= {side: chosen, f"{side}_reader": chosen.build()}
    data: Data = types.data.model_copy(update={f"{side}_scale": scale for side, scale in scales.items()})
    return dataclasses.replace(types, data=data, **parts)


def _find_scale(parts: Collection[Samples]) -> Scale | None:
    """What the reader needs: None for bytes alone."""
    examples: dict[int, str] = {}
    for samples in parts:
        for path, bits in _read_bits(samples):
            examples.setdefault(bits, path)
    others = [examples[bits] for bits in (8, 16) if bits in examples]
    if 32 in examples and others:
        few = 8 if 8 in examples else 16
        message = f"'{examples[32]}' has values of 32 bits, or with a sign, but '{others[0]}' of {few} bits"
        raise DataError(Problem(DATA, f'{message}. "scale": "max" divides each image by its largest value'))
    return "values" if 32 in examples else "range" if 16 in examples else None


def _read_bits(samples: Samples) -> Iterator[tuple[str, int]]:
    """Some image files, evenly spread, with the bits of their values; without those that cannot be read."""
    remote = storage.is_uri(samples.path(0))
    paths = [samples.path(i) for i in samples.spread(_MOST_OF_A_STORE if remote else _MOST_FILES)]
    deep = list(dict.fromkeys(path for path in paths if storage.suffix(path) in _DEEP))
    others = [path for path in paths if storage.suffix(path) not in _DEEP]
    if others:
        yield others[0], 8
    if not remote:
        for path in deep:
            yield from _look_at(path)
        return
    with ThreadPoolExecutor(_REQUESTS) as threads:
        for found in threads.map(_look_at, deep):
            yield from found


def _look_at(path: str) -> tuple[tuple[str, int], ...]:
    with contextlib.suppress(DataError):  # reported by whoever needs the file
        return ((path, find_bits(path)),)
    return ()
