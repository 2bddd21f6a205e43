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


@pytest.mark.parametrize("axis", [0, 1])
def test_a_dataset_with_its_channels_last_is_cut_like_an_array(tmp_path, axis):
    stored = np.random.default_rng(0).normal(size=(4, 5, 6, 3))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = stored
    with READERS["hdf5"](channels="last", stacked=bool(axis)).open(str(tmp_path / "x.h5")) as read:
        moved, expected = read("a"), np.moveaxis(stored, -1, axis)
        assert moved.shape == expected.shape
        assert len(moved) == len(expected)
        assert np.array_equal(np.asarray(moved), expected)
        for key in (
            1,
            np.s_[1:3],
            np.s_[1, 2],
            np.s_[:, 1:2],
            np.s_[0:2, 1, 2:4],
            np.s_[1, :, 3],
            np.s_[..., 1:2],
            np.s_[1:2, ..., 0],
        ):
            assert np.array_equal(moved[key], expected[key]), key
