"""Labels of files from a table: reading it, finding each file's row, and making targets of its columns.

It reads CSV, JSON and Parquet, and works on whole columns by Arrow and numpy: no step is a loop over rows, except to
explain a mistake. What images or arrays are in the files, and how they are read, is no concern of it.
"""

from rayrml.data.label_tables.kinds import Decision, Kind, choose_target_columns, detect_kind
from rayrml.data.label_tables.matching import Inputs, Matching, check_repeated, choose_file_column, match_rows
from rayrml.data.label_tables.outliers import describe_outliers
from rayrml.data.label_tables.reading import read_label_table
from rayrml.data.label_tables.row_order import match_in_order
from rayrml.data.label_tables.splits import find_split_column, split_rows
from rayrml.data.label_tables.table import LabelTable
from rayrml.data.label_tables.targets import TableTargets, TargetOptions, make_targets
from rayrml.data.label_tables.whole_numbers import holds_whole_numbers

__all__ = [
    "Decision",
    "Inputs",
    "Kind",
    "LabelTable",
    "Matching",
    "TableTargets",
    "TargetOptions",
    "check_repeated",
    "choose_file_column",
    "choose_target_columns",
    "describe_outliers",
    "detect_kind",
    "find_split_column",
    "holds_whole_numbers",
    "make_targets",
    "match_in_order",
    "match_rows",
    "read_label_table",
    "split_rows",
]
