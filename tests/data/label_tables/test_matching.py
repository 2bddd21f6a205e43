import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayrml.data.label_tables import Inputs, choose_file_column, match_rows
from tests.data.label_tables.test_csv_reading import SAME_FIXTURE

NAMES = ["a.jpg", "b.jpg"]
FILES = ["x/a.jpg", "x/b.png", "y/c.jpg", "scan.nii.gz"]


def table(*files, column="file"):
    return f"label,{column}\n" + "".join(f"l{i % 2}x,{file}\n" for i, file in enumerate(files))


@pytest.mark.parametrize(
    "files",
    [
        FILES,
        ["x/a", "x/b", "y/c", "scan"],
        ["x\\a.jpg", "x\\b.png", "y\\c.jpg", "scan.nii.gz"],
        ["./x/a.jpg", "./x/b.png", "./y/c.jpg", " ./scan "],
        ["a.jpg", "b.png", "c.jpg", "scan.nii.gz"],
        ["a", "b", "c", "scan"],
        ["images/x/a.jpg", "images/x/b", "images/y/c.jpg", "images/scan"],
        ["x/a.jpg", "x/b", "y/c.jpg", "scan"],
    ],
)
def test_files_are_found_by_what_people_call_them(match, files):
    matching = match(table(*files), FILES)
    assert matching.file_column == "file"
    assert matching.rows.tolist() == [0, 1, 2, 3]


def test_names_may_be_absolute_or_relative_to_the_table(match, tmp_path):
    assert match(table(*(f"{tmp_path}/images/{name}" for name in FILES)), FILES).rows.tolist() == [0, 1, 2, 3]
    beside = table(*(f"../images/{name}" for name in FILES))
    assert match(beside, FILES, name="labels/labels.csv").rows.tolist() == [0, 1, 2, 3]
    inside = table("a.jpg", "b.png")
    assert match(inside, [*FILES, "y/a.jpg"], name="images/x/labels.csv").rows.tolist() == [0, 1, -1, -1, -1]


def test_rows_of_another_folder_are_not_taken_for_files_of_the_same_name(match):
    matching = match(table("images/a.jpg", "test/b.jpg", "images/c.jpg"), ["a.jpg", "b.jpg", "c.jpg"])
    assert matching.rows.tolist() == [0, -1, 2]
    assert matching.unmatched_rows.tolist() == [1]
    assert matching.files_without_row.tolist() == [1]
    assert matching.files_with_row.tolist() == [0, 2]


def test_numbers_name_files(match):
    assert match("label,id\ncat,2\ndog,1\n", ["1.jpg", "2.jpg"]).rows.tolist() == [1, 0]
    assert match('{"id":2.0,"l":"x"}\n{"id":1.0,"l":"y"}\n', ["1.jpg", "2.jpg"], name="l.jsonl").rows.tolist() == [1, 0]


def test_a_table_may_have_rows_for_many_other_files(match, complaint):
    others = [f"{i:04}.jpg" for i in range(3000)]
    matching = match(table(*others), ["0007.jpg", "2001.jpg", "z.jpg"])
    assert (matching.file_column, matching.rows.tolist()) == ("file", [7, 2001, -1])
    text = complaint(match, table(*others), ["0007.jpg", "x.jpg", "y.jpg"])
    assert "no column names the files" in text
    numbered = "label,file\n" + "".join(f"{i % 3},/other/{i}.jpg\n" for i in range(30))
    assert "no column names the files" in complaint(match, numbered, ["0.jpg", "x.jpg"])


def test_composed_and_decomposed_characters_are_the_same_name(match):
    name = unicodedata.normalize("NFD", "é.jpg")
    assert match(table("é.jpg"), [name]).rows.tolist() == [0]


def test_names_that_are_not_utf_8_have_no_row(match):
    assert match(table("a.jpg"), ["\udcff.jpg", "a.jpg"]).rows.tolist() == [-1, 0]


def test_labels_that_are_numbers_are_not_taken_for_names(match):
    names = [f"{i}.jpg" for i in range(10)]
    rows = "".join(f"{i % 2},{i}\n" for i in range(10))
    assert match("label,id\n" + rows, names).file_column == "id"
    rows = "".join(f"{i},{9 - i}.jpg\n" for i in range(10))
    assert match("index,image\n" + rows, names).file_column == "image"


@SAME_FIXTURE
@given(data=st.data(), ending=st.booleans(), before=st.sampled_from(["", "./", "images/"]), back=st.booleans())
def test_each_file_gets_its_row_in_any_order(match, data, ending, before, back):
    part = st.text(st.sampled_from("abcé-_1 "), min_size=1, max_size=4).map(str.strip).filter(bool)
    stems = data.draw(st.lists(st.builds("{}/{}".format, part, part), min_size=1, max_size=8, unique=True))
    names = [f"{stem}.jpg" for stem in stems]
    order = data.draw(st.permutations(range(len(names))))
    files = [before + (names[i] if ending else stems[i]) for i in order]
    matching = match(table(*(file.replace("/", "\\") if back else file for file in files)), names, "file")
    assert [order[row] for row in matching.rows] == list(range(len(names)))


def test_further_rows_of_a_file_are_counted(match):
    matching = match(table("a.jpg", "b.jpg", "a.jpg", "a"), NAMES)
    assert matching.rows.tolist() == [0, 1]
    assert matching.repeated_rows.tolist() == [2, 3]
    assert matching.repeated_files.tolist() == [0, 0]


WRONG = {
    ("a.jpg", ""): "labels.csv, line 3: column 'file' names no file. Expected a name, or no such row",
    ("a.jpg", "../b.jpg"): "labels.csv, line 3: '../b.jpg' is outside of 'IMAGES'. Expected files below that folder",
    ("a.jpg", "/b.jpg"): "labels.csv, line 3: '/b.jpg' is outside of 'IMAGES'. Expected files below that folder",
    ("a.jpg", "C:\\b.jpg"): "labels.csv, line 3: 'C:/b.jpg' is outside of 'IMAGES'. Expected files below that folder",
    ("a.jpg", "B.JPG"): "labels.csv, line 3: 'B.JPG' differs from the file 'b.jpg' in upper and lower case. Expected "
    "the names of the files",
    ("A.jpg", "B.jpg"): "labels.csv: no row names a file of 'IMAGES'. Column 'file': 'A.jpg', 'B.jpg'; files: 'a.jpg', "
    "'b.jpg'. They differ in upper and lower case",
    ("x.jpg", "y"): "labels.csv: no column names the files of 'IMAGES'. Columns: 'label' (such as 'l0x'), 'file' (such "
    "as 'x.jpg'); files: 'a.jpg', 'b.jpg'. Expected a column with their names",
}


@pytest.mark.parametrize("files", WRONG)
def test_a_mistake_in_names_is_told_with_its_row(match, complaint, tmp_path, files):
    assert complaint(match, table(*files), NAMES).replace(f"{tmp_path}/images", "IMAGES") == WRONG[files]


def test_several_files_of_a_name_are_told(match, complaint):
    cure = "Expected the whole name, with its ending"
    text = complaint(match, table("b", "a"), ["a.jpg", "a.png", "b.jpg"])
    assert text == f"labels.csv, line 3: 'a' may be 'a.jpg', 'a.png'. {cure}"
    text = complaint(match, table("a.jpg", "b.jpg"), ["x/a.jpg", "y/a.jpg", "x/b.jpg"])
    assert text == f"labels.csv, line 2: 'a.jpg' may be 'x/a.jpg', 'y/a.jpg'. {cure}"


def test_a_whole_name_is_certain_though_others_differ_in_the_ending(match):
    assert match(table("a.jpg", "a.png"), ["a.jpg", "a.png"]).rows.tolist() == [0, 1]


def test_rows_that_contradict_each_other_are_told_with_both_lines(match, complaint):
    text = complaint(match, "label,file\ncat,a\ndog,b\ndog,a\n", NAMES, same=["label"])
    assert text == (
        "labels.csv, line 4: column 'label' of 'a' is 'dog', but 'cat' in line 2. Expected one row for each file; "
        "if several rows list its labels, set the kind 'classes'"
    )
    assert match("label,file\ncat,a\ndog,b\ncat ,a\n", NAMES, same=["label"]).repeated_rows.tolist() == [2]


def test_a_missing_header_is_told(match, complaint):
    text = complaint(match, "a,cat\nb,dog\nc,dog\n", ["a.jpg", "b.jpg", "c.jpg"])
    assert text == (
        "labels.csv: 'a' is the name of a file, not of a column. Expected a header first, such as: file,label"
    )
    assert match("id,label\nb,dog\n", ["id.jpg", "b.jpg"]).rows.tolist() == [-1, 0]


def test_a_column_that_is_not_there_is_told(match, complaint):
    assert complaint(match, table(*NAMES), NAMES, "fil") == "labels.csv: has no column 'fil'. Did you mean 'file'?"


def test_two_columns_of_different_files_are_told(read, complaint):
    names = [f"{i}.jpg" for i in range(5)]
    both = read("first,second,label\n" + "".join(f"{i},{4 - i},x\n" for i in range(5)))
    assert complaint(choose_file_column, both, Inputs("/images", names)) == (
        "labels.csv: columns 'first' and 'second' both name files, but not the same. Expected file_column to be one "
        "of them"
    )
    assert match_rows(both, Inputs("/images", names), "second").rows.tolist() == [4, 3, 2, 1, 0]


def test_a_named_column_may_name_few_of_the_files(match):
    files = [f"other/{i}.jpg" for i in range(5000)]
    files[1234] = "images/a.jpg"
    matching = match(table(*files), NAMES, "file")
    assert matching.rows.tolist() == [1234, -1]
    assert len(matching.unmatched_rows) == 4999


def test_uris_are_compared_without_their_options(read):
    uri = "s3://bucket/images?region=eu"
    rows = read(table("s3://bucket/images/a.jpg", "s3://bucket/images/b.jpg"))
    assert np.array_equal(match_rows(rows, Inputs(uri, NAMES)).rows, [0, 1])


def test_the_folder_may_be_the_root(read):
    assert match_rows(read(table("/a.jpg", "/b.jpg")), Inputs("/", NAMES)).rows.tolist() == [0, 1]
