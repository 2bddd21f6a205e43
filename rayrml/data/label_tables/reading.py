"""Label tables from files: CSV, JSON and Parquet."""

from __future__ import annotations

import re

from rayrml import storage
from rayrml.data.label_tables.csv_reading import read_csv
from rayrml.data.label_tables.json_reading import read_json
from rayrml.data.label_tables.parquet_reading import read_parquet
from rayrml.data.label_tables.table import LabelTable
from rayrml.errors import DataError, Problem, explaining

_READERS = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_csv),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), read_json),
    ".parquet": read_parquet,
}
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")


def read_label_table(path: str, where: str) -> LabelTable:
    """The table in a file; its name's ending says what it is. Text files may be compressed: `labels.csv.gz`.

    Args:
        path: path or URI of the file.
        where: JSON path of the key that names it, for messages about a file that is missing.

    Raises:
        DataError: the file is missing, is not a table, or has a mistake; the message names its line.
    """
    name = storage.split(path)[1].lower()
    ending = re.sub(r".*?(\.[^.]*)?$", r"\1", name.removesuffix(".gz"))
    if ending not in _READERS or (ending == ".parquet" and name.endswith(".gz")):
        cure = "Save the table as CSV" if ending in _SPREADSHEETS else f"Expected one of {', '.join(_READERS)}"
        raise DataError(Problem(where, f"'{path}' is not a table that can be read. {cure}"))
    with explaining(where, f"cannot read '{path}'"):
        if storage.is_folder(path):
            raise DataError(Problem(where, f"'{path}' is a folder. Expected a file with a table"))
        if not storage.is_file(path):
            raise DataError(Problem(where, f"no such file: '{path}'"))
    table = _READERS[ending](path)
    if not table.num_rows:
        raise table.error("has no rows. Expected one row for each file")
    return table
