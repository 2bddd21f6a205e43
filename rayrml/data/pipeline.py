"""Ray Data pipelines: from lists of files to decoded samples, in tasks that start fast and in a known order.

The tasks import neither torch nor torchvision, which would take longer than decoding; so this module does not either.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import ray.data

from rayrml.data.discovery import Samples
from rayrml.errors import ConfigError, DataError
from rayrml.lookup import Choice

RESIZE_HINT = 'The transform {"resize": [height, width]} gives all images one size'
_CHUNK_BYTES = 32 * 2**20  # a task's output: small enough for the object store, large enough to be worth a task
_SEPARATOR = b"\0"  # the one byte that no path has


@dataclasses.dataclass(frozen=True)
class Side:
    """The inputs or the targets of samples: files, and what turns one into an array.

    Attributes:
        samples: the files.
        reader: the row of the readers' table that decodes them.
        shape: (C, *spatial) that every array must have once it is prepared.
        prepare: what is done to each array before arrays are put together, None for nothing.
    """

    samples: Samples
    reader: Choice
    shape: tuple[int, ...]
    prepare: Callable[[np.ndarray], np.ndarray] | None = None

    def array(self, path: str, decode_file: Callable[[str], np.ndarray]) -> np.ndarray:
        """The prepared array of the file at `path`. Raises DataError if there is none, or one of another shape."""
        array = decode_file(path)
        if self.prepare is not None:
            array = self.prepare(array)
        if array.shape != self.shape:
            first = self.samples.path(0)
            raise DataError(f"{path}: is {_size(array.shape)}, but {first} is {_size(self.shape)}. {RESIZE_HINT}")
        return array


@dataclasses.dataclass(frozen=True)
class Source:
    """Samples to train on, to evaluate or to predict.

    Attributes:
        input: what the network takes.
        target: images that it should give, None if targets are labels or there are none.
        name: what the dataset is called on the dashboard.
    """

    input: Side
    target: Side | None
    name: str

    @property
    def samples(self) -> Samples:
        """The files of the inputs, with the labels if there are some."""
        return self.input.samples

    @property
    def shape(self) -> tuple[int, ...]:
        """The inputs' shape (C, *spatial)."""
        return self.input.shape

    @property
    def sides(self) -> dict[str, Side]:
        """The sides that are read from files."""
        return {"input": self.input} | ({} if self.target is None else {"target": self.target})

    @property
    def bytes_per_sample(self) -> int:
        """Size of a decoded sample."""
        return sum(int(np.prod(side.shape)) for side in self.sides.values())


class Decoded(NamedTuple):
    """Some samples in the order asked for.

    Attributes:
        first: place of the first of them in the list of indices that was asked for.
        inputs: (n, C, *spatial) uint8; zeros where a sample could not be decoded.
        targets: the same for target images, None if there are none.
        errors: (n,) what is wrong with each sample, "" if nothing is.
    """

    first: int
    inputs: np.ndarray
    targets: np.ndarray | None
    errors: np.ndarray


def dataset(source: Source, indices: np.ndarray, *, decode_cpus: float, smallest_chunk: int = 1) -> ray.data.Dataset:
    """A lazy dataset of the samples at `indices`, in that order, decoded by tasks of `decode_cpus` CPUs.

    Its columns are those of `Decoded`, `first` once a row.
    """
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    chunks = path_chunks(source, indices, smallest_chunk)
    paths = ray.data.from_items(chunks, override_num_blocks=len(chunks))
    decoder: Any = Decoder(source.sides)
    decoded = paths.map_batches(decoder, batch_size=None, num_cpus=decode_cpus)
    decoded.set_name(source.name)
    return decoded


def decode(
    source: Source, indices: np.ndarray, *, decode_cpus: float, smallest_chunk: int = 1, ahead: int = 2
) -> Iterator[Decoded]:
    """The decoded samples at `indices`, some at a time, each once and in order."""
    if not len(indices):
        return
    data = dataset(source, indices, decode_cpus=decode_cpus, smallest_chunk=smallest_chunk)
    for block in blocks(data, ahead):
        yield Decoded(int(block["place"][0]), block["input"], block.get("target"), block["error"])


def blocks(data: ray.data.Dataset, ahead: int = 2) -> Iterator[dict[str, np.ndarray]]:
    """The blocks of a dataset, as arrays by column, each once; the next ones are fetched `ahead` of their use."""
    yield from cast(
        "Iterator[dict[str, np.ndarray]]",
        data.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=ahead),
    )


def path_chunks(source: Source, indices: np.ndarray, smallest: int = 1) -> list[dict[str, Any]]:
    """The files of each task, at least `smallest`: `first`, their place among `indices`, and the paths of each side.

    All paths of a task are one string: Ray takes a thousand times longer over a list of strings.
    """
    cpus = int(ray.cluster_resources().get("CPU", 1))
    by_memory = max(_CHUNK_BYTES // source.bytes_per_sample, 1)
    size = max(min(by_memory, -(-len(indices) // (4 * cpus))), smallest)
    sides = source.sides.items()
    return [
        {"first": first} | {name: _joined(side.samples, indices[first : first + size]) for name, side in sides}
        for first in range(0, len(indices), size)
    ]


@dataclasses.dataclass(frozen=True)
class Decoder:
    """What a decoding task does to its list of files; a file that fails does not take the others along."""

    sides: dict[str, Side]

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, Any]:
        """Rows `place`, `input` (n, C, *spatial) uint8, perhaps `target`, and `error` for the chunks in `block`."""
        first = int(block["first"][0])
        arrays: dict[str, np.ndarray] = {}
        errors: list[str] = []
        for name, side in self.sides.items():
            paths = [os.fsdecode(p) for chunk in block[name] for p in chunk.split(_SEPARATOR)]
            arrays[name] = np.zeros((len(paths), *side.shape), np.uint8)
            errors = errors or [""] * len(paths)
            decode_file = side.reader.build().decode
            for i, path in enumerate(paths):
                try:
                    arrays[name][i] = side.array(path, decode_file)
                except (DataError, ConfigError) as error:
                    errors[i] = errors[i] or str(error)
        return {"place": np.arange(first, first + len(errors)), **arrays, "error": np.array(errors, object)}


def _joined(samples: Samples, indices: np.ndarray) -> bytes:
    return _SEPARATOR.join(os.fsencode(samples.path(i)) for i in indices)


def _size(shape: tuple[int, ...]) -> str:
    """A sample's size as people say it: width x height and channels for an image."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    return f"{shape[2]}x{shape[1]} pixels with {shape[0]} channel{'s' if shape[0] > 1 else ''}"
