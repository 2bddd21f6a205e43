"""From files to samples: the arrays in files, and the slices that arrays are cut into."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from rayrml import storage
from rayrml.config.names import suggest
from rayrml.data.addresses import Place, are_files
from rayrml.data.decoding import drop_channels
from rayrml.data.discovery import Samples, Slices, find_samples, quote_some
from rayrml.data.readers import Part, Reader
from rayrml.data.slicers import Grid, Slicer
from rayrml.errors import MOST_NAMED, ConfigError, DataError, Problem, explaining

Grids = tuple[Grid, ...]  # of one array, one per slicer


@dataclasses.dataclass(frozen=True)
class Location:
    """What a path in the configuration refers to.

    Attributes:
        files: the files found there.
        inside: group or dataset inside a single file, "" for everything in all files.
        arrays: the names of the arrays in each file, None if not read yet.
    """

    files: Samples
    inside: str = ""
    arrays: tuple[Sequence[str], ...] | None = None


def locate(path: str | Sequence[str], reader: Reader, part: Part, where: str) -> Location:
    """The files at `path`, a folder or a file; the path may continue inside an HDF5 file, to a group or a dataset.

    Files from several paths are named relative to their common folder; each is listed once.

    Raises:
        DataError: there are no files of the reader's kind, or the path cannot be read.
    """
    if not isinstance(path, str):
        locations = [locate(single, reader, part, where) for single in path]
        return locations[0] if len(locations) == 1 else Location(_together(locations, path, where))
    with explaining(where, f"cannot read '{path}'"):  # a name that is too long, a folder without permission
        return _located(path, reader, part, where)


def _located(path: str, reader: Reader, part: Part, where: str) -> Location:
    if reader.find is not None:
        try:
            files = reader.find(path, part)
        except DataError as error:
            raise DataError(*(Problem(where, str(p)) for p in error.problems)) from None
        root = storage.parent(files[0])
        return Location(Samples(root, [storage.split(f)[1] for f in files]))
    file, inside = path, ""
    if reader.contents is not None:
        file, inside = _split_inside(path, reader.extensions)
    return Location(find_samples(file, reader.extensions, where), inside)


def _together(locations: Sequence[Location], paths: Sequence[str], where: str) -> Samples:
    """Combine the files of several locations as if they were in one folder.

    Raises:
        DataError: a location is not on this machine, or is a part of a file.
    """
    for location, path in zip(locations, paths, strict=True):
        if location.inside or storage.is_uri(path) or location.files.places is not None:
            message = f"'{path}' cannot be combined with other paths"
            raise DataError(Problem(where, f"{message}. Expected it alone, or local files and folders, not in shards"))
    root = os.path.commonpath([location.files.root for location in locations])
    files = [location.files.path(i) for location in locations for i in range(len(location.files))]
    ignored = sum((Counter(location.files.ignored) for location in locations), Counter())
    return Samples(root, [os.path.relpath(file, root) for file in dict.fromkeys(files)], ignored=dict(ignored))


def _split_inside(path: str, extensions: Collection[str]) -> tuple[str, str]:
    """Split a path that continues inside a file into the file and the rest; any other path gets the rest ""."""
    above, inside = storage.split(path.rstrip("/"))
    while inside and storage.split(above)[1]:
        if storage.suffix(above) in extensions and storage.is_file(above) and not storage.exists(path):
            return above, inside
        above, name = storage.split(above)
        inside = f"{name}/{inside}"
    return path, ""


def list_generated(reader: Reader, part: Part) -> Samples:
    """The samples that the reader generates."""
    names = list(reader.generate(part)) if reader.generate is not None else []
    shown = [name.rpartition("/")[2] for name in names]
    return Samples("", shown, places=[Place("", name) for name in names])


def drop_unreadable(sides: Sequence[tuple[Location, Reader]]) -> list[Location]:
    """Return the locations of inputs and targets without the files that cannot be opened and their partners.

    Raises:
        DataError: no file can be opened.
    """
    bad: dict[int, str] = {}
    arrays_of_sides = [_look_inside(location.files, reader, bad) for location, reader in sides]
    good = [i for i in range(len(sides[0][0].files)) if i not in bad]
    if not good:
        raise DataError(*list(bad.values())[:MOST_NAMED])
    usable: list[Location] = []
    for (location, reader), arrays in zip(sides, arrays_of_sides, strict=True):
        # A pair is reported once, with its input.
        reasons = bad.values() if not usable else ()
        usable.append(
            dataclasses.replace(
                location,
                files=location.files.only(good, reasons) if bad else location.files,
                arrays=None if reader.contents is None else tuple(arrays[i] for i in good),
            )
        )
    return usable


def _look_inside(files: Samples, reader: Reader, bad: dict[int, str]) -> dict[int, Sequence[str]]:
    """The array names of each file, {} if each file is one array; files that cannot be opened are added to `bad`."""
    names: dict[int, Sequence[str]] = {}
    if (contents := reader.contents) is None:
        return names

    def look(path: str) -> Sequence[str] | DataError:
        try:
            return contents(path)
        except DataError as error:
            return error

    for i, found in enumerate(storage.map_files(look, [files.path(i) for i in range(len(files))])):
        if isinstance(found, DataError):
            bad.setdefault(i, str(found))
        else:
            names[i] = found
    return names


def list_arrays(location: Location, reader: Reader, where: str) -> Samples:
    """The arrays in the files, each with its file's label; the files themselves if each is one array.

    An array is named as in its file, preceded by the file's path if several files use the same names.

    Raises:
        DataError: a file cannot be read or contains no arrays.
    """
    files = location.files
    if reader.contents is None:
        return files
    known = location.arrays or storage.map_files(reader.contents, [files.path(i) for i in range(len(files))])
    names_in_files = [list(names) for names in known]
    if location.inside:
        names_in_files = [_below(location, names_in_files[0], where)]
    if all(names == [""] for names in names_in_files):
        return files
    empty = [files.name(i) for i, names in enumerate(names_in_files) if not names]
    if empty:
        raise DataError(Problem(where, f"no arrays in {quote_some(empty)} in '{files.root}'"))
    pairs = [(i, name) for i, names in enumerate(names_in_files) for name in names]
    counts = Counter(name or files.name(i) for i, name in pairs)
    unique = max(counts.values()) == 1
    return dataclasses.replace(
        files,
        names=[(name or files.name(i)) if unique else _joined(files.name(i), name) for i, name in pairs],
        **files.take_targets([i for i, _ in pairs]),
        places=[Place(files.path(i), name) for i, name in pairs],
    )


def label_by_file(samples: Samples, labels: np.ndarray, classes: Sequence[str] | None, where: str) -> Samples:
    """Assign the classes given by label files, named by their numbers.

    Raises:
        DataError: a label is not one of `classes`.
    """
    known = list(classes) if classes is not None else [str(label) for label in np.unique(labels)]
    index = {name: i for i, name in enumerate(known)}
    strange = sorted({str(label) for label in np.unique(labels)} - index.keys())
    if strange:
        raise DataError(
            Problem(where, f"labels unknown to training: {quote_some(strange)}. Known: {quote_some(known)}")
        )
    indices = np.array([index[str(label)] for label in labels.tolist()], np.int64)
    return dataclasses.replace(samples, labels=indices, classes=tuple(known))


def pair_arrays(inputs: Samples, targets: Samples, where: str, insides: tuple[str, str] = ("", "")) -> Samples:
    """Return the target arrays in the order of the input arrays.

    Both come from files in the same order. Two files with one array each belong together; otherwise the numbers of
    arrays must be equal, and arrays are paired by name, or else by their names inside the groups that their paths
    lead to, `insides`.

    Raises:
        DataError: an array has no partner.
    """
    if are_files(inputs.places) and are_files(targets.places):
        return targets
    theirs = _by_file(targets)
    order: list[int] = []
    problems: list[Problem] = []
    for own, other in zip(_by_file(inputs), theirs, strict=True):
        if len(own) == len(other) == 1:
            order.append(other[0])
            continue
        partner = {targets.place(i).name: i for i in other}
        stems = {i: inputs.place(i).name for i in own}
        if partner.keys() != set(stems.values()):
            partner = {_inside(name, insides[1]): i for name, i in partner.items()}
            stems = {i: _inside(name, insides[0]) for i, name in stems.items()}
        names = set(stems.values())
        alone = sorted(names - partner.keys())
        unused = sorted(partner.keys() - names)
        for missing, what, samples in ((alone, "target", inputs), (unused, "input", targets)):
            if missing:
                file = samples.path(own[0] if samples is inputs else other[0])
                problems.append(Problem(where, f"no {what} for {quote_some(missing)} in '{file}'"))
        order += [partner[stem] for stem in stems.values() if stem in partner]
    if problems:
        raise DataError(*problems)
    return dataclasses.replace(
        targets, names=[targets.name(i) for i in order], places=[targets.place(i) for i in order]
    )


def make_grids(samples: Samples, reader: Reader, slicers: Sequence[Slicer], *, skip: bool) -> list[Grids | str]:
    """How the slicers cut each array; with `skip`, the reason for each array that cannot be cut.

    Raises:
        DataError: a slicer cannot cut an array.
    """

    def make(place: Place) -> Grids | str:
        try:
            return _grids(place, reader, slicers)
        except DataError as error:
            if not skip:
                raise
            return str(error)

    places = [samples.place(i) for i in range(len(samples))]
    return list(storage.map_files(make, places, lambda place: place.path))


def _grids(place: Place, reader: Reader, slicers: Sequence[Slicer]) -> Grids:
    with reader.open(place.path) as read:
        shape = tuple(read(place.name).shape)
    if reader.channels_last and len(shape) == len(slicers[0].sizes):
        message = f'has {len(shape)} axes, of which the slicers cut each: there is none of channels for "last"'
        raise DataError(Problem(place.address, f'{message}. Expected "channels": "first"'))
    try:
        return tuple(slicer.grid(drop_channels(shape, slicer)) for slicer in slicers)
    except (ConfigError, DataError) as error:
        raise DataError(*(Problem(place.address, p.message) for p in error.problems)) from None


def list_slices(samples: Samples, grids: Sequence[Grids | str], slicers: Sequence[Slicer]) -> Samples:
    """The slices of all arrays, by array and then by slicer, each with its array's label.

    A slice is named by its bounds along each axis, `0:64,64:128`, preceded by its slicer's name if there are several
    slicers, and by its array's name if there are several arrays. Arrays without grids are left out.

    Raises:
        DataError: there are no slices.
    """
    names: list[str] = []
    places: list[Place] = []
    groups: list[Slices] = []
    owners: list[int] = []
    unreadable: list[str] = []
    for i, own in enumerate(grids):
        if isinstance(own, str):
            unreadable.append(own)
            continue
        place = samples.place(i)
        array = f"{samples.name(i)}/" if len(samples) > 1 else ""
        for number, (slicer, grid) in enumerate(zip(slicers, own, strict=True)):
            groups.append(Slices(f"{array}{slicer.name}", len(names), grid))
            prefix = f"{array}{slicer.name}/" if len(slicers) > 1 else array
            names += [f"{prefix}{grid.name(k)}" for k in range(len(grid))]
            places += [Place(place.path, place.name, number, k) for k in range(len(grid))]
            owners += [i] * len(grid)
    if not names:
        message = "no samples can be cut from the data"
        raise DataError(*unreadable[:MOST_NAMED], Problem("neural_network.data.slicers", message))
    return dataclasses.replace(
        samples,
        names=names,
        places=places,
        **samples.take_targets(owners),
        slices=tuple(groups),
        unreadable=(*samples.unreadable, *unreadable),
    )


def pair_grids(
    inputs: Sequence[Grids | str], targets: Sequence[Grids | str], samples: Samples, where: str, *, skip: bool
) -> list[Grids | str]:
    """The inputs' grids; with `skip`, the reason for each input whose target is not cut into the same slices.

    Raises:
        DataError: an input and its target are cut differently; `samples` are the targets.
    """
    paired: list[Grids | str] = []
    for i, (own, other) in enumerate(zip(inputs, targets, strict=True)):
        if isinstance(own, str) or isinstance(other, str):
            paired.append(own if isinstance(own, str) else other)
        elif own[0].shape == other[0].shape:
            paired.append(own)
        else:
            message = f"'{samples.path(i)}' is {_size(other[0].shape)}, but its input is {_size(own[0].shape)}"
            if not skip:
                raise DataError(Problem(where, message))
            paired.append(str(Problem(where, message)))
    return paired


def _below(location: Location, names: Sequence[str], where: str) -> list[str]:
    """The names in a file that match the requested dataset, or are in the requested group."""
    inside = location.inside
    below = [name for name in names if name == inside or name.startswith(f"{inside}/")]
    if not below:
        message = f"no dataset or group '{inside}' in '{location.files.path(0)}'. {suggest(inside, names)}"
        raise DataError(Problem(where, message))
    return below


def _inside(name: str, group: str) -> str:
    """An array's name relative to the group that contains it."""
    return name.removeprefix(f"{group}/") if group else name


def _by_file(samples: Samples) -> Iterable[list[int]]:
    """The sample indices of each file, in file order."""
    groups: dict[str, list[int]] = {}
    for i in range(len(samples)):
        groups.setdefault(samples.path(i), []).append(i)
    return groups.values()


def _joined(file: str, name: str) -> str:
    return f"{file}/{name}" if name else file


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
