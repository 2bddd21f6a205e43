"""Finding samples: the files in a folder, the samples' names, and the class of each."""

from __future__ import annotations

import bisect
import dataclasses
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from rayrml import extras, storage
from rayrml.data.addresses import Members, Place, file_below, take_places
from rayrml.data.listings import listed
from rayrml.data.names import Names, take_names
from rayrml.data.scanning import belongs, is_below_passed, scan, scan_store
from rayrml.data.slicers import Grid
from rayrml.errors import DataError, Problem, describe
from rayrml.storage.containers import Container, find_container, open_container

if TYPE_CHECKING:
    from rayrml.data.box_labels import BoxTable


# Their columns are compressed, so that a single image cannot be read by itself.
_FOREIGN = "Parquet files are read if `rayrml pack` wrote them; `rayrml unpack` writes the images of others to folders"


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples in the order of their names; often the files below one folder.

    Attributes:
        root: absolute path of the folder.
        names: name of each sample: the file's path relative to `root`, with forward slashes, or the sample's name
            inside a file of several.
        labels: (N,) int64 class indices, None without classes.
        classes: class names in the order of their indices, () without classes.
        values: (N, K) of each sample: uint8, 1 for each class that it has, or float32 numbers; None without any.
        value_names: names of the numbers, () if values are not numbers.
        boxes: the true boxes of each sample, None if targets are not boxes.
        image_ids: what COCO's file calls each sample, () without one.
        ignored: number of files of other kinds among them, by extension.
        places: where each sample is stored, None if in the file of its name.
        stored_classes: the class that a file beside each sample names, None if that is not how classes are stored.
        slices: which samples are slices of the same array.
        folders: all folders below `root` that were searched, relative to it.
        unreadable: what is wrong with further files and arrays that turned out to be unusable and are skipped.
    """

    root: str
    names: Sequence[str]
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    values: np.ndarray | None = None
    value_names: tuple[str, ...] = ()
    boxes: BoxTable | None = None
    image_ids: tuple[Any, ...] = ()
    ignored: dict[str, int] = dataclasses.field(default_factory=dict)
    places: Sequence[Place] | None = None
    stored_classes: Sequence[str | None] | None = None
    slices: tuple[Slices, ...] = ()
    folders: Sequence[str] = ()
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def targets(self) -> np.ndarray | None:
        """The class or the values of each sample, None if its target is read from a file, or there is none."""
        return self.values if self.labels is None else self.labels

    @property
    def columns(self) -> Literal["classes", "number"] | None:
        """What the columns of the values are, None without values."""
        return None if self.values is None else "number" if self.value_names else "classes"

    def take_targets(self, indices: np.ndarray | Sequence[int]) -> dict[str, Any]:
        """The fields of the targets for the samples at `indices`, which may come several times."""
        rows = np.asarray(indices, np.int64)
        fields = {"labels": self.labels, "values": self.values}
        taken = {name: None if own is None else own[rows] for name, own in fields.items()}
        boxes = None if self.boxes is None else self.boxes.select(rows)
        image_ids = tuple(self.image_ids[row] for row in rows) if self.image_ids else ()
        return {**taken, "boxes": boxes, "image_ids": image_ids}

    def name(self, index: int) -> str:
        """The name of the sample at `index`."""
        return self.names[int(index)]

    def place(self, index: int) -> Place:
        """Where the sample at `index` is stored."""
        if self.places is not None:
            return self.places[int(index)]
        return file_below(self.root, self.name(index))

    def path(self, index: int) -> str:
        """Absolute path of the file that holds the sample at `index`."""
        return self.place(index).path

    def spread(self, most: int) -> np.ndarray:
        """The indices of at most `most` samples, evenly spread over the sorted names and thus over the classes."""
        return np.unique(np.linspace(0, len(self) - 1, min(len(self), most)).astype(int))

    def only(self, indices: Sequence[int] | np.ndarray, reasons: Iterable[str] = ()) -> Samples:
        """Only the samples at `indices`; `reasons` say why others are unreadable."""
        return dataclasses.replace(
            self,
            names=take_names(self.names, indices),
            **self.take_targets(indices),
            stored_classes=None if self.stored_classes is None else [self.stored_classes[i] for i in indices],
            places=take_places(self.places, indices),
            unreadable=(*self.unreadable, *reasons),
        )


class Slices(NamedTuple):
    """The consecutive slices of one array by one slicer.

    Attributes:
        name: their common name.
        first: index of the first one.
        grid: their layout in the array.
    """

    name: str
    first: int
    grid: Grid


class _Run(NamedTuple):
    """Consecutive samples of one folder, from `begin` to `end`, exclusive."""

    folder: str
    begin: int
    end: int


def find_samples(path: str, extensions: Collection[str], where: str) -> Samples:
    """All files with one of `extensions` below a folder, in its shards if it is packed, or the one file at `path`.

    What systems add, such as `.DS_Store` and `__MACOSX`, is passed over; other files are counted in `ignored`.

    Raises:
        DataError: the folder does not exist, cannot be read, or contains no such file.
    """
    try:
        if (container := find_container(path)) is None and storage.is_file(path):
            if storage.suffix(path) == ".parquet":
                raise DataError(Problem(where, f"cannot read '{path}'. {_FOREIGN}"))
            folder, name = storage.split(path)
            return Samples(folder, [name])
        if container is None and not storage.is_folder(path):
            raise DataError(Problem(where, f"no such folder or file: '{path}'"))
    except OSError as error:
        raise DataError(Problem(where, f"cannot list '{error.filename}'. {describe(error)}")) from None
    samples = listed(path, extensions, lambda: _list(path, extensions, where, container))
    names, ignored = samples.names, samples.ignored
    if not names:
        kinds = ", ".join(sorted(extensions))
        others = f". {found[0].upper()}{found[1:]}" if (found := describe_ignored(ignored)) else ""
        others += f". {_FOREIGN}" if ".parquet" in ignored else ""
        raise DataError(Problem(where, f"no files to read in '{path}'. Expected extensions: {kinds}{others}"))
    # A store may have such keys, but pyarrow does not read them.
    unreadable = [name for name in names if "//" in name] if storage.is_uri(path) else []
    if unreadable:
        message = f"cannot read {quote_some(unreadable)} in '{path}'. Expected names without empty parts"
        raise DataError(Problem(where, message))
    return samples


def list_files(folder: str, extensions: Collection[str], where: str) -> Samples:
    """Do the same as `find_samples` for a folder that exists and may have no such files. Raises DataError."""
    try:
        container = find_container(folder)
    except OSError as error:
        raise DataError(Problem(where, f"cannot list '{error.filename}'. {describe(error)}")) from None
    return listed(folder, extensions, lambda: _list(folder, extensions, where, container))


def _list(folder: str, extensions: Collection[str], where: str, found: tuple[Container, str] | None) -> Samples:
    """The files in a folder, or in the container `found` there."""
    names: list[str] = []
    ignored: Counter[str] = Counter()
    try:
        if found is not None:
            return _list_members(*found, extensions)
        scan_any = scan_store if storage.is_uri(folder) else scan
        folders = scan_any(folder, frozenset(extensions), names, ignored)
        if not names and ".tar" in ignored and (container := open_container(folder, searched=True)) is not None:
            return _list_members(container, "", extensions)
    except OSError as error:
        raise DataError(Problem(where, f"cannot list '{error.filename}'. {describe(error)}")) from None
    names.sort()
    return Samples(folder, Names.of(names), ignored=dict(ignored), folders=folders)


def _list_members(container: Container, below: str, extensions: Collection[str]) -> Samples:
    """The files with one of `extensions` in a folder of a container."""
    prefix = f"{below}/" if below else ""
    ignored = Counter[str](container.left_out)
    all_names: list[str] = container.names.to_pylist()
    first, end = (
        (bisect.bisect_left(all_names, text) for text in (prefix, f"{below}0")) if below else (0, len(all_names))
    )
    rows = [
        row
        for row in range(first, end)
        if not is_below_passed(all_names[row]) and belongs(all_names[row], frozenset(extensions), ignored)
    ]
    names = Names.of(all_names[row][len(prefix) :] for row in rows)
    indices = np.array(rows, np.int64)
    arrays = (array[indices] for array in (container.shard_of, container.begins, container.sizes))
    return Samples(
        storage.join(container.path, *below.split("/")) if below else container.path,
        names,
        ignored=dict(ignored),
        places=Members(container.shards, *arrays, names=names),
        stored_classes=None if container.classes is None else [container.classes[row] for row in rows],
        folders=[folder[len(prefix) :] for folder in container.folders if folder == below or folder.startswith(prefix)],
    )


def describe_ignored(ignored: Mapping[str, int]) -> str | None:
    """How many files have other endings, and what would read some of them; None if there are none."""
    if not ignored:
        return None
    count = sum(ignored.values())
    kinds = ", ".join(f"{number} {ending}" for ending, number in sorted(ignored.items(), key=lambda item: -item[1]))
    needed = dict.fromkeys(extras.OF_ENDINGS[ending] for ending in ignored if ending in extras.OF_ENDINGS)
    hints = (lacking for package, extra in needed if (lacking := extras.missing(package, extra)) is not None)
    more = "".join(f" ({hint})" for hint in hints)
    return f"{count} file{'s' if count > 1 else ''} with other endings left out: {kinds}{more}"


def label_by_folder(samples: Samples, tag: str | None, where: str, classes: Sequence[str] | None = None) -> Samples:
    """Assign each sample the class that its folder names.

    The class is the image's own folder or, with a `tag`, the folder inside the folder of that name. Class indices
    follow `classes`, or the sorted folder names. Classes that are stored beside the images come first.

    Raises:
        DataError: an image is outside every class folder, or a class folder has no images or is not one of `classes`.
    """
    if samples.stored_classes is not None and tag is None:
        return _label_as_stored(samples, samples.stored_classes, where, classes)
    runs = list(_runs(samples))
    names_of = _class_of_folder(samples.root, {run.folder for run in runs}, tag)
    if not all(names_of.values()):
        unlabelled = (name for run in runs if not names_of[run.folder] for name in samples.names[run.begin : run.end])
        inside = f"a folder under '{tag}'" if tag else "a class folder"
        raise DataError(Problem(where, f"{quote_some(unlabelled)} in '{samples.root}' must be inside {inside}"))
    own_classes = sorted(set(names_of.values()))
    empty = _folders_without(samples.folders, names_of)
    if empty:
        raise DataError(Problem(where, f"class folders without images in '{samples.root}': {quote_some(empty)}"))
    known, index = _number(own_classes, classes, samples.root, where)
    labels = np.repeat([index[names_of[run.folder]] for run in runs], [run.end - run.begin for run in runs])
    return dataclasses.replace(samples, labels=labels, classes=tuple(known))


def _label_as_stored(
    samples: Samples, stored: Sequence[str | None], where: str, classes: Sequence[str] | None
) -> Samples:
    """Assign the classes that files beside the samples name. Raises DataError if one has none."""
    without = [samples.name(i) for i, name in enumerate(stored) if not name]
    if without:
        message = f"no class beside {quote_some(without)} in '{samples.root}', as others have in files '.cls'"
        raise DataError(Problem(where, f"{message}. Expected one for each image"))
    own = {name for name in stored if name}
    are_numbers = all(name.isdecimal() for name in own)
    known, index = _number(sorted(own, key=int if are_numbers else str), classes, samples.root, where)
    labels = np.array([index[name] for name in stored if name], np.int64)
    return dataclasses.replace(samples, labels=labels, classes=tuple(known))


def _number(
    own: Sequence[str], classes: Sequence[str] | None, root: str, where: str
) -> tuple[Sequence[str], dict[str, int]]:
    """All classes, and the index of each. Raises DataError if one of `own` is none of `classes`."""
    known = own if classes is None else classes
    index = {name: i for i, name in enumerate(known)}
    if strange := [name for name in own if name not in index]:
        message = f"classes unknown to training in '{root}': {quote_some(strange)}"
        raise DataError(Problem(where, f"{message}. Known: {quote_some(list(known))}"))
    return known, index


def select_part(samples: Samples, share: float, *, test: bool) -> np.ndarray:
    """The indices (n,) of the test samples, a `share` of each class, or of all others, the training samples.

    The choice depends only on their names. A class of two or more has some of both kinds.
    """
    labels = np.zeros(len(samples), np.int64) if samples.labels is None else samples.labels
    # Hashing separates neighbours, such as frames of one film; names are the same on all machines.
    names = samples.names if isinstance(samples.names, Names) else Names.of(samples.names)
    mixed = np.fromiter(map(zlib.crc32, names.encoded_each()), np.int64, len(names))
    order = np.argsort((labels << 32) | mixed, kind="stable")
    sizes = np.bincount(labels)
    rank = np.empty(len(samples), np.int64)
    rank[order] = np.arange(len(samples)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = np.clip(np.rint(share * sizes), sizes > 1, np.maximum(sizes - 1, 0))
    return np.flatnonzero((rank < kept[labels]) == test)


def _runs(samples: Samples) -> Iterator[_Run]:
    """All samples by folder. Folders without subfolders are not checked sample by sample: there are millions."""
    names = samples.names
    leaves = set(samples.folders) - {folder.rpartition("/")[0] for folder in samples.folders}
    begin = 0
    while begin < len(names):
        folder = names[begin].rpartition("/")[0]
        if folder in leaves:
            end = bisect.bisect_left(names, f"{folder}0", begin)  # the names are sorted, and "0" comes after "/"
        else:
            end = begin + 1
            while end < len(names) and names[end].rpartition("/")[0] == folder:
                end += 1
        yield _Run(folder, begin, end)
        begin = end


def _class_of_folder(root: str, folders: Iterable[str], tag: str | None) -> dict[str, str]:
    """The class of each of `folders`, '' if its path gives none."""
    if tag is None:
        return {f: f.rpartition("/")[2] for f in folders}
    above = storage.decoded(root)
    return {f: _under_tag(f"{above}/{f}".split("/"), tag) for f in folders}


def _under_tag(parts: list[str], tag: str) -> str:
    """The part after the last `tag` that has one after it."""
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == tag and parts[i + 1]:
            return parts[i + 1]
    return ""


def _folders_without(folders: Iterable[str], filled: Iterable[str]) -> list[str]:
    """The folders that are neither `filled` nor above a filled one; of nested ones, only the outermost."""
    above: set[str] = {""}
    for folder in filled:
        parts = folder.split("/")
        above.update("/".join(parts[: i + 1]) for i in range(len(parts)))
    return sorted(f for f in folders if f not in above and f.rpartition("/")[0] in above)


def quote_some(names: Iterable[str], most: int = 10) -> str:
    """The first few names in quotes, and the number of further ones."""
    listed = list(names)
    text = ", ".join(f"'{n}'" for n in listed[:most])
    return text if len(listed) <= most else f"{text} and {len(listed) - most} more"
