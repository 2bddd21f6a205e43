"""Mistakes in files: each is one line that names the file, the line, and a cure."""

import gzip

import pytest

from rayrml import storage
from rayrml.data.label_tables import read_label_table

HEADER = "Expected a line with the names of the columns first, such as: file,label"
WRONG = {
    "": f"labels.csv: is empty. {HEADER}",
    "\n\n": f"labels.csv: is empty. {HEADER}",
    "file,label\n": "labels.csv: has no rows. Expected one row for each file",
    "a.jpg,cat\nb.jpg,dog\n": f"labels.csv, line 1: looks like a row, not like a header: 'a.jpg,cat'. {HEADER}",
    "1,0\n2,1\n": f"labels.csv, line 1: looks like a row, not like a header: '1,0'. {HEADER}",
    "file label\na.jpg cat\n": "labels.csv, line 1: has one column, 'file label'. Expected columns separated by "
    "commas, semicolons or tabs",
    "file,file\na,b\n": "labels.csv, line 1: several columns are named 'file'. Expected different names",
    "\nfile,label,\na,b,c\n": "labels.csv, line 2: column 3 has no name, and holds 'c'. Expected a name for each "
    "column",
    ",label\na.jpg,cat\n": "labels.csv, line 1: column 1 has no name, and holds 'a.jpg'. Expected a name for each "
    "column",
    "sep=;\nfile;label\na;b\n": "labels.csv, line 1: 'sep=' is understood by Excel alone. Remove this line",
    "file,label\na,cat\nb,cat,dog\n": "labels.csv, line 3: has 3 fields, but the header has 2. Quote fields that "
    "contain a comma",
    "file,label\na,cat\n\nb\n": "labels.csv, line 4: has 1 field, but the header has 2. Add what is missing",
    'file,label\n"a\n\nb",cat\nc,d,e\n': "labels.csv, line 5: has 3 fields, but the header has 2. Quote fields that "
    "contain a comma",
    'file,label\na,5" disk\n': "labels.csv, line 2: a quote is inside of a field without quotes. Quote the whole "
    'field, and double the quote: "5"" x"',
    'file,label\na,"cat\nb,"dog"\n': "labels.csv, line 2: the field that a quote begins here is not closed by a quote "
    'before the next delimiter. Remove the quote, or double it inside of a quoted field: ""',
    'file,label\na,cat\nb,"dog\nc,d\n': "labels.csv, line 3: the field that a quote begins here is not closed by a "
    'quote before the next delimiter. Remove the quote, or double it inside of a quoted field: ""',
    "file,label\na,c\0at\n": "labels.csv, line 2: holds a NUL byte. The file may be damaged: expected text",
    "file,label\na," + "x" * 1_000_001: "labels.csv, line 2: a field has more than 1,000,000 bytes. Expected names of "
    "files and labels; a quote may be missing",
    "file,label\na,b\nc," + "x" * 9_000_000: "labels.csv, line 3: has 9,000,002 bytes. Expected names of files and "
    "labels; a quote may be missing",
    "<!DOCTYPE html><html>\n": "labels.csv: is a web page, not a table. Download the table itself",
    "version https://git-lfs.github.com/spec/v1\n": "labels.csv: is a pointer of Git LFS, not the table itself. Fetch "
    "it with `git lfs pull`",
    "PK\x03\x04": "labels.csv: is a ZIP archive or an Excel file. Save the table as CSV",
}


@pytest.mark.parametrize("content", WRONG, ids=lambda content: repr(content[:30]))
def test_a_mistake_in_csv_is_told_with_its_line(read, complaint, content):
    assert complaint(read, content) == WRONG[content]


def test_text_that_is_not_utf_8_is_told_with_what_it_would_be(read, complaint):
    text = complaint(read, "file,label\nx,y\né.jpg,cat\n".encode("latin-1"))
    assert text == (
        "labels.csv, line 3: is not UTF-8 text: byte 0xe9 (as Latin-1 the line is 'é.jpg,cat'). Save the file as UTF-8"
    )
    assert "It may be UTF-16" in complaint(read, "file,label\na,b\n".encode("utf-16-le"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood(read, encoding):
    assert read("file,label\né,ü\n".encode(encoding)).columns["file"].to_pylist() == ["é"]


def test_compressed_text_is_read_by_its_ending(read, complaint):
    packed = gzip.compress(b"file,label\na,cat\n")
    assert read(packed, "labels.csv.gz").row_name(0) == "labels.csv.gz, line 2"
    assert complaint(read, packed) == "labels.csv: is compressed with gzip. Expected a name that ends with .gz"
    assert complaint(read, packed[:-9], "labels.csv.gz").startswith("labels.csv.gz: cannot be read. ")
    assert complaint(read, b"file", "labels.csv.gz").startswith("labels.csv.gz: cannot be read. Not a gzipped file")


def test_files_that_are_no_tables_are_named_with_their_key(read, complaint, tmp_path):
    where = "neural_network.data.labels"
    assert complaint(read, b"PK", "labels.xlsx").endswith("is not a table that can be read. Save the table as CSV")
    assert complaint(read, b"", "labels").startswith(f"{where}: '{tmp_path}/labels' is not a table that can be read")
    missing, folder = tmp_path / "none.csv", tmp_path / "folder.csv"
    folder.mkdir()
    assert complaint(read_label_table, str(missing), where) == f"{where}: no such file: '{missing}'"
    assert complaint(read_label_table, str(folder), where).startswith(f"{where}: '{folder}' is a folder")


def test_a_table_may_be_in_a_store(complaint):
    from tests.storage.object_store import served

    with served() as store:
        uri = store.uri("labels.csv")
        storage.write(uri, b"file,label\na.jpg,cat\nb.jpg\n")
        assert complaint(read_label_table, uri, "labels").startswith("labels.csv, line 3: has 1 field")
        storage.write(uri, b"file,label\na.jpg,cat\n")
        assert read_label_table(uri, "labels").columns["label"].to_pylist() == ["cat"]
        missing = store.uri("none.csv")
        assert complaint(read_label_table, missing, "labels") == f"labels: no such file: '{missing}'"
