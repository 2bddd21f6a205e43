"""Targets of files, made of the columns of a label table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from rayrml.data.label_tables.classes import Rows, class_sets, class_targets, columns_of_flags, one_of_columns
from rayrml.data.label_tables.kinds import Decision, Kind, detect_kind
from rayrml.data.label_tables.matching import Matching, check_repeated
from rayrml.data.label_tables.numbers import number_targets
from rayrml.data.label_tables.table import LabelTable


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """What is known of the targets of a table.

    Attributes:
        kind: `class`, `classes` or `number`; None to find it.
        class_names: the classes in the order of their numbers, None to find them in the rows for training.
        separator: what separates several classes in one column, None to find it.
        training_rows: (num_rows of the table,) bool, the rows that are used for training; None for all.
    """

    kind: Kind | None = None
    class_names: Sequence[str] | None = None
    separator: str | None = None
    training_rows: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class TableTargets:
    """Targets of all files that have a row, in the order of the files.

    Attributes:
        kind: `class`: one class for each file; `classes`: any number of them; `number`: one or more numbers.
        values: (N,) int64 of a class; (N, K) uint8 of K classes, 1 for those that a file has; (N, K) float32 or
            float64 of K numbers.
        names: the names of the classes, or the columns of the numbers.
        separator: what separates classes in one column, None if nothing does.
        reason: a sentence for people that says what the columns hold, and why.
    """

    kind: Kind
    values: np.ndarray
    names: tuple[str, ...]
    separator: str | None
    reason: str


def make_targets(
    table: LabelTable, matching: Matching, columns: Sequence[str], options: TargetOptions | None = None
) -> TableTargets:
    """The targets of all files that have a row.

    Several rows of one file must have equal targets, unless `kind` is `classes` and there is one column: then the file
    has the classes of all its rows.

    Raises:
        DataError: a value is missing, or cannot be a target of the kind; the message names its row.
    """
    options = TargetOptions() if options is None else options
    lists_rows = options.kind == "classes" and len(columns) == 1
    if not lists_rows:
        check_repeated(table, matching, columns)
    rows = matching.rows[matching.files_with_row]
    used = np.concatenate([rows, matching.repeated_rows]) if lists_rows and len(matching.repeated_rows) else rows
    decision = detect_kind(table, columns, used, options.kind, separator=options.separator)
    training = np.ones(len(used), bool) if options.training_rows is None else options.training_rows[used]
    values, names = _values(table, columns, Rows(used, training, options.class_names), decision)
    if len(used) > len(rows):
        position = np.cumsum(matching.rows >= 0) - 1
        values = _united(values, len(rows), position[matching.repeated_files])
    return TableTargets(decision.kind, values, names, decision.separator, decision.reason)


def _values(
    table: LabelTable, columns: Sequence[str], rows: Rows, decision: Decision
) -> tuple[np.ndarray, tuple[str, ...]]:
    if decision.kind == "number":
        if rows.class_names is not None:
            raise table.error(f"{decision.reason}, but class names are given. Expected classes, or no class names")
        return number_targets(table, list(columns), rows.used), tuple(columns)
    if decision.kind == "class":
        if len(columns) > 1:
            return one_of_columns(table, columns, rows)
        return class_targets(table, columns[0], rows)
    if len(columns) > 1:
        return columns_of_flags(table, columns, rows)
    return class_sets(table, columns[0], rows, decision.separator)


def _united(sets: np.ndarray, num_files: int, files: np.ndarray) -> np.ndarray:
    """(num_files, K): the first sets, each with those further ones that belong to the same of `files`."""
    order = np.argsort(files, kind="stable")
    starts = np.flatnonzero(np.diff(files[order], prepend=-1))
    further = np.maximum.reduceat(sets[num_files:][order], starts, axis=0)
    united = sets[:num_files]
    united[files[order][starts]] |= further
    return united
