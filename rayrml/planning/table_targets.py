"""Targets from tables: which table belongs to which samples, and what its columns mean for the loss.

Each table is read once. What is found out - the columns, the kind of targets, what separates classes - is put into the
configuration, so that it is shown, recorded and used as one.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from rayrml.config.mistakes import no_problems
from rayrml.config.sections import Data, TargetKind
from rayrml.config.tables import Choice
from rayrml.data.discovery import Samples, quote_some
from rayrml.data.label_tables import (
    Decision,
    Inputs,
    LabelTable,
    Matching,
    TargetOptions,
    check_repeated,
    choose_target_columns,
    describe_outliers,
    detect_kind,
    find_split_column,
    holds_whole_numbers,
    make_targets,
    match_in_order,
    match_rows,
    read_label_table,
    split_rows,
)
from rayrml.data.reader_keys import DATA, has_table
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.formatting import format_path
from rayrml.losses import Loss

Part = Literal["training", "test", "final test"]
PREFIXES: dict[Part, str] = {"training": "", "test": "test_", "final test": "final_test_"}
_ARRAY_OF_FILE = re.compile(r"(\.(?:npz|h5|hdf5))/.*$", re.IGNORECASE)
_NAMED_TESTS = ("test_input_path", "test_target_path", "test_share", "final_test_input_path", "final_test_target_path")


@dataclasses.dataclass(frozen=True)
class _Columns:
    """What the columns of the tables are.

    Attributes:
        targets: the columns of targets.
        kind: what they hold.
        separator: what separates classes in one column, None if nothing does.
    """

    targets: tuple[str, ...]
    kind: TargetKind
    separator: str | None


@dataclasses.dataclass(frozen=True)
class _Use:
    """How the samples of one part use a table.

    Attributes:
        path: of the table.
        unused: (num_rows,) bool, the rows that name none of the samples' files.
        samples: all that may be used.
        has_row: (N,) bool, which of them have a row for the part.
    """

    path: str
    unused: np.ndarray
    samples: Samples
    has_row: np.ndarray

    def shares_files(self, other: _Use) -> bool:
        """Whether both use the same files."""
        return _are_same(self.samples, other.samples)


class _Matched(NamedTuple):
    """The rows of a table that belong to samples."""

    path: str
    samples: Samples
    matching: Matching


class LabelTables:
    """The tables of a configuration; without any, nothing happens.

    Args:
        data: the section `data`.
        loss: row of the losses, None without one.
        partial: whether the section lacks keys because mistakes in them are told already.

    Attributes:
        description: a sentence on what the columns of the targets hold, None without a table.
        notes: sentences on what is left out, or may be a mistake.
    """

    def __init__(self, data: Data, loss: Choice | None, *, partial: bool = False):
        self._data = data
        self._partial = partial
        self._loss = loss
        self._tables: dict[str, LabelTable] = {}
        self._parts: dict[str, dict[str, np.ndarray]] = {}
        self._matched: list[_Matched] = []
        self._uses: dict[Part, _Use] = {}
        self._columns: _Columns | None = None
        self._file_column = data.file_column
        self._numbering: set[str] = set()
        self.description: str | None = None
        self.notes: list[str] = []

    def complete_paths(self) -> Data:
        """The section with the column of the split if there is one, and the inputs of each table.

        Raises:
            DataError: a table cannot be read.
        """
        data = self._data
        if not has_table(data):
            return data
        for key in ("test", "final_test"):
            if getattr(data, f"{key}_target_path") and not getattr(data, f"{key}_input_path") and data.input_path:
                data = data.model_copy(update={f"{key}_input_path": data.input_path})
        if data.target_path and data.input_path and data.split_column is None:
            column = find_split_column(self._table(data.target_path))
            if column is not None and not any(getattr(data, key) for key in _NAMED_TESTS):
                data = data.model_copy(update={"split_column": column})
            elif column is not None:
                self.notes.append(f"column '{column}' of '{data.target_path}' is not used: other keys name the parts")
        self._data = data
        return data

    def complete_columns(self, data: Data) -> Data:
        """The section with the columns that were found, what they hold, and what separates classes."""
        found = self._columns
        if found is None:
            return data
        columns = found.targets[0] if len(found.targets) == 1 else list(found.targets)
        return data.model_copy(
            update={"target_column": columns, "target_kind": found.kind, "separator": found.separator}
        )

    def has(self, part: Part) -> bool:
        """Whether there are samples for this part, as far as a column of a table tells. Raises DataError."""
        if self._data.split_column is None or not has_table(self._data):
            return True
        return self._split(part) is not None

    def count_rows(self, part: Part) -> int:
        """How many rows the table of a part has. Raises DataError."""
        return self._table(self._path(part)).num_rows

    def label(self, samples: Samples, part: Part, classes: Sequence[str] | None) -> Samples:
        """The samples of the part that have a row, with their classes or values.

        Args:
            samples: all of a folder, or the rows of one array, which the table has in the same order.
            part: what they are for.
            classes: their names in the order of their numbers, None to find them.

        Raises:
            ConfigError: the loss takes other targets than the columns hold.
            DataError: the table has a mistake, or names none of the samples.
        """
        path = self._path(part)
        table = self._table(path)
        matching = self._match(path, samples)
        split = self._split(part)
        matching = _of_part(table, matching, split, self._data.split_column)
        kept = matching.files_with_row
        if not len(kept):
            raise table.error(f"no row for the {part} names a file of '{samples.root}'")
        columns = self._find_columns(table, matching)
        options = TargetOptions(columns.kind, classes, columns.separator)
        found = make_targets(table, matching, columns.targets, options)
        self._remember(part, path, matching, samples)
        labelled = samples if len(kept) == len(samples) else samples.only(kept.tolist())
        if found.kind == "class":
            return dataclasses.replace(labelled, labels=found.values, classes=found.names)
        if found.kind == "classes":
            return dataclasses.replace(labelled, values=found.values, classes=found.names)
        self._check_range(found.values)
        if part == "training":
            self.notes += describe_outliers(table, found.names, found.values, matching.rows[kept])
        return dataclasses.replace(labelled, values=found.values.astype(np.float32), value_names=found.names)

    def _match(self, path: str, samples: Samples) -> Matching:
        """The row of each sample; parts of one folder, which a column tells apart, are matched together."""
        for matched in self._matched:
            if matched.path == path and _are_same(matched.samples, samples):
                return matched.matching
        self._matched.append(_Matched(path, samples, self._find_rows(self._table(path), samples)))
        return self._matched[-1].matching

    def _find_rows(self, table: LabelTable, samples: Samples) -> Matching:
        place = samples.place(0)
        if place.is_row and self._data.file_column is None:
            array = f"{place.path}: {place.name}" if place.name else place.path
            given = self._data.target_column or []
            known = [given] if isinstance(given, str) else list(given)
            others = [*known, *([self._data.split_column] if self._data.split_column else [])]
            matching, self._numbering = match_in_order(table, len(samples), array, others=others)
            return matching
        matching = self._match_names(table, samples)
        self._file_column = matching.file_column
        return matching

    def _match_names(self, table: LabelTable, samples: Samples) -> Matching:
        """The row of each sample, by its name, else by that of its file if this holds no other sample."""
        try:
            return match_rows(table, Inputs(samples.root, samples.names), self._file_column)
        except DataError:
            files = [_ARRAY_OF_FILE.sub(r"\1", name) for name in samples.names]
            if files == list(samples.names) or len(set(files)) < len(files):
                raise
            return match_rows(table, Inputs(samples.root, files), self._file_column)

    def check_use(self) -> None:
        """Look at what was left over, once all parts are labelled, and forget the tables.

        Raises:
            DataError: rows name no file of any part, or files have no row, and bad samples are not to be skipped.
        """
        problems = [*self._find_unused_rows(), *self._find_files_without_row()]
        if problems and not self._data.skips:
            cure = 'Expected a row for each file. "on_bad_sample": "skip" leaves them out'
            raise DataError(*(Problem(p.where, f"{p.message}. {cure}") for p in problems))
        self.notes += [f"{problem}. They are left out" for problem in problems]
        self.notes += self._find_files_in_several()
        for kept in (self._tables, self._parts, self._matched, self._uses):
            kept.clear()

    def _path(self, part: Part) -> str:
        """The table of a part: its own, or the one of all parts."""
        path = getattr(self._data, f"{PREFIXES[part]}target_path") or self._data.target_path
        if path is None:
            raise ConfigError(Problem(f"{DATA}.target_path", "is missing: the file of the table with the targets"))
        return path

    def _table(self, path: str) -> LabelTable:
        if path not in self._tables:
            key = next(f"{prefix}target_path" for prefix in PREFIXES.values() if self._is_at(prefix, path))
            self._tables[path] = read_label_table(path, f"{DATA}.{key}")
        return self._tables[path]

    def _is_at(self, prefix: str, path: str) -> bool:
        return getattr(self._data, f"{prefix}target_path") == path

    def _split(self, part: Part) -> np.ndarray | None:
        """(num_rows,) bool, which rows are for the part; None if a column tells and there are none for it."""
        table = self._table(self._path(part))
        if self._data.split_column is None:
            return np.ones(table.num_rows, bool)
        path = self._path(part)
        if path not in self._parts:
            self._parts[path] = split_rows(table, self._data.split_column)
        parts = self._parts[path]
        if part == "training":
            return parts.get("train")
        evaluated = parts.get("validation", parts.get("test"))
        if part == "test":
            return evaluated
        return parts.get("test") if "validation" in parts else None

    def _find_columns(self, table: LabelTable, matching: Matching) -> _Columns:
        """The columns of targets and what they hold, found out with the first table."""
        if self._columns is not None:
            return self._columns
        data, given = self._data, self._data.target_column
        columns = [given] if isinstance(given, str) else given
        if columns is None:
            split = data.split_column or find_split_column(table)  # which repeats folders that tell the parts
            others = {matching.file_column, *self._numbering, *([split] if split else ())}
            with no_problems(self._partial):
                columns = choose_target_columns(table, others)
        for column in columns:
            if column in (matching.file_column, data.split_column):
                raise table.error(f"column '{column}' names {'files' if column == matching.file_column else 'parts'}")
        rows = np.concatenate([matching.rows[matching.files_with_row], matching.repeated_rows])
        decision = detect_kind(table, columns, rows, data.target_kind, separator=data.separator)
        if data.target_kind is None:
            decision = self._suit_loss(table, columns, rows, decision)
        if decision.kind != "classes" or len(columns) > 1:
            check_repeated(table, matching, columns)
        order = "" if matching.file_column else "; rows in the order of the samples"
        self.description = f"{format_path(table.path)}, {decision.reason}{order}"
        self._columns = _Columns(tuple(columns), decision.kind, decision.separator)
        return self._columns

    def _suit_loss(self, table: LabelTable, columns: Sequence[str], rows: np.ndarray, decision: Decision) -> Decision:
        """What the columns hold if the loss has a say: it takes one class, or numbers.

        Raises:
            ConfigError: it takes other targets.
        """
        if self._loss is None:
            return decision
        loss: Loss = self._loss.build()
        numbered = decision.kind == "number" and len(columns) == 1
        if loss.targets == "labels" and numbered and holds_whole_numbers(table, columns[0], rows):
            return detect_kind(table, columns, rows, "class")
        if loss.targets == "labels" and decision.kind != "class":
            losses = "BCE" if decision.kind == "classes" else "MSE, MAE or Huber"
            raise ConfigError(
                Problem(
                    f"{DATA}.target_path",
                    f"{decision.reason}, but {self._loss.name} takes one class for each sample. Expected {losses}, or "
                    '"target_kind": "class"',
                )
            )
        if loss.targets == "arrays" and not loss.binary and decision.kind != "number":
            return detect_kind(table, columns, rows, "number")
        return decision

    def _check_range(self, values: np.ndarray) -> None:
        """Raise ConfigError if the loss takes numbers from 0 to 1 only, and these are others."""
        loss: Loss | None = None if self._loss is None else self._loss.build()
        if loss is None or not loss.binary or not len(values) or (values.min() >= 0 and values.max() <= 1):
            return
        numbers = f"the table's numbers go from {values.min():.6g} to {values.max():.6g}"
        message = f"{numbers}, but {self._loss.name if self._loss else ''} takes classes, or numbers from 0 to 1"
        raise ConfigError(Problem("neural_network.loss", f"{message}. Expected MSE, MAE or Huber"))

    def _remember(self, part: Part, path: str, matching: Matching, samples: Samples) -> None:
        used = np.zeros(self._table(path).num_rows, bool)
        used[matching.rows[matching.files_with_row]] = True
        used[matching.repeated_rows] = True
        self._uses[part] = _Use(path, ~used, samples, matching.rows >= 0)

    def _find_unused_rows(self) -> list[Problem]:
        """Rows that name no file, of each table that all of its parts have been matched with."""
        problems: list[Problem] = []
        for path in dict.fromkeys(use.path for use in self._uses.values()):
            table = self._table(path)
            unused = np.logical_and.reduce([use.unused for use in self._uses.values() if use.path == path])
            rows = np.flatnonzero(unused)
            if len(rows):
                first = f"the first is {table.short_row_name(int(rows[0]))}"
                count = "1 row names" if len(rows) == 1 else f"{len(rows):,} rows name"
                problems.append(Problem(table.file_name, f"{count} no file that is used; {first}"))
        return problems

    def _find_files_without_row(self) -> list[Problem]:
        """Files that no part has a row for; each folder's are told of once, with the key that names it first."""
        problems: list[Problem] = []
        uses = list(self._uses.items())
        for number, (part, use) in enumerate(uses):
            if any(use.shares_files(earlier) for _, earlier in uses[:number]):
                continue
            has_row = np.logical_or.reduce([other.has_row for _, other in uses if use.shares_files(other)])
            missing = np.flatnonzero(~has_row)
            if len(missing):
                shown = quote_some([use.samples.name(i) for i in missing[:3]])
                count = "1 file" if len(missing) == 1 else f"{len(missing):,} files"
                has = "has" if len(missing) == 1 else "have"
                what = f"{count} of '{use.samples.root}' {has} no row in the table: {shown}"
                more = ", ..." if len(missing) > 3 else ""
                problems.append(Problem(f"{DATA}.{PREFIXES[part]}input_path", f"{what}{more}"))
        return problems

    def _find_files_in_several(self) -> list[str]:
        """A sentence on files that are in training and in a test, None if there are none."""
        training = self._uses.get("training")
        notes: list[str] = []
        for part, use in self._uses.items():
            if training is None or part == "training" or not training.shares_files(use):
                continue
            both = np.flatnonzero(training.has_row & use.has_row)
            if len(both) and not (part == "test" and self._data.test_share is not None):
                shown = quote_some([use.samples.name(i) for i in both[:3]])
                count = "1 file is" if len(both) == 1 else f"{len(both):,} files are"
                notes.append(f"{count} in the training and in the {part}: {shown}{', ...' * (len(both) > 3)}")
        return notes


def _are_same(some: Samples, others: Samples) -> bool:
    """Whether these are the samples of the same files."""
    return some.root == others.root and len(some) == len(others) and some.names == others.names


def _of_part(table: LabelTable, matching: Matching, split: np.ndarray | None, column: str | None) -> Matching:
    """Only the rows of one part. Raises DataError if rows of one file are for different parts."""
    if split is None or column is None:
        return matching
    check_repeated(table, matching, [column])
    rows = np.where((matching.rows >= 0) & split[matching.rows], matching.rows, -1)
    kept = split[matching.repeated_rows]
    repeated = {"repeated_rows": matching.repeated_rows[kept], "repeated_files": matching.repeated_files[kept]}
    return dataclasses.replace(matching, rows=rows, **repeated)
