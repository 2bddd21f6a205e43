"""Columns of classes: one for each file, or several."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from rayrml.data.discovery import quote_some
from rayrml.data.label_tables.column_values import encode, encode_text
from rayrml.data.label_tables.parquet_reading import is_list
from rayrml.data.label_tables.table import LabelTable, pc

_MOST_CLASSES = 10_000
_FEW_ROWS = 20  # so few files may each have a class of their own
_FALSE, _TRUE = ("0", "false", "no", "0.0"), ("1", "true", "yes", "1.0")


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a table that label files.

    Attributes:
        used: (N,) int64, rows of the table.
        training: (N,) bool, which of them are used for training.
        class_names: the classes if they are given, None to find them in the rows for training.
    """

    used: np.ndarray
    training: np.ndarray
    class_names: Sequence[str] | None = None


def class_targets(table: LabelTable, column: str, rows: Rows) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N,) int64, the class of each row, and the names of the classes: numbers in order, else by alphabet.

    Raises:
        DataError: a row has no class, or one that is unknown; or the values are no classes.
    """
    encoded = encode(table, column).at(rows.used)
    _check_present(table, column, encoded.codes, rows)
    in_training = encoded.codes[rows.training]
    names = _class_names(table, column, (encoded.words, np.bincount(in_training, minlength=len(encoded.words))), rows)
    if len(names) == 1:
        raise table.error(f"column '{column}' has one class alone, '{names[0]}'. Expected at least two")
    numbers = _numbers_of(encoded.words, names)
    unknown = np.flatnonzero(numbers[encoded.codes] < 0)
    if len(unknown):
        word = encoded.words[int(encoded.codes[unknown[0]])].as_py()
        raise table.row_error(int(rows.used[unknown[0]]), _unknown(column, word, names, rows))
    return numbers[encoded.codes], names


def one_of_columns(table: LabelTable, columns: Sequence[str], rows: Rows) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N,) int64, the column that holds 1 in each row. Raises DataError unless it is one column in each row."""
    values, names = columns_of_flags(table, columns, rows)
    wrong = np.flatnonzero(values.sum(axis=1, dtype=np.int64) != 1)
    if len(wrong):
        count = int(values[wrong[0]].sum())
        message = f"{count} of the columns {quote_some(columns, 5)} are 1. Expected one, as each file has one class"
        raise table.row_error(int(rows.used[wrong[0]]), message)
    return values.argmax(axis=1), names


def columns_of_flags(table: LabelTable, columns: Sequence[str], rows: Rows) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N, K) uint8 of K columns that hold 0 or 1, true or false, yes or no; and the columns.

    Raises:
        DataError: a value is another one or missing, or `class_names` are not the columns.
    """
    names = tuple(columns) if rows.class_names is None else tuple(map(str, rows.class_names))
    if set(names) != set(columns) or len(names) != len(columns):
        raise table.error(f"class names are {quote_some(names)}, but columns {quote_some(columns)}. Expected the same")
    values = np.empty((len(rows.used), len(columns)), np.uint8)
    for i, column in enumerate(names):
        encoded = encode(table, column).at(rows.used)
        _check_present(table, column, encoded.codes, rows)
        flags = flags_of(encoded.words)
        if (flags < 0).any():
            at = int(np.argmax(flags[encoded.codes] < 0))
            row = int(rows.used[at])
            raise table.row_error(row, f"column '{column}' holds '{table.value(column, row)}'. Expected 0 or 1")
        values[:, i] = flags[encoded.codes]
    return values, names


def flags_of(words: pa.Array) -> np.ndarray:
    """int8 of different values of a column: 0 or 1, and -1 for anything else."""
    lower = pc.utf8_lower(words)
    is_true, is_false = (pc.is_in(lower, pa.array(kind, lower.type)).to_numpy(False) for kind in (_TRUE, _FALSE))
    return np.where(is_true, 1, np.where(is_false, 0, -1)).astype(np.int8)


def class_sets(table: LabelTable, column: str, rows: Rows, separator: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N, K) uint8, which of K classes each row has, and their names. An empty value has none.

    Args:
        table: the table.
        column: the column, of text or lists.
        rows: the rows.
        separator: what separates the classes in one value; None if a value is one class, or a list of them.

    Raises:
        DataError: a class is unknown, or the values are no classes.
    """
    codes, lists = _lists_of_classes(table, column, rows.used, separator)
    parts = encode_text(lists.flatten())
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    filled = parts.codes >= 0
    numbers, parents = parts.codes[filled], parents[filled]
    uses = np.bincount(codes[rows.training & (codes >= 0)], minlength=len(lists))
    counts = np.bincount(numbers, weights=uses[parents], minlength=len(parts.words)).astype(np.int64)
    names = _class_names(table, column, (parts.words, counts), rows)
    numbers = _numbers_of(parts.words, names)[numbers]
    if (numbers < 0).any():
        lost = np.zeros(len(lists) + 1, bool)
        lost[parents[numbers < 0]] = True
        at = int(np.argmax(lost[codes]))
        known = set(names)
        word = next(w.strip() for w in lists[int(codes[at])].as_py() if w and w.strip() and w.strip() not in known)
        raise table.row_error(int(rows.used[at]), _unknown(column, word, names, rows))
    table_of_sets = np.zeros((len(lists) + 1, len(names)), np.uint8)  # the last one is of rows without a class
    table_of_sets[parents, numbers] = 1
    return table_of_sets[codes], names


def _lists_of_classes(
    table: LabelTable, column: str, used: np.ndarray, separator: str | None
) -> tuple[np.ndarray, pa.Array]:
    """(N,) int: the list of each row, -1 if it has none; and the lists of words."""
    values = table.column(column)
    if is_list(values.type):
        lists = values.take(pa.array(used)).combine_chunks()
        lists = lists.cast(pa.list_(pa.string()))
        return np.arange(len(lists)), lists
    encoded = encode(table, column).at(used)
    bracket = pc.index(pc.match_substring_regex(encoded.words, r"^[\[{(].*[\]})]$"), True).as_py()
    if bracket >= 0:
        row = int(used[encoded.first_row(bracket)])
        message = f"column '{column}' holds a list in brackets, '{table.value(column, row)}'"
        raise table.row_error(row, f"{message}. Expected classes with a separator, such as cat;dog")
    if separator is None:
        return encoded.codes, pa.ListArray.from_arrays(np.arange(len(encoded.words) + 1, dtype=np.int32), encoded.words)
    return encoded.codes, pc.split_pattern(encoded.words, separator)


def _check_present(table: LabelTable, column: str, codes: np.ndarray, rows: Rows) -> None:
    missing = codes < 0
    if missing.any():
        row = int(rows.used[np.argmax(missing)])
        raise table.row_error(row, f"column '{column}' is empty. Expected a value, or no such row")


def _class_names(table: LabelTable, column: str, found: tuple[pa.Array, np.ndarray], rows: Rows) -> tuple[str, ...]:
    """The given classes, else those of the words that occur in rows for training, sorted."""
    if rows.class_names is not None:
        names = tuple(str(name).strip() for name in rows.class_names)
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise table.error(f"class names hold {quote_some(twice)} several times. Expected different names")
        return names
    words, counts = found
    used = np.flatnonzero(counts)
    num_rows = int(rows.training.sum())
    if not len(used):
        raise table.error(f"column '{column}' has no class in {num_rows} rows for training. Expected some")
    if (2 * len(used) > num_rows > _FEW_ROWS) or len(used) > _MOST_CLASSES:
        some = quote_some(words.take(pa.array(used[:3])).to_pylist())
        message = f"column '{column}' has {len(used)} different values in {num_rows} rows, such as {some}"
        every = "every file has its own class" if len(used) == num_rows else "that is too many classes"
        raise table.error(f"{message}: {every}. Expected a column of classes")
    names = words.take(pa.array(used)).to_pylist()
    _check_alike(table, column, dict(zip(names, counts[used].tolist(), strict=True)))
    return tuple(sort_naturally(names))


def _check_alike(table: LabelTable, column: str, counts: dict[str, int]) -> None:
    """Raise DataError if two classes are the same number, or differ in case alone."""
    seen: dict[str | float, str] = {}
    for name, count in counts.items():
        other = seen.setdefault(_meaning(name), name)
        if other != name:
            pair = f"'{other}' ({counts[other]} rows) and '{name}' ({count} rows)"
            how = "upper and lower case" if isinstance(_meaning(name), str) else "how the number is written"
            raise table.error(f"column '{column}' has the classes {pair}, which differ in {how}. Expected one of them")


def _meaning(name: str) -> str | float:
    return float(name) if re.fullmatch(r"[+-]?\d+(\.\d*)?", name) else name.casefold()


def _numbers_of(words: pa.Array, names: Sequence[str]) -> np.ndarray:
    """int64, the number of each word among the names; -1 if it is not among them."""
    found = pc.index_in(words, value_set=pa.array(names, words.type)).fill_null(-1)
    return found.to_numpy(zero_copy_only=False).astype(np.int64)


def _unknown(column: str, word: str, names: Sequence[str], rows: Rows) -> str:
    like = [name for name in names if name.casefold() == word.casefold()]
    cure = f"Did you mean '{like[0]}'?" if like else f"Expected one of {quote_some(names)}"
    known = "the known classes" if rows.class_names is not None else "the classes of the rows for training"
    return f"column '{column}' holds '{word[:60]}', which is none of {known}. {cure}"


def sort_naturally(names: Sequence[str]) -> list[str]:
    """Names in the order in which people sort them: 2 before 10, a2 before a10, and upper like lower case."""
    if all(re.fullmatch(r"[+-]?\d+(\.\d*)?", name) for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names, key=lambda name: (_natural(name), name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name.casefold())
    digits = {part: part.lstrip("0") for part in parts if part.isdecimal()}
    return [(0, len(digits[part]), digits[part]) if part in digits else (1, 0, part) for part in parts if part]
