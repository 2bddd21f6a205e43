"""From files to samples: the arrays that files hold, and the slices that arrays are cut into."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from rayrml import storage
from rayrml.data.decoding import spatial_shape
from rayrml.data.discovery import Place, Samples, Slices, find_samples, some
from rayrml.data.readers import Part, Reader
from rayrml.data.slicers import Slicer
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.lookup import suggestion


@dataclasses.dataclass(frozen=True)
class Location:
    """What a path of the configuration stands for.

    Attributes:
        files: the files there.
        inside: group or dataset in the one file, "" for everything in all of them.
    """

    files: Samples
    inside: str = ""


def locate(path: str, reader: Reader, part: Part, where: str) -> Location:
    """The files at `path`, a folder or a file; in an HDF5 file the path may go on to a group or a dataset.

    Raises:
        DataError: there is nothing of the reader's kind.
    """
    if reader.find is not None:
        try:
            files = reader.find(path, part)
        except DataError as error:
            raise DataError(*(Problem(where, str(p)) for p in error.problems)) from None
        root = storage.parent(files[0])
        return Location(Samples(root, [storage.split(f)[1] for f in files]))
    if reader.contents is not None and (found := _file_above(path, reader.extensions)) is not None:
        file, inside = found
        return Location(find_samples(file, reader.extensions, where), inside)
    return Location(find_samples(path, reader.extensions, where))


def _file_above(path: str, extensions: Collection[str]) -> tuple[str, str] | None:
    """The file in which a path that does not exist goes on, and how; None if there is none."""
    above, inside = storage.split(path.rstrip("/"))
    while inside and storage.split(above)[1]:
        if storage.suffix(above) in extensions and storage.is_file(above) and not storage.exists(path):
            return above, inside
        above, name = storage.split(above)
        inside = f"{name}/{inside}"
    return None


def generated(reader: Reader, part: Part) -> Samples:
    """Samples that the reader computes."""
    names = list(reader.generate(part)) if reader.generate is not None else []
    shown = [name.rpartition("/")[2] for name in names]
    return Samples("", shown, places=[Place("", name) for name in names])


def arrays(location: Location, reader: Reader, where: str) -> Samples:
    """The arrays in the files, each with the label of its file; the files themselves where each is one array.

    An array goes by its name in its file; with the file's path before it where several files have the same names.

    Raises:
        DataError: files that cannot be read, or that hold no arrays.
    """
    files = location.files
    if reader.contents is None:
        return files
    found = [list(reader.contents(files.path(i))) for i in range(len(files))]
    if location.inside:
        found = [_below(location, found[0], where)]
    if all(names == [""] for names in found):
        return files
    empty = [files.name(i) for i, names in enumerate(found) if not names]
    if empty:
        raise DataError(Problem(where, f"no arrays in {some(empty)} in '{files.root}'"))
    pairs = [(i, name) for i, names in enumerate(found) for name in names]
    counts = Counter(name or files.name(i) for i, name in pairs)
    unique = max(counts.values()) == 1
    return dataclasses.replace(
        files,
        names=[(name or files.name(i)) if unique else _joined(files.name(i), name) for i, name in pairs],
        labels=None if files.labels is None else files.labels[[i for i, _ in pairs]],
        places=[Place(files.path(i), name) for i, name in pairs],
    )


def labelled(samples: Samples, labels: np.ndarray, classes: Sequence[str] | None, where: str) -> Samples:
    """The same samples with the classes that files of labels give, named by their numbers.

    Raises:
        DataError: a label is none of `classes`.
    """
    known = list(classes) if classes is not None else [str(label) for label in np.unique(labels)]
    index = {name: i for i, name in enumerate(known)}
    strange = sorted({str(label) for label in np.unique(labels)} - index.keys())
    if strange:
        raise DataError(Problem(where, f"labels that training does not know: {some(strange)}. Known: {some(known)}"))
    indices = np.array([index[str(label)] for label in labels.tolist()], np.int64)
    return dataclasses.replace(samples, labels=indices, classes=tuple(known))


def pair_arrays(inputs: Samples, targets: Samples, where: str) -> Samples:
    """The targets' arrays in the order of the inputs' arrays.

    Both come from files in the same order, with the same number of arrays in each: where it is one, they belong
    together; where there are more, those of the same name.

    Raises:
        DataError: arrays without a partner.
    """
    if inputs.places is None and targets.places is None:
        return targets
    theirs = _by_file(targets)
    order: list[int] = []
    problems: list[Problem] = []
    for own, other in zip(_by_file(inputs), theirs, strict=True):
        if len(own) == len(other) == 1:
            order.append(other[0])
            continue
        partner = {targets.place(i).name: i for i in other}
        names = {inputs.place(i).name for i in own}
        alone = sorted(names - partner.keys())
        unused = sorted(partner.keys() - names)
        for missing, what, samples in ((alone, "target", inputs), (unused, "input", targets)):
            if missing:
                file = samples.path(own[0] if samples is inputs else other[0])
                problems.append(Problem(where, f"no {what} for {some(missing)} in '{file}'"))
        order += [partner[inputs.place(i).name] for i in own if inputs.place(i).name in partner]
    if problems:
        raise DataError(*problems)
    return dataclasses.replace(
        targets, names=[targets.name(i) for i in order], places=[targets.place(i) for i in order]
    )


def slices(samples: Samples, reader: Reader, slicers: Sequence[Slicer]) -> Samples:
    """The slices of all arrays, array by array and slicer by slicer, each with the label of its array.

    A slice goes by its bounds along each axis, `0:64,64:128`; with the name of its slicer before them where there are
    several, and of its array where there are several.

    Raises:
        DataError, ConfigError: an array that a slicer cannot cut.
    """
    names: list[str] = []
    places: list[Place] = []
    groups: list[Slices] = []
    owners: list[int] = []
    for i in range(len(samples)):
        place = samples.place(i)
        with reader.open(place.path) as read:
            shape = tuple(read(place.name).shape)
        for number, slicer in enumerate(slicers):
            prefix = [samples.name(i)] * (len(samples) > 1) + [slicer.name] * (len(slicers) > 1)
            try:
                grid = slicer.grid(spatial_shape(shape, slicer))
            except (ConfigError, DataError) as error:
                raise DataError(*(Problem(place.address, p.message) for p in error.problems)) from None
            together = "/".join([samples.name(i)] * (len(samples) > 1) + [slicer.name])
            groups.append(Slices(together, len(names), grid))
            names += ["/".join([*prefix, grid.name(k)]) for k in range(len(grid))]
            places += [Place(place.path, place.name, number, k) for k in range(len(grid))]
            owners += [i] * len(grid)
    if not names:
        raise DataError(Problem("neural_network.data.slicers", "cut no samples out of the data"))
    labels = None if samples.labels is None else samples.labels[owners]
    return dataclasses.replace(samples, names=names, places=places, labels=labels, slices=tuple(groups))


def check_alike(inputs: Samples, targets: Samples, where: str) -> None:
    """Raise DataError unless inputs and targets are cut into the same slices."""
    for own, other in zip(inputs.slices, targets.slices, strict=True):
        if own.grid.shape != other.grid.shape:
            message = (
                f"'{targets.path(other.first)}' is {_size(other.grid.shape)}, but its input {_size(own.grid.shape)}"
            )
            raise DataError(Problem(where, message))


def _below(location: Location, names: Sequence[str], where: str) -> list[str]:
    """The names in a file that are the dataset asked for, or lie in the group."""
    inside = location.inside
    found = [name for name in names if name == inside or name.startswith(f"{inside}/")]
    if not found:
        message = f"no dataset or group '{inside}' in '{location.files.path(0)}'. {suggestion(inside, names)}"
        raise DataError(Problem(where, message))
    return found


def _by_file(samples: Samples) -> Iterable[list[int]]:
    """The indices of the samples in each file, in the order of the files."""
    groups: dict[str, list[int]] = {}
    for i in range(len(samples)):
        groups.setdefault(samples.path(i), []).append(i)
    return groups.values()


def _joined(file: str, name: str) -> str:
    return f"{file}/{name}" if name else file


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
