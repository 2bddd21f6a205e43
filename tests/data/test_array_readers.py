import gzip
import struct

import h5py
import numpy as np
import pytest

from rayrml.data.readers import READERS
from rayrml.errors import DataError

DTYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]


def numbers(dtype, shape=(2, 3, 4)):
    return (np.arange(np.prod(shape)).reshape(shape) % 2 if dtype == "bool" else np.arange(24).reshape(shape)).astype(
        dtype
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_numpy_come_as_they_were_saved(tmp_path, dtype):
    array = numbers(dtype)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "b.npz", first=array, second=array + array)
    reader = READERS["numpy"]()
    assert reader.contents(str(tmp_path / "a.npy")) == [""]
    assert reader.contents(str(tmp_path / "b.npz")) == ["first", "second"]
    for path, name, expected in (("a.npy", "", array), ("b.npz", "second", array + array)):
        decoded = reader.decode(str(tmp_path / path), name)
        np.testing.assert_array_equal(decoded, expected)
        assert decoded.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_datasets_of_hdf5_are_found_in_groups_of_any_depth(tmp_path, dtype):
    array = numbers(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["top"] = array
        file["some/group/deep"] = array + array
        file["some/note"] = "text is no sample"
        file["some/link"] = h5py.SoftLink("/top")
        file["outside"] = h5py.ExternalLink("other.h5", "/secret")
    reader = READERS["hdf5"]()
    path = str(tmp_path / "a.h5")
    assert sorted(reader.contents(path)) == ["some/group/deep", "top"]
    np.testing.assert_array_equal(reader.decode(path, "some/group/deep"), array + array)
    assert reader.decode(path, "top").dtype == dtype


def test_an_array_is_read_only_where_it_is_sliced(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(1000.0))
    with READERS["numpy"]().open(str(tmp_path / "a.npy")) as read:
        assert isinstance(read(""), np.memmap)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        # Two terabytes, none of which is stored.
        file.create_dataset("large", (2**19, 2**19), "f8", chunks=(64, 64))
    with READERS["hdf5"]().open(str(tmp_path / "a.h5")) as read:
        assert read("large")[5:7, -2:].tolist() == [[0, 0], [0, 0]]


def test_files_that_hold_no_numbers_are_refused_by_name(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.save(tmp_path / "complex.npy", np.array([1j]))
    np.savez(tmp_path / "archive.npz", a=np.array([{}], object))
    for name in ("objects.npy", "text.npy", "complex.npy"):
        with pytest.raises(DataError, match=name):
            READERS["numpy"]().decode(str(tmp_path / name))
    with pytest.raises(DataError, match=r"archive\.npz"):
        READERS["numpy"]().decode(str(tmp_path / "archive.npz"), "a")


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04 no archive", b"\x89HDF\r\n\x1a\n", b"junk" * 99]
)
@pytest.mark.parametrize(("reader", "name"), [("numpy", "a.npy"), ("numpy", "a.npz"), ("hdf5", "a.h5")])
def test_damaged_files_are_one_error_that_names_them(tmp_path, reader, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        READERS[reader]().decode(str(tmp_path / name), "" if name == "a.npy" else "data")
    if name != "a.npy":
        with pytest.raises(DataError, match=name):
            READERS[reader]().contents(str(tmp_path / name))


def idx(array, kind=0x08):
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, part="train", count=6, pack=False):
    images = np.arange(count * 12, dtype=np.uint8).reshape(count, 3, 4)
    labels = (np.arange(count) % 3).astype(np.uint8)
    for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        (folder / (name + ".gz" * pack)).write_bytes(gzip.compress(idx(array)) if pack else idx(array))
    return images, labels


@pytest.mark.parametrize("pack", [False, True])
def test_idx_files_hold_many_images_and_their_labels(tmp_path, pack):
    images, labels = write_idx(tmp_path, pack=pack)
    write_idx(tmp_path, "t10k", count=2, pack=pack)
    reader = READERS["mnist"]()
    (path,) = reader.find(str(tmp_path), "training")
    assert len(reader.find(str(tmp_path), "test")) == 1
    assert reader.find(str(tmp_path), "test") != [path]
    assert len(reader.contents(path)) == 6
    np.testing.assert_array_equal(reader.decode(path, "4"), images[4][None])
    np.testing.assert_array_equal(reader.labels(path, None), labels)
    assert reader.pixels


def test_numbers_of_idx_files_are_in_the_machines_byte_order(tmp_path):
    (tmp_path / "train-images-idx3").write_bytes(idx(np.zeros((2, 2, 2), np.uint8)))
    (tmp_path / "labels").write_bytes(idx(np.array([258, -3], ">i4"), 0x0C))
    reader = READERS["mnist"]()
    assert reader.labels(str(tmp_path / "train-images-idx3"), str(tmp_path / "labels")).tolist() == [258, -3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no IDX file"),
        (b"\0\0\x08", "is no IDX file"),
        (b"\0\0\x08\x03\0\0", "ends in its header"),
        (idx(np.zeros((2, 2, 2), np.uint8))[:-1], "cut short"),
        (idx(np.zeros((2, 2), np.uint8)), "Expected bytes of 3 axes"),
        (b"\x1f\x8b damaged", "cannot be"),
    ],
)
def test_damaged_idx_files_are_refused_by_name(tmp_path, content, message):
    (tmp_path / "train-images-idx3").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        READERS["mnist"]().contents(str(tmp_path / "train-images-idx3"))
    assert "train-images-idx3" in str(caught.value)


def test_images_without_labels_are_refused(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no file of labels beside it"):
        READERS["mnist"]().labels(str(tmp_path / "train-images-idx3-ubyte"), None)


def test_initial_conditions_are_computed_from_their_number():
    reader = READERS["pde"](domain_size=32, num_examples=5, num_test_examples=2, bc_frequency=(1.0, 3.0))
    assert [len(reader.generate(part)) for part in ("training", "test")] == [5, 2]
    first, again = (reader.decode("", reader.generate("training")[3]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == ((1, 32), np.float32)
    assert not np.array_equal(first, reader.decode("", reader.generate("training")[2]))
    assert not np.array_equal(reader.decode("", "training/0"), reader.decode("", "test/0"))
