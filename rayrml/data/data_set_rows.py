"""The rows of a data set in Parquet files as files: their parts, classes and names become folders and files."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rayrml.data.discovery import quote_some
from rayrml.data.readers.images import IMAGE_EXTENSIONS
from rayrml.data.scanning import is_passed_over
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.storage import parquet_images
from rayrml.storage.parquet_images import ImageTable

NO_LABEL = "none"
TABLE = "labels.csv"
_USUAL = ("label", "labels", "class", "category", "target")  # columns of classes, where nothing tells which they are
_NUMBERED = re.compile(r"(.+?)-(\d+)-of-(\d+)(?:-[0-9a-f]+)?")  # such as `train-00000-of-00002`
_UNSUITED = re.compile(r"[/\\\0]")  # in the name of a file or a folder
_ROW_NUMBER = re.compile(r"__index_level_\d+__")  # the column that pandas adds
_MOST_NAME = 200  # bytes; file systems allow 255


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """What was unpacked.

    Attributes:
        parts: the number of files in each part; "" for those of a data set without parts.
        label: the column that tells the classes, None if there is none.
        classes: the folders of the classes.
        without_classes: parts whose samples have no class, though others have.
        left_out: columns, or kinds of files, that are not unpacked.
        has_table: whether the other columns are in a table beside the images.
    """

    parts: Mapping[str, int]
    label: str | None = None
    classes: tuple[str, ...] = ()
    without_classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    has_table: bool = False


class Rows:
    """The images of Parquet files.

    If the files tell of several parts, each has a folder. So has each class, and so have several columns of images. If
    no column tells classes, the columns of text and numbers become a table.

    Args:
        paths: of the files, by their names below a folder.
        label: the column that tells the classes; "none" if none does. By default it is found.

    Raises:
        ConfigError: no such column, or several may tell the classes.
        DataError: a file cannot be read or is missing, or the files do not belong together.
    """

    def __init__(self, paths: Mapping[str, str], label: str | None):
        tables = {name: parquet_images.open_table(path) for name, path in paths.items()}
        self._first, *others = tables.values()
        for table in others:
            if table.columns != self._first.columns:
                message = f"has other columns than '{self._first.path}'. Expected the files of one data set"
                raise DataError(Problem(table.path, message))
        self._parts = {part: [tables[name] for name in names] for part, names in find_parts(list(tables)).items()}
        self._label = _choose_label(self._first, label)
        self._class_names = self._first.class_names.get(self._label or "")
        self._values = {part: self._read_classes(part) for part in self._parts}
        values = (value for values in self._values.values() for value in values or ())
        self._known = tuple(dict.fromkeys(map(self._name_class, values)))
        self._folders = name_folders(self._class_names or self._known)
        self._names: dict[str, list[str]] = defaultdict(list)  # of the files that are written, for the table
        self.count = sum(map(self._count, self._parts))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The name and the content of each image."""
        several = len(self._first.images) > 1
        for part, tables in self._parts.items():
            stems = self._choose_stems(part)
            contents = itertools.chain.from_iterable(map(parquet_images.read_images, tables))
            for row, (stem, images) in enumerate(zip(stems, contents, strict=True)):
                for column, content in zip(self._first.images, images, strict=True):
                    name = f"{stem}{_choose_ending(tables, row, column, content)}"
                    above = [self._folder_of(part), column if several else "", self._class_folder(part, row)]
                    path = "/".join(filter(None, [*above, name]))
                    self._names[part].append(path)
                    yield path, content

    def finish(self, folder: Path) -> None:
        """Write the columns of a data set without classes to a table."""
        if not (columns := self._table_columns):
            return
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", *columns])
            for part in self._parts:
                values = zip(*(self._read(part, column) for column in columns), strict=True)
                writer.writerows([name, *row] for name, row in zip(self._names[part], values, strict=True))

    def describe(self) -> Unpacked:
        """What was unpacked."""
        kept = {self._label, *self._table_columns}
        unknown = (part for part, values in self._values.items() if values is None)
        return Unpacked(
            {self._folder_of(part): self._count(part) for part in self._parts},
            label=self._label,
            classes=tuple(self._folders[name] for name in self._known),
            without_classes=tuple(unknown) if self._label else (),
            left_out=tuple(name for name in (*self._first.plain, *self._first.others) if name not in kept),
            has_table=bool(self._table_columns),
        )

    @property
    def _table_columns(self) -> list[str]:
        if self._label is not None or len(self._first.images) > 1:
            return []
        return [name for name in self._first.plain if not _ROW_NUMBER.fullmatch(name) and name != "file"]

    def _count(self, part: str) -> int:
        return sum(table.num_rows for table in self._parts[part]) * len(self._first.images)

    def _folder_of(self, part: str) -> str:
        return part if len(self._parts) > 1 else ""

    def _class_folder(self, part: str, row: int) -> str:
        values = self._values[part]
        return "" if values is None else self._folders[self._name_class(values[row])]

    def _name_class(self, value: Any) -> Any:
        return value if self._class_names is None else self._class_names[value]

    def _read(self, part: str, column: str) -> list[Any]:
        return [value for table in self._parts[part] for value in parquet_images.read_plain(table, column)]

    def _read_classes(self, part: str) -> list[Any] | None:
        """The class of each row of a part; None if none of them has one.

        Raises:
            DataError: some have, or a number stands for no class.
        """
        if self._label is None:
            return None
        values = self._read(part, self._label)
        names = self._class_names
        # Hugging Face's library gives -1 to samples whose class is kept secret.
        missing = [row for row, value in enumerate(values) if value is None or (names and value == -1)]
        if len(missing) == len(values):
            return None
        place, column = self._parts[part][0].path, f"column '{self._label}'"
        if missing:
            message = f"{column} has no class in {len(missing):,} of the {len(values):,} rows of '{part}'"
            cure = "Expected all or none to have one; `--label none` uses no classes"
            raise DataError(Problem(place, f"{message}, first in row {missing[0] + 1}. {cure}"))
        strange = next((value for value in values if names and not 0 <= value < len(names)), None)
        if strange is not None:
            raise DataError(Problem(place, f"{column} holds {strange}, but has names for {len(names or ())} classes"))
        return values

    def _choose_stems(self, part: str) -> list[str]:
        """The names of the images of a part, without their endings: those they came from, or their rows' numbers."""
        tables = self._parts[part]
        paths = [path for table in tables for path in parquet_images.read_paths(table, table.images[0])]
        stems = [Path(re.split(r"[/\\]", path or "")[-1]).stem for path in paths]
        where = [(self._class_folder(part, row), stem.casefold()) for row, stem in enumerate(stems)]
        if all(map(_is_suited, stems)) and len(set(where)) == len(where):
            return stems
        digits = len(str(len(stems)))
        return [f"{row:0{digits}}" for row in range(1, len(stems) + 1)]


def find_parts(names: Sequence[str]) -> dict[str, list[str]]:
    """The names of Parquet files by the parts of the data set that they tell.

    These are `train-00000-of-00002.parquet`, `train/0000.parquet` or `train.parquet`.

    Raises:
        DataError: a file of a part is missing, or there are several of the same part.
    """
    parts: dict[str, list[str]] = defaultdict(list)
    places: dict[str, set[str]] = defaultdict(set)
    expected: dict[str, int] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        stem = file[: -len(".parquet")]
        if found := _NUMBERED.fullmatch(stem):
            part, expected[found[1]] = found[1], int(found[3])
        elif stem.isdecimal() and folder:
            folder, _, part = folder.rpartition("/")
        else:
            part = "" if stem.isdecimal() else stem
        parts[part].append(name)
        places[part].add(folder)
    for part, folders in places.items():
        if len(folders) > 1:
            message = f"'{part}' is in the folders {quote_some(sorted(folders))}"
            raise DataError(Problem(parts[part][0], f"{message}. Expected one data set: name its folder"))
        if len(parts[part]) != expected.get(part, len(parts[part])):
            message = f"only {len(parts[part])} of the {expected[part]} files of '{part}' are there. Fetch the others"
            raise DataError(Problem(parts[part][0], message))
    return dict(parts)


def name_folders(classes: Sequence[Any]) -> dict[Any, str]:
    """The folder of each class, in whose order numbers come after smaller ones.

    Raises:
        DataError: two classes would have the same folder.
    """
    distinct = list(dict.fromkeys(classes))
    digits = max((len(str(name)) for name in distinct if str(name).isdecimal()), default=0)
    folders = {name: _suited(str(name)) for name in distinct}
    if all(str(name).isdecimal() for name in distinct):
        folders = {name: str(name).zfill(digits) for name in distinct}
    first: dict[str, Any] = {}
    for name, folder in folders.items():
        if (other := first.setdefault(folder.casefold(), name)) != name:
            raise DataError(Problem("classes", f"'{other}' and '{name}' would both be in the folder '{folder}'"))
    return folders


def _choose_label(table: ImageTable, label: str | None) -> str | None:
    if label == NO_LABEL:
        return None
    if label is not None:
        if label not in table.plain:
            known = quote_some(table.plain) if table.plain else "none"
            raise ConfigError(Problem("--label", f"no column of text or numbers is '{label}'. There are: {known}"))
        if label in table.fractions:
            message = f"'{label}' holds numbers with fractions, which are no classes"
            raise ConfigError(Problem("--label", f"{message}. `--label none` writes them to a table"))
        return label
    usual = [name for name in table.plain if name.lower() in _USUAL and name not in table.fractions]
    found = list(table.class_names) or usual
    if len(found) > 1:
        message = f"several columns of '{table.path}' may tell the classes: {quote_some(found)}. Expected one of them"
        raise ConfigError(Problem("--label", f"{message}, or `none`"))
    return found[0] if found else None


def _choose_ending(tables: Sequence[ImageTable], row: int, column: str, content: bytes) -> str:
    ending = parquet_images.find_ending(content)
    if ending not in IMAGE_EXTENSIONS:
        kind = "no image" if ending is None else f"an image of the kind '{ending}', which cannot be read"
        raise DataError(Problem(tables[0].path, f"row {row + 1} holds {kind} in column '{column}'"))
    return ending


def _is_suited(name: str) -> bool:
    return bool(name) and _suited(name) == name and len(name.encode(errors="replace")) <= _MOST_NAME


def _suited(name: str) -> str:
    """A text as the name of a folder that is read."""
    name = _UNSUITED.sub("_", name) or "_"
    return f"_{name}" if is_passed_over(name) else name
