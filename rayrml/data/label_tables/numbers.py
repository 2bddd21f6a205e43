"""Columns of numbers, as people write them."""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa

from rayrml.data.label_tables.column_values import as_text
from rayrml.data.label_tables.table import LabelTable, pc
from rayrml.errors import DataError

_COMMA = r"^[+-]?\d*,\d+([eE][+-]?\d+)?$"
_GROUP = r"^[+-]?[1-9]\d{0,2},\d{3}$"  # 1,234 may be one thousand
_GROUPED = re.compile(r"[+-]?\d{1,3}([,.' \u00a0\u202f]\d{3})+([.,]\d+)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MIXED = "some numbers of the column have a comma, others a point"
_UNCLEAR = "its comma may separate thousands or decimals"
_EXACT = 2**24  # up to here, 32-bit floats hold all whole numbers
_COARSE = 0.05  # of the deviation: what rounding may change
_LARGEST = float(np.finfo(np.float32).max)


def number_targets(table: LabelTable, columns: list[str], rows: np.ndarray) -> np.ndarray:
    """(len(rows), len(columns)) float32; float64 if whole numbers would be rounded otherwise.

    Raises:
        DataError: a value is missing, not a number, or not finite, or 32-bit floats cannot tell the values apart.
    """
    values = np.empty((len(rows), len(columns)), np.float32)
    for i, column in enumerate(columns):
        numbers = _read_numbers(table, column, rows)
        _check_rounding(table, column, numbers)
        if values.dtype == np.float32 and _is_rounded(numbers):
            values = values.astype(np.float64)
        values[:, i] = numbers
    return values


def as_numbers(words: pa.Array, delimiter: str | None) -> np.ndarray | None:
    """Different values of a column as float64, None unless all are numbers."""
    try:
        return _parse(words, delimiter)
    except ValueError:
        return None


def why_unclear(words: pa.Array, delimiter: str | None) -> str:
    """Why words that look like numbers with commas are not clear."""
    try:
        _parse(words, delimiter)
    except pa.ArrowInvalid:
        return "commas are decimal only where semicolons or tabs separate the columns"
    except ValueError as error:
        return str(error)
    return ""


def _read_numbers(table: LabelTable, column: str, rows: np.ndarray) -> np.ndarray:
    kind = table.column(column).type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        taken = table.column(column).take(pa.array(rows)).combine_chunks()
        if taken.null_count:
            raise _missing(table, column, int(rows[pc.index(pc.is_null(taken), True).as_py()]))
        numbers = taken.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        words = None
    else:
        words = pc.utf8_trim_whitespace(as_text(table, column, rows).combine_chunks())
        empty = pc.index(pc.or_kleene(pc.is_null(words), pc.equal(words, "")), True).as_py()
        if empty >= 0:
            raise _missing(table, column, int(rows[empty]))
        try:
            numbers = _parse(words, table.delimiter)
        except ValueError as error:
            raise _explained(table, column, (rows, words), str(error)) from None
    bad = ~(np.abs(numbers) <= _LARGEST)
    if bad.any():
        row = int(rows[np.argmax(bad)])
        message = f"column '{column}' holds {table.value(column, row)}. Expected a finite number"
        raise table.row_error(row, f"{message} up to {_LARGEST:.3g}")
    return numbers


def _parse(words: pa.Array, delimiter: str | None) -> np.ndarray:
    """Text as float64, with a decimal comma where semicolons or tabs separate columns. Raises ValueError."""
    if delimiter in (";", "\t") and pc.any(pc.match_substring(words, ",")).as_py():
        commas = pc.match_substring(words, ",")
        if not pc.all(pc.if_else(commas, pc.match_substring_regex(words, _COMMA), True)).as_py():
            raise ValueError("not all values of the column are numbers")
        if pc.any(pc.match_substring(words, ".")).as_py():
            raise ValueError(_MIXED)
        if pc.all(pc.if_else(commas, pc.match_substring_regex(words, _GROUP), True)).as_py():
            raise ValueError(_UNCLEAR)
        words = pc.replace_substring(words, ",", ".")
    return words.cast(pa.float64()).to_numpy(zero_copy_only=False)  # ArrowInvalid is a ValueError


def _check_rounding(table: LabelTable, column: str, numbers: np.ndarray) -> None:
    """Raise DataError if networks, which compute with 32-bit floats, cannot tell the numbers of a column apart."""
    rounded = numbers.astype(np.float32)
    if len(numbers) < 2 or np.abs(rounded - numbers).max() <= _COARSE * numbers.std():
        return
    num_values, num_left = len(np.unique(numbers)), len(np.unique(rounded))
    if 2 * num_left <= num_values:
        message = f"column '{column}' goes from {numbers.min():.12g} to {numbers.max():.12g}: 32-bit floats tell apart"
        cure = f"Subtract a constant such as {numbers.min():.12g} from the column"
        raise table.error(f"{message} {num_left} of its {num_values} different values. {cure}")


def _is_rounded(numbers: np.ndarray) -> bool:
    """Whether whole numbers are too large for 32-bit floats."""
    if not len(numbers) or np.abs(numbers).max() <= _EXACT:
        return False
    return bool((numbers == np.trunc(numbers)).all() and (numbers.astype(np.float32) != numbers).any())


def _missing(table: LabelTable, column: str, row: int) -> DataError:
    return table.row_error(row, f"column '{column}' is empty. Expected a number, or no such row")


def _explained(table: LabelTable, column: str, values: tuple[np.ndarray, pa.Array], reason: str) -> DataError:
    """The first value that is not a number; `reason` says what is wrong with all of them, if anything."""
    rows, words = values
    decimal_comma = table.delimiter in (";", "\t")
    about_all = reason in (_MIXED, _UNCLEAR)
    for row, word in zip(rows, words.to_pylist(), strict=True):
        if about_all and "," in word:
            message = f"column '{column}' holds '{word[:60]}': {reason}. Expected decimal points in all numbers"
            return table.row_error(row, message)
        number = word.replace(",", ".") if decimal_comma and word.count(",") == 1 else word
        if not about_all and not _NUMBER.fullmatch(number) and not _is_special(number):
            return table.row_error(row, f"column '{column}' holds '{word[:60]}'. {_cure(word)}")
    return table.error(f"column '{column}' holds values that are not numbers. Expected numbers")


def _cure(word: str) -> str:
    if _GROUPED.fullmatch(word):
        return "Expected a number without separators of thousands"
    if re.fullmatch(_COMMA, word):
        return "Expected a decimal point; commas are decimal where semicolons separate the columns"
    return "Expected a number"


def _is_special(word: str) -> bool:
    """Whether text is `inf` or `nan`, which are numbers for the parser."""
    try:
        return not math.isfinite(float(word))
    except ValueError:
        return False
