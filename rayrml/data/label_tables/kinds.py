"""What the columns of a label table hold: classes, several classes a file, or numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from rayrml.data.discovery import quote_some
from rayrml.data.label_tables.classes import flags_of, sort_naturally
from rayrml.data.label_tables.column_values import Encoded, encode, encode_text
from rayrml.data.label_tables.numbers import as_numbers, why_unclear
from rayrml.data.label_tables.parquet_reading import is_list
from rayrml.data.label_tables.table import LabelTable, pc

Kind = Literal["class", "classes", "number"]
_CLEAR, _UNCLEAR = (";", "|"), (",", " ")  # separators that names of classes never contain, and those that they may
_MOST_CLASSES = 20  # of whole numbers that are classes
_RARE = 0.01  # of the rows
_MOST_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Decision:
    """What the target columns hold.

    Attributes:
        kind: `class` if each file has one class, `classes` if any number of them, `number` if one or more numbers.
        reason: a sentence for people that says why.
        separator: what separates classes in one column, None if nothing does.
    """

    kind: Kind
    reason: str
    separator: str | None = None


def choose_target_columns(table: LabelTable, others: Collection[str]) -> list[str]:
    """The columns of targets: the only one besides `others`, or all of them if they hold 0 and 1 alone.

    Raises:
        DataError: there is none, or it is not clear which.
    """
    columns = [name for name in table.columns if name not in others]
    if not columns:
        skipped = f" and those without text or numbers, {quote_some(table.skipped)}" if table.skipped else ""
        raise table.error(f"has no column besides those of files and splits{skipped}. Expected a column of targets")
    if len(columns) == 1 or all(_holds_flags(table, column) for column in columns):
        return columns
    message = f"has several columns that may be targets: {quote_some(columns)}"
    raise table.error(f"{message}. Expected target_column (`rayrml new --columns`) to be some of them")


def detect_kind(
    table: LabelTable,
    columns: Sequence[str],
    rows: np.ndarray,
    expected: Kind | None = None,
    *,
    separator: str | None = None,
) -> Decision:
    """What the columns hold in these rows.

    Args:
        table: the table.
        columns: the target columns.
        rows: int64, the rows that label files.
        expected: the kind if it is known.
        separator: what separates classes if it is known.

    Raises:
        DataError: the columns hold nothing, or some rows text and others numbers.
    """
    if expected is not None:
        if expected == "classes" and len(columns) == 1:
            separator = separator or find_separator(table, columns[0], rows)
        divided = f", with {_shown(separator)} between them" if separator is not None else ""
        return Decision(expected, f"{_name(columns)}: {expected}, as configured{divided}", separator)
    if len(columns) > 1:
        return _detect_several(table, columns, rows)
    column = columns[0]
    if is_list(table.column(column).type):
        if pa.types.is_integer(table.column(column).type.value_type):
            message = f"column '{column}' holds lists of numbers"
            raise table.error(f"{message}. Expected the kind 'classes' if they are classes, else one column for each")
        return Decision("classes", f"{_name(columns)}: several classes for each file, as lists")
    encoded = encode(table, column).at(rows)
    _refuse_empty(table, column, encoded)
    numbers = as_numbers(encoded.words, table.delimiter)
    if numbers is not None:
        return _detect_numbers(table, column, encoded, numbers)
    _refuse_mixed(table, column, encoded, rows)
    if separator is None and (separator := _find_separator(encoded)) is not None:
        _refuse_rare(table, column, (encoded, rows), separator)
    if separator is not None:
        return Decision("classes", _why_classes(column, encoded, separator), separator)
    return Decision("class", _why_class(column, encoded))


def find_separator(table: LabelTable, column: str, rows: np.ndarray) -> str | None:
    """What separates several classes in the values of a column: `;`, `|`, `,` or a space; None if nothing does."""
    if is_list(table.column(column).type):
        return None
    encoded = encode(table, column).at(rows)
    return _find_separator(encoded) or ("," if _contains(encoded, ",") else None)


def _detect_several(table: LabelTable, columns: Sequence[str], rows: np.ndarray) -> Decision:
    encoded = {column: encode(table, column).at(rows) for column in columns}
    for column in columns:
        _refuse_empty(table, column, encoded[column])
    flags = {column: flags_of(e.words) for column, e in encoded.items()}
    if all((values >= 0).all() for values in flags.values()):
        sums = sum(np.append(values, 0)[encoded[column].codes] for column, values in flags.items())
        one = ", one of them in each row: kind 'class' is possible too" if np.all(sums == 1) else ""
        return Decision("classes", f"{_name(columns)}: classes, because all hold 0 and 1 alone{one}")
    for column in columns:
        if as_numbers(encoded[column].words, table.delimiter) is None:
            word = next(w.as_py() for w in encoded[column].words if as_numbers(pa.array([w]), table.delimiter) is None)
            row = int(rows[encoded[column].first_row(pc.index(encoded[column].words, word).as_py())])
            message = f"column '{column}' holds '{word[:60]}', which is not a number"
            raise table.row_error(row, f"{message}. Expected numbers in several target columns, or one column")
    return Decision("number", f"{_name(columns)}: {len(columns)} numbers for each file")


def _refuse_empty(table: LabelTable, column: str, encoded: Encoded) -> None:
    if not len(encoded.words):
        raise table.error(f"column '{column}' is empty in all rows that label files. Expected targets")


def _detect_numbers(table: LabelTable, column: str, encoded: Encoded, numbers: np.ndarray) -> Decision:
    words = encoded.words
    is_padded = pc.any(pc.match_substring_regex(words, r"^0\d")).as_py()
    has_points = pa.types.is_floating(table.column(column).type) or (
        pc.any(pc.match_substring_regex(words, r"[.,eE]")).as_py()
    )
    whole = not has_points and bool((numbers == np.trunc(numbers)).all())
    if is_padded and whole:
        return Decision("class", f"{_why_class(column, encoded)}, because numbers with leading zeros are names")
    if len(words) > 1 and (flags_of(words) >= 0).all():
        return Decision("class", f"column '{column}': 2 classes, because it holds 0 and 1 alone")
    if whole and len(words) <= _MOST_CLASSES and encoded.counts().min() >= 2:
        why = f"because whole numbers that repeat are classes: {_listed(sort_naturally(words.to_pylist()))}"
        return Decision("class", f"column '{column}': {len(words)} classes, {why}")
    return Decision("number", f"column '{column}': numbers from {numbers.min():.8g} to {numbers.max():.8g}")


def _refuse_mixed(table: LabelTable, column: str, encoded: Encoded, rows: np.ndarray) -> None:
    """Raise DataError if most rows hold numbers, but not all."""
    numeric = pc.match_substring_regex(encoded.words, r"^[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?$")
    numeric = numeric.to_numpy(zero_copy_only=False)
    counts = encoded.counts()
    if 2 * counts[numeric].sum() <= counts.sum():
        return
    if numeric.all():
        code, cure = pc.index(pc.match_substring(encoded.words, ","), True).as_py(), "Expected decimal points"
        what = f": {why_unclear(encoded.words, table.delimiter)}"
    else:
        code, cure = int(np.argmin(numeric)), "Expected numbers alone, or the kind 'class'"
        what = ", but numbers in most other rows"
    row = int(rows[encoded.first_row(code)])
    raise table.row_error(row, f"column '{column}' holds '{table.value(column, row)}'{what}. {cure}")


def _refuse_rare(table: LabelTable, column: str, found: tuple[Encoded, np.ndarray], separator: str) -> None:
    """Raise DataError if so few rows have several classes that it may be a mistake."""
    encoded, rows = found
    several = pc.match_substring(encoded.words, separator).to_numpy(zero_copy_only=False)
    counts = encoded.counts()
    if counts[several].sum() < _RARE * counts.sum():
        row = int(rows[encoded.first_row(int(np.argmax(several)))])
        message = f"column '{column}' holds '{table.value(column, row)}', but one class in nearly all other rows"
        raise table.row_error(row, f"{message}. Expected one class, or the kind to be configured")


def _find_separator(encoded: Encoded) -> str | None:
    for separator in _CLEAR:
        if _contains(encoded, separator):
            return separator
    return next((separator for separator in _UNCLEAR if _repeats_parts(encoded.words, separator)), None)


def _contains(encoded: Encoded, separator: str) -> bool:
    return bool(pc.any(pc.match_substring(encoded.words, separator)).as_py())


def _repeats_parts(words: pa.Array, separator: str) -> bool:
    """Whether a separator divides words into parts that return in other words, and into differing numbers of parts.

    `red car` and `blue car` are two names; `clear water`, `clear` and `clear road water` are lists.
    """
    if not len(words):
        return False
    lists = pc.split_pattern(words, separator)
    lengths = pc.list_value_length(lists).to_numpy()
    if lengths.max() < 2 or lengths.min() == lengths.max():
        return False
    parts = encode_text(lists.flatten())
    counts = parts.counts()
    if len(counts) >= len(words) and separator == " ":
        return False
    share = 0.9 if separator == " " else 0.5
    return bool((counts >= 2).sum() >= share * len(counts))


def _holds_flags(table: LabelTable, column: str) -> bool:
    if is_list(table.column(column).type):
        return False
    words = encode(table, column).words
    return len(words) > 0 and bool((flags_of(words) >= 0).all())


def _why_class(column: str, encoded: Encoded) -> str:
    names = encoded.words[: _MOST_CLASSES * 10].to_pylist()
    return f"column '{column}': {len(encoded.words)} classes, {_listed(sort_naturally(names))}"


def _why_classes(column: str, encoded: Encoded, separator: str) -> str:
    code = pc.index(pc.match_substring(encoded.words, separator), True).as_py()
    example = f", such as '{encoded.words[code].as_py()[:60]}'" if code >= 0 else ""
    why = f"because {_shown(separator)} separates names that repeat{example}"
    return f"column '{column}': several classes for each file, {why}"


def _shown(separator: str) -> str:
    return "a space" if separator == " " else f"'{separator}'"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:30] for name in names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")


def _name(columns: Sequence[str]) -> str:
    if len(columns) == 1:
        return f"column '{columns[0]}'"
    return f"columns {quote_some(columns, _MOST_SHOWN)}"
