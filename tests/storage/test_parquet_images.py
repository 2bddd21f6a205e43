import dataclasses

import pyarrow as pa
import pytest
from pyarrow import parquet

from rayrml.errors import DataError
from rayrml.storage.parquet_images import find_ending, open_table, read_images, read_paths, read_plain
from tests.data.data_sets import image, write_rows


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.parquet"


def test_columns_are_told_apart_by_what_they_hold(path):
    columns = {"label": [0, 1], "caption": ["a", "b"], "age": [1.5, 2.0], "boxes": [[1, 2], [3]]}
    sounds = [(b"RIFF1234WAVE", "a.wav"), (b"RIFF5678WAVE", "b.wav")]
    images = [(image(0), "a.png"), (image(1), None)]
    write_rows(path, columns, images={"photo": images, "sound": sounds}, class_names={"label": ["cat", "dog"]})
    table = open_table(str(path))
    assert (table.images, table.plain) == (("photo",), ("label", "caption", "age"))
    assert (table.fractions, table.others) == (("age",), ("sound", "boxes"))
    assert table.class_names == {"label": ("cat", "dog")}
    assert read_paths(table, "photo") == ["a.png", None]
    assert read_plain(table, "label") == [0, 1]
    assert [row for (row,) in read_images(table)] == [image(0), image(1)]


KINDS = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())]


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_alone_are_images_too(path, kind):
    parquet.write_table(pa.table({"jpg": pa.array([image(i) for i in range(150)], kind)}), path)
    table = open_table(str(path))
    assert [row for (row,) in read_images(table)] == [image(i) for i in range(150)]
    assert read_paths(table, "jpg") == [None] * 150
    assert table.class_names == {}


@pytest.mark.parametrize(("kind", "ending"), [("JPEG", ".jpg"), ("TIFF", ".tif"), ("PNG", ".png"), ("WEBP", ".webp")])
def test_an_ending_is_that_of_the_content(kind, ending):
    assert find_ending(image(3, kind=kind)) == ending
    assert find_ending(image(3, kind=kind)[:9]) is None
    assert find_ending(b"") is None
    assert find_ending(b"\0\0\0\x18ftypheic" + bytes(20)) in (".heic", ".heif")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_texts_are_read_however_they_are_stored(path, kind):
    rows = pa.array([{"bytes": image(0), "path": 1}, {"bytes": image(1), "path": 2}])
    texts = pa.array(["a", "b"]).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(["a", "b"], kind)
    parquet.write_table(pa.table({"image": rows, "x": texts}), path)
    table = open_table(str(path))
    assert (table.plain, table.fractions, read_plain(table, "x")) == (("x",), (), ["a", "b"])
    assert read_paths(table, "image") == [None, None]


def test_the_kind_of_a_column_does_not_depend_on_its_first_row(path):
    write_rows(path, {}, images={"image": [(None, None), (b"", None), (b"broken", None), (image(0), None)]})
    assert open_table(str(path)).images == ("image",)


def test_damaged_columns_are_one_line(path):
    images = pa.array([{"bytes": image(0)}])
    parquet.write_table(pa.Table.from_arrays([images, pa.array([1]), pa.array([2])], ["image", "a", "a"]), path)
    with pytest.raises(DataError, match=r"a\.parquet: has several columns named 'a'"):
        open_table(str(path))
    invalid = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    parquet.write_table(pa.table({"image": images, "x": invalid}), path)
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read\. 'utf-8' codec"):
        read_plain(open_table(str(path)), "x")


def test_a_file_that_lacks_rows_is_damaged(path):
    write_rows(path, {"x": [1, 2]}, images={"image": [(image(0), None), (image(1), None)]})
    table = dataclasses.replace(open_table(str(path)), num_rows=3)
    for reading in (lambda: read_plain(table, "x"), lambda: read_paths(table, "image"), lambda: [*read_images(table)]):
        with pytest.raises(DataError, match=r"is damaged: it does not hold the 3 rows that it declares"):
            reading()


def test_what_is_no_image_is_named(path):
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match=r"a\.parquet: is a pointer of Git LFS, not the file itself"):
        open_table(str(path))
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read\. "):
        open_table(str(path))
    parquet.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(DataError, match=r"a\.parquet: has no column of images: 'x' \(int64\)"):
        open_table(str(path))
    write_rows(path, {}, images={"image": [(image(0), None), (None, "cache/b.png")]})
    with pytest.raises(DataError, match=r"row 2 holds no image in column 'image'"):
        list(read_images(open_table(str(path))))
