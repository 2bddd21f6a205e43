import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL")
# Few characters, so that those with a meaning meet each other often.
FIELDS = st.text(st.sampled_from('ab",;\t\n é"0.'), max_size=8)
SAME_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


@SAME_FIXTURE
@given(
    rows=st.lists(st.tuples(FIELDS, FIELDS, FIELDS), min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    blank=st.lists(st.integers(0, 2), min_size=12, max_size=12),
)
def test_fields_and_line_numbers_are_those_that_were_written(read, rows, delimiter, quoting, line_end, blank):
    text, lines = io.StringIO(), []
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerow(["file", "label", "more"])
    for row, empty in zip(rows, blank, strict=False):
        text.write("\n" * empty)
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    written = [([None if v in MISSING else v for v in row], n) for row, n in zip(rows, lines, strict=True)]
    written = [(row, n) for row, n in written if any(v is not None for v in row)]
    if written:
        table = read(text.getvalue().replace("\n", line_end))
        columns = [column.to_pylist() for column in table.columns.values()]
        assert [list(row) for row in zip(*columns, strict=True)] == [row for row, _ in written]
        assert [table.row_name(i) for i in range(table.num_rows)] == [f"labels.csv, line {n}" for _, n in written]
        assert table.delimiter == delimiter


@SAME_FIXTURE
@given(text=st.text(st.sampled_from('a",\n;'), max_size=30))
def test_any_text_is_read_as_strict_csv_or_refused_with_one_line(read, text):
    from rayrml.errors import DataError

    content = f"file,label\n{text}"
    try:
        table = read(content)
    except DataError as error:
        assert "\n" not in str(error)
        return
    strict = csv.reader(io.StringIO(content, newline=""), strict=True)
    rows = [[v or None for v in row] for row in strict if any(row)][1:]
    assert [list(row) for row in zip(*(c.to_pylist() for c in table.columns.values()), strict=True)] == rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found_though_others_are_in_the_fields(read, delimiter):
    fields = [["file", "tags", "x"], ["a.jpg", "p q", "1"], ["b.jpg", "r", "2"]]
    text = "\n".join(delimiter.join(row) for row in fields).replace("p q", "p|q" if delimiter == "," else "p,q")
    assert read(text).delimiter == delimiter
    assert list(read(text).columns) == ["file", "tags", "x"]


def test_decimal_commas_and_lists_do_not_hide_the_delimiter(read):
    assert read("file;x;y\na;1,5;2,5\nb;3;4\n").columns["x"].to_pylist() == ["1,5", "3"]
    assert read("file,tags\na,x;y\nb,y;z\n").columns["tags"].to_pylist() == ["x;y", "y;z"]


def test_values_stay_text_and_missing_ones_are_null(read):
    table = read("file,label\na,007\nb,NA\nc,\nd,1e3\ne,None\n")
    assert table.columns["label"].to_pylist() == ["007", None, None, "1e3", "None"]


def test_the_numbers_of_rows_that_pandas_writes_are_passed_over(read):
    assert list(read(",file,label\n0,a,cat\n1,b,dog\n").columns) == ["file", "label"]
    assert list(read("Unnamed: 0,file,label\n0,a,cat\n").columns) == ["file", "label"]
    assert list(read("file,label,\na,cat,\n").columns) == ["file", "label"]


def test_rows_of_delimiters_alone_are_no_rows(read):
    table = read("file,label\na,cat\n,\nb,dog\n,\n,\n")
    assert table.columns["file"].to_pylist() == ["a", "b"]
    assert table.row_name(1) == "labels.csv, line 4"


def test_numbers_from_0_are_names_of_columns(read):
    assert list(read("0,1\na,cat\n").columns) == ["0", "1"]


def test_many_blocks_are_one_table(read):
    lines = [f'f{i},"l\n{i}"' for i in range(3000)]
    lines[1] = f"f1,{'x' * 900_000}"
    lines[-1] = f"f2999,{'y' * 900_000}"
    table = read("file,label\n" + "\n".join(lines) + "\n")
    assert table.columns["file"].to_pylist() == [f"f{i}" for i in range(3000)]
    assert table.row_name(2) == "labels.csv, line 5"
