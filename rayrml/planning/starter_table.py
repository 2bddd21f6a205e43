"""What a table says of the images in a folder: their classes or numbers, and which of them are for what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rayrml import storage
from rayrml.config.sections import Config, Data
from rayrml.data.discovery import Samples, find_samples, quote_some
from rayrml.data.label_tables import Inputs, choose_file_column, match_rows, read_label_table
from rayrml.data.label_tables.column_values import as_text
from rayrml.data.label_tables.parquet_reading import is_list
from rayrml.data.layout import Listing, find_roles
from rayrml.data.readers.images import IMAGE_EXTENSIONS
from rayrml.errors import MOST_NAMED, DataError, Problem
from rayrml.formatting import format_path
from rayrml.planning.splits import complete_paths
from rayrml.planning.table_targets import PREFIXES, LabelTables, Part

_TEXT_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_ENDINGS = (".parquet", *_TEXT_ENDINGS, *(f"{ending}.gz" for ending in _TEXT_ENDINGS))
_KEYS = {"training": "target_path", "validation": "test_target_path", "test": "final_test_target_path"}


@dataclasses.dataclass(frozen=True)
class TableFound:
    """The images that a table has rows for.

    Attributes:
        parts: the images of each part, with their classes or values.
        data: the section `data` as far as it names them and their targets.
        description: a sentence on the columns of targets.
        notes: sentences on what is left out.
    """

    parts: Mapping[Part, Samples]
    data: Data
    description: str
    notes: tuple[str, ...]

    @property
    def num_outputs(self) -> int:
        """The number of classes, or of numbers."""
        training = self.parts["training"]
        return len(training.value_names or training.classes)


def find_table(folder: Path, keys: Mapping[str, Any] | None = None) -> TableFound | None:
    """What the tables in a folder say of its images, None if there are no tables.

    Args:
        folder: the images, with tables beside them.
        keys: the keys of the section `data` that say how a table is read, as far as they are known.

    Raises:
        DataError: no table names the images, several do, or each has a mistake.
    """
    names = _table_names(folder)
    if not names:
        return None
    found: dict[str, TableFound] = {}
    problems: list[DataError] = []
    for name in names:
        try:
            found[name] = look_at_table(folder, {"target_path": str(folder / name)}, keys)
        except DataError as error:
            problems.append(error)
    if not found:
        raise DataError(*(problem for error in problems[:MOST_NAMED] for problem in error.problems))
    if len(found) == 1:
        return next(iter(found.values()))
    roles = find_roles([name.partition(".")[0] for name in found])
    if "training" not in roles or any(len(stems) > 1 for stems in roles.values()) or len(roles) < len(found):
        message = f"several tables name the images: {quote_some(found)}. `--labels FILE` names one of them"
        raise DataError(Problem(str(folder), message))
    paths = {_KEYS[role]: str(folder / name) for role, (stem,) in roles.items() for name in found if _is_of(name, stem)}
    if "test_target_path" not in paths and "final_test_target_path" in paths:
        paths["test_target_path"] = paths.pop("final_test_target_path")
    return look_at_table(folder, paths, keys)


def find_tables_beside(folder: Path, samples: Samples) -> tuple[list[str], list[str]]:
    """The tables in a folder whose images have classes or masks without them.

    Returns:
        Those that name the images and do not repeat their classes, and the others.
    """
    names = _table_names(folder)
    contrary = [name for name in names if _tells_more(str(folder / name), samples)]
    return contrary, [name for name in names if name not in contrary]


def _tells_more(path: str, samples: Samples) -> bool:
    """Whether a table names the images, and none of its columns has their classes."""
    inputs = Inputs(samples.root, samples.names)
    try:
        table = read_label_table(path, path)
        file_column = choose_file_column(table, inputs)
    except DataError:
        return False
    try:
        matching = match_rows(table, inputs, file_column)
    except DataError:  # it names them with mistakes
        return True
    kept = matching.files_with_row
    if samples.labels is None:
        return True
    classes = np.array(samples.classes, str)[samples.labels[kept]]
    return not any(
        np.array_equal(as_text(table, name, matching.rows[kept]).to_numpy(), classes)
        for name, column in table.columns.items()
        if not is_list(column.type)
    )


def look_at_table(folder: Path, paths: Mapping[str, str], keys: Mapping[str, Any] | None = None) -> TableFound:
    """What tables say of the images in a folder.

    Args:
        folder: the images.
        paths: the keys that name the tables.
        keys: the keys of the section `data` that say how a table is read, as far as they are known.

    Raises:
        DataError: a table names none of the images, or has a mistake.
    """
    types = {"input_type": "images", "target_type": "table", "on_bad_sample": "skip"}
    named = {"input_path": str(folder), **{key: storage.absolute(path) for key, path in paths.items()}}
    section = {**types, **named, **(keys or {})}
    config, _ = complete_paths(Config.model_validate({"neural_network": {"layers": "", "data": section}}))
    tables = LabelTables(config.neural_network.data, None)
    data = tables.complete_paths()
    parts: dict[Part, Samples] = {}
    notes: list[str] = []
    for part, prefix in PREFIXES.items():
        path = data.input_path if data.split_column else getattr(data, f"{prefix}input_path")
        if isinstance(path, str) and tables.has(part):
            classes: Sequence[str] | None = parts["training"].classes if parts else None
            samples = find_samples(path, IMAGE_EXTENSIONS, path)
            if parts and not getattr(data, f"{prefix}target_path") and not _names_some(data.target_path, samples):
                data = data.model_copy(update={f"{prefix}input_path": None})
                notes.append(f"The images in {format_path(path)} have no row in the table. They are left out")
                continue
            parts[part] = tables.label(samples, part, classes or None)
    tables.check_use()
    return TableFound(parts, tables.complete_columns(data), tables.description or "", (*notes, *tables.notes))


def _names_some(path: str | None, samples: Samples) -> bool:
    """Whether a table names images, as it need not those of a test whose classes nobody knows."""
    try:
        choose_file_column(read_label_table(path or "", path or ""), Inputs(samples.root, samples.names))
    except DataError:
        return False
    return True


def _table_names(folder: Path) -> list[str]:
    """The files in a folder that may be tables."""
    if not folder.is_dir():
        return []
    listing = Listing(str(folder))
    names = [name for name in listing.files("", {".gz", *_ENDINGS}) if name.lower().endswith(_ENDINGS)]
    # As WebDataset's tar files have them, `001.json` is about `001.jpg` alone.
    images = {Path(name).stem for name in listing.files("", IMAGE_EXTENSIONS)}
    return [name for name in names if not (name.lower().endswith(".json") and Path(name).stem in images)]


def _is_of(name: str, stem: str) -> bool:
    return name.partition(".")[0] == stem
