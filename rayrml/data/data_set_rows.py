"""The rows of a data set in Parquet files as files: their parts, classes and names become folders and files."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rayrml.data.data_set_folders import are_suited, find_part, find_parts, name_classes, name_folders
from rayrml.data.discovery import quote_some
from rayrml.data.label_tables.splits import SPLIT_COLUMN
from rayrml.data.readers.images import IMAGE_EXTENSIONS
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.storage import parquet_images
from rayrml.storage.parquet_images import ImageTable

NO_LABEL = "none"
TABLE = "labels.csv"
_USUAL = ("label", "labels", "class", "category", "target")  # columns of classes, where nothing tells which they are
_EXPECTED = f"Expected files that can be read: {', '.join(sorted(IMAGE_EXTENSIONS))}"
_SECRET = -1  # what Hugging Face's library gives to samples whose class is kept secret
_ROW_NUMBER = re.compile(r"__index_level_\d+__")  # the column that pandas adds
_CURE = "`--label none` makes no folders of classes"


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """What was unpacked.

    Attributes:
        parts: the number of files in each part; "" for those of a data set without parts.
        label: the column that tells the classes, None if there is none.
        classes: the folders of the classes.
        is_unlabelled: whether no column tells classes.
        without_classes: parts whose samples have no class, though others have.
        left_out: columns, or kinds of files, that are not unpacked.
        has_table: whether the other columns are in a table beside the images.
    """

    parts: Mapping[str, int]
    label: str | None = None
    classes: tuple[str, ...] = ()
    is_unlabelled: bool = False
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
        parts = find_parts(list(paths))
        tables = {name: parquet_images.open_table(path) for name, path in paths.items()}
        self._empty = [name for name, table in tables.items() if not table.num_rows]
        filled = [table for table in tables.values() if table.num_rows]
        if not filled:
            raise DataError(Problem(next(iter(paths.values())), "has no rows"))
        self._first = filled[0]
        self._label = _choose_label(self._first, label)
        for table in filled:
            _check_kinds(table, self._first, self._label)
        self._parts = {
            part: own for part, names in parts.items() if (own := [tables[n] for n in names if tables[n].num_rows])
        }
        if self._label is not None:
            _refuse_splits(filled)
        self._classes = {part: self._read_classes(part) for part in self._parts}
        known = (name for names in self._classes.values() for name in names or ())
        self._known = tuple(dict.fromkeys(known))
        named = [name for table in filled for name in table.class_names.get(self._label or "", ())]
        self._folders = name_classes(named or self._known, _CURE)
        several = len(self._first.images) > 1
        self._columns = name_folders(self._first.images) if several else {self._first.images[0]: ""}
        self._names: dict[str, list[str]] = defaultdict(list)  # of the files that are written, for the table
        self.count = sum(map(self._count, self._parts))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The name and the content of each image."""
        for part, tables in self._parts.items():
            folders = self._class_folders(part)
            places = zip(self._choose_stems(part, folders), folders, strict=True)
            for table in tables:
                for row, images in enumerate(parquet_images.read_images(table), 1):
                    stem, folder = next(places)
                    for (column, above), content in zip(self._columns.items(), images, strict=True):
                        name = stem + _choose_ending(content, table.path, row, column)
                        path = "/".join(filter(None, [self._folder_of(part), above, folder, name]))
                        self._names[part].append(path)
                        yield path, content

    def finish(self, folder: Path) -> None:
        """Write the columns of a data set without classes to a table."""
        if not (columns := self._table_columns):
            return
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", *columns])
            for part, tables in self._parts.items():
                names = iter(self._names[part])
                for table in tables:
                    values = zip(*(_name_values(table, column) for column in columns), strict=True)
                    writer.writerows([next(names), *row] for row in values)

    def describe(self) -> Unpacked:
        """What was unpacked."""
        kept = {self._label, *self._table_columns}
        unknown = (part or "all files" for part, classes in self._classes.items() if classes is None)
        left_out = (name for name in (*self._first.plain, *self._first.others) if name not in kept)
        return Unpacked(
            {self._folder_of(part): self._count(part) for part in self._parts},
            label=self._label,
            classes=tuple(self._folders[name] for name in self._known),
            is_unlabelled=self._label is None and len(self._columns) == 1,
            without_classes=tuple(unknown) if self._label else (),
            left_out=(*left_out, *(f"'{name}', which has no rows" for name in self._empty)),
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

    def _class_folders(self, part: str) -> list[str]:
        """The folder of the class of each row of a part, "" if there is none."""
        classes = self._classes[part]
        if classes is None:
            return [""] * sum(table.num_rows for table in self._parts[part])
        return [self._folders[name] for name in classes]

    def _read_classes(self, part: str) -> list[Any] | None:
        """The class of each row of a part, as a name if it has one; None if no row has a class.

        Raises:
            DataError: some have, or a number stands for no class.
        """
        if self._label is None:
            return None
        found = [_decode_classes(table, self._label) for table in self._parts[part]]
        total, missing = sum(map(len, found)), sum(classes.count(None) for classes in found)
        if missing == total:
            return None
        of = f" of '{part}'" if part else ""
        for table, classes in zip(self._parts[part], found, strict=True):
            if None in classes:
                message = f"column '{self._label}' has no class in {missing:,} of the {total:,} rows{of}"
                message = f"{message}, first in row {classes.index(None) + 1}. Expected all or none to have one"
                raise DataError(Problem(table.path, f"{message}; {_CURE}"))
        return [name for classes in found for name in classes]

    def _choose_stems(self, part: str, folders: Sequence[str]) -> list[str]:
        """The names of the images of a part, without their endings: those they came from, or their rows' numbers."""
        tables = self._parts[part]
        paths = [path for table in tables for path in parquet_images.read_paths(table, table.images[0])]
        stems = [Path(re.split(r"[/\\]", path or "")[-1]).stem for path in paths]
        if are_suited(stems, folders):
            return stems
        digits = len(str(len(stems)))
        return [f"{row:0{digits}}" for row in range(1, len(stems) + 1)]


def _check_kinds(table: ImageTable, first: ImageTable, label: str | None) -> None:
    """Raise DataError unless the columns of a table hold the same as those of another one."""
    for name in (*table.kinds, *first.kinds):
        own, other = table.kinds.get(name, "nothing"), first.kinds.get(name, "nothing")
        if own != other:
            message = f"has other columns than '{first.path}': '{name}' holds {own}, there {other}"
            raise DataError(Problem(table.path, f"{message}. Expected the files of one data set, or name one of them"))
    if label is not None and (label in table.class_names) != (label in first.class_names):
        message = (
            f"one of this file and '{first.path}' has names for the classes of column '{label}', the other has not"
        )
        raise DataError(Problem(table.path, f"{message}. Expected both or none to have them: name one of them"))


def _refuse_splits(tables: Sequence[ImageTable]) -> None:
    """Raise ConfigError if a column divides the rows into parts, which folders of classes would mix."""
    for name in (name for name in tables[0].plain if name.casefold() == SPLIT_COLUMN):
        values = {value for table in tables for value in _name_values(table, name)}
        if len(values) > 1 and all(map(find_part, map(str, values))):
            message = (
                f"column '{name}' tells the parts {quote_some(sorted(map(str, values)))}, which class folders lose"
            )
            raise ConfigError(Problem("--label", f"{message}. `--label none` writes parts and classes to a table"))


def _decode_classes(table: ImageTable, column: str) -> list[Any]:
    """The class of each row, as a name if it has one, or None. Raises DataError if a number stands for no class."""
    names = table.class_names.get(column, ())
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(Problem(table.path, f"column '{column}' has several classes named '{twice}'. {_CURE}"))
    values = _name_values(table, column)
    strange = next((value for value in values if names and isinstance(value, int)), None)
    if strange is not None:
        raise DataError(
            Problem(table.path, f"column '{column}' holds {strange}, but has names for {len(names)} classes")
        )
    return [None if value == "" else value for value in values]


def _name_values(table: ImageTable, column: str) -> list[Any]:
    """The values of a column; numbers of classes become the names of the classes, as far as they have names."""
    values, names = parquet_images.read_plain(table, column), table.class_names.get(column)
    if names is None:
        return values
    known: dict[int | None, str | None] = {**dict(enumerate(names)), _SECRET: None}
    return [known.get(value, value) for value in values]


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


def _choose_ending(content: bytes, path: str, row: int, column: str) -> str:
    ending = parquet_images.find_ending(content)
    if ending in IMAGE_EXTENSIONS:
        return ending
    kind = "no image" if ending is None else f"an image of the format '{ending[1:]}'"
    raise DataError(Problem(path, f"row {row} holds {kind} in column '{column}'. {_EXPECTED}"))
