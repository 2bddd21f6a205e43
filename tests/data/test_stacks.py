import pickle

import h5py
import numpy as np
import pytest

from rayrml.config.tables import choose
from rayrml.data import contents, stacks
from rayrml.data.addresses import ROW, Place
from rayrml.data.decoding import Decoder, Decoding, pack, unpack
from rayrml.data.readers import READERS
from rayrml.data.value_rules import ClassNumbers, Finite
from rayrml.errors import DataError

NUMPY, HDF5 = READERS["numpy"](), READERS["hdf5"]()
ARRAY = np.random.default_rng(0).normal(size=(23, 3, 4)).astype(np.float32)


def arrays(path, reader=NUMPY):
    return contents.list_arrays(contents.locate(str(path), reader, "training", "input_path"), reader, "input_path")


def rows(path, reader=NUMPY):
    samples = arrays(path, reader)
    return stacks.list_rows(samples, stacks.read_shapes(samples, reader))


def decoded(samples, reader="numpy", order=None, shape=(1, 3, 4), most=5, dtype="f4", **more):
    decode = Decoding(choose(READERS, {"type": reader}, "data"), shape, np.dtype(dtype), "first", **more)
    indices = np.arange(len(samples)) if order is None else order
    parts = list(Decoder({"input": decode}, most=most)({"first": [0], "input": [pack(samples, indices)]}))
    return np.concatenate([p["input"] for p in parts]), [str(e) for p in parts for e in p["error"]]


def stored_as(kind, folder):
    """The path and the type of a file in which `ARRAY` is kept in some way."""
    if kind == "npy":
        np.save(folder / "x.npy", ARRAY)
    elif kind == "fortran":
        np.save(folder / "x.npy", np.asfortranarray(ARRAY))
    elif kind == "big-endian":
        np.save(folder / "x.npy", ARRAY.astype(">f4"))
    elif kind == "npz":
        np.savez(folder / "x.npz", x=ARRAY, other=np.zeros(2))
    elif kind == "packed npz":
        np.savez_compressed(folder / "x.npz", x=ARRAY, other=np.zeros(2))
    else:
        chunks = {"chunks": (4, 3, 4), "compression": "gzip"} if kind == "chunks" else {}
        with h5py.File(folder / "x.h5", "w") as file:
            file.create_dataset("group/x", data=ARRAY, **chunks)
        return folder / "x.h5" / "group" / "x", "hdf5"
    return (folder / "x.npz" / "x" if "npz" in kind else folder / "x.npy"), "numpy"


@pytest.mark.parametrize("kind", ["npy", "fortran", "big-endian", "npz", "packed npz", "hdf5", "chunks"])
@pytest.mark.parametrize("order", [None, np.random.default_rng(1).permutation(23), np.array([22, 0, 0, 3, 4, 5])])
def test_rows_are_read_in_any_order_from_every_kind_of_file(tmp_path, kind, order):
    path, name = stored_as(kind, tmp_path)
    found, errors = decoded(rows(path, READERS[name]()), name, order, adds_channel=True)
    np.testing.assert_array_equal(found[:, 0], ARRAY if order is None else ARRAY[order])
    assert not any(errors)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64, np.uint16, np.float16, np.float64, bool])
def test_rows_keep_their_values_in_every_type(tmp_path, dtype):
    array = np.random.default_rng(0).integers(0, 2 if dtype is bool else 100, (7, 2)).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    found, errors = decoded(rows(tmp_path / "x.npy"), shape=(2,))
    np.testing.assert_array_equal(found, array.astype(np.float32))
    assert not any(errors)


def test_a_row_is_named_by_its_array_and_its_number(tmp_path):
    np.save(tmp_path / "x_train.npy", ARRAY)
    names = rows(tmp_path / "x_train.npy").names
    assert (len(names), names[0], names[-1]) == (23, "x_train/0000000", "x_train/0000022")
    assert names[1:3] == ["x_train/0000001", "x_train/0000002"]
    with pytest.raises(IndexError):
        names[23]
    h5 = tmp_path / "x.h5"
    with h5py.File(h5, "w") as file:
        file["a/x.y"] = ARRAY
    assert rows(h5 / "a", HDF5).names[12] == "a/x.y/0000012"


def test_names_are_as_long_as_the_largest_number_needs():
    names = stacks.RowNames(["x"], [20_000_000])
    assert (names[0], names[-1]) == ("x/00000000", "x/19999999")


def test_rows_of_several_arrays_follow_one_another(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY[:2])
    np.save(tmp_path / "b.npy", ARRAY[2:])
    samples = rows(tmp_path)
    assert list(samples.names[1:3]) == ["a/0000001", "b/0000000"]
    assert samples.place(2) == Place(str(tmp_path / "b.npy"), "", ROW, 0)
    np.testing.assert_array_equal(decoded(samples, adds_channel=True)[0][:, 0], ARRAY)
    np.savez(tmp_path / "a.npz", z=ARRAY)
    assert rows(tmp_path).names[0] == "a/0000000"


def test_files_that_differ_only_in_their_extension_keep_it(tmp_path):
    for name in ("a.npy", "a.npz"):
        with (tmp_path / name).open("wb") as file:
            np.save(file, ARRAY)
    samples = arrays(tmp_path / "a.npy")
    both = stacks.list_rows(samples.__class__(samples.root, ["a.npy", "a.npz"]), [(1, 2), (1, 2)])
    assert list(both.names) == ["a.npy/0000000", "a.npz/0000000"]


def test_rows_have_the_label_of_their_array(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    samples = arrays(tmp_path)
    labelled = samples.__class__(samples.root, samples.names, np.array([4]), tuple("01234"))
    assert stacks.list_rows(labelled, [(3, 2)]).labels.tolist() == [4, 4, 4]


def test_places_of_rows_survive_being_packed_and_pickled(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    samples = rows(tmp_path)
    order = np.array([22, 0, 7])
    assert list(unpack(pack(samples, order))) == [samples.place(i) for i in order]
    again = pickle.loads(pickle.dumps(samples))
    assert (again.name(22), again.place(22)) == (samples.name(22), samples.place(22))
    assert len(pickle.dumps(samples)) < 1000


def test_a_place_of_a_row_is_shown_as_numpy_writes_it():
    assert Place("/x.npy", "", ROW, 3).address == "/x.npy[3]"
    assert Place("/x.h5", "g/x", ROW, 3).address == "/x.h5: g/x[3]"


@pytest.mark.parametrize("most", [1, 4, 23])
def test_a_bad_row_does_not_affect_the_others_and_is_named(tmp_path, most):
    array = ARRAY.copy()
    array[5, 1, 1] = np.nan
    np.save(tmp_path / "x.npy", array)
    found, errors = decoded(rows(tmp_path / "x.npy"), adds_channel=True, rule=Finite(), most=most)
    assert [i for i, error in enumerate(errors) if error] == [5]
    assert "x.npy[5]: holds 1 of 12 values that are not finite" in errors[5]
    np.testing.assert_array_equal(found[6:, 0], ARRAY[6:])


def test_rows_become_class_numbers(tmp_path):
    np.save(tmp_path / "y.npy", np.array([0.0, 2.0, 1.0, 3.0]))
    rule = ClassNumbers(3)
    found, errors = decoded(rows(tmp_path / "y.npy"), shape=(1,), adds_channel=True, dtype="u1", rule=rule)
    assert (found[:3].tolist(), found.dtype) == ([[0], [2], [1]], np.uint8)
    assert "y.npy[3]: holds 3. Expected class numbers from 0 to 2" in errors[3]


def test_rows_of_another_shape_or_type_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", ARRAY)
    _, errors = decoded(rows(tmp_path / "x.npy"), shape=(1, 3, 5), adds_channel=True)
    assert all("is 4x3 pixels with 1 channel, but first is" in error for error in errors)
    _, errors = decoded(rows(tmp_path / "x.npy"), dtype="u1", adds_channel=True)
    assert "x.npy[0]: holds float32, but first holds uint8" in errors[0]


def test_a_file_that_has_become_shorter_or_is_gone_is_named(tmp_path):
    np.save(tmp_path / "x.npy", ARRAY)
    samples = rows(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", ARRAY[:20])
    found, errors = decoded(samples, adds_channel=True)
    assert [i for i, error in enumerate(errors) if error] == [20, 21, 22]
    assert "x.npy[20]: cannot be read" in errors[20]
    np.testing.assert_array_equal(found[:20, 0], ARRAY[:20])
    (tmp_path / "x.npy").unlink()
    assert all("x.npy" in error for error in decoded(samples, adds_channel=True)[1])


def test_rows_are_prepared_each(tmp_path):
    np.save(tmp_path / "x.npy", ARRAY)
    found, errors = decoded(rows(tmp_path / "x.npy"), shape=(3, 2), prepare=lambda array: array[:, ::2])
    np.testing.assert_array_equal(found, ARRAY[:, :, ::2])
    assert not any(errors)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3)])
def test_an_array_without_rows_is_named(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.zeros(shape))
    with pytest.raises(DataError, match=r"x\.npy: holds no samples along its first axis: its shape is \["):
        rows(tmp_path / "x.npy")


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1)])
def test_labels_may_have_axes_of_length_one(tmp_path, shape):
    np.save(tmp_path / "y.npy", np.array([1, 0, 2, 1]).reshape(shape))
    assert stacks.read_labels(arrays(tmp_path / "y.npy"), NUMPY).tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize("shape", [(), (4, 2), (4, 1, 2)])
def test_labels_of_another_shape_are_refused(tmp_path, shape):
    np.save(tmp_path / "y.npy", np.zeros(shape))
    with pytest.raises(DataError, match=r"y\.npy: has shape \[.*Expected one class number for each sample"):
        stacks.read_labels(arrays(tmp_path / "y.npy"), NUMPY)


def test_python_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([1, "a"], object))
    with pytest.raises(DataError, match=r"x\.npy: cannot be read\. It holds Python objects, not numbers$"):
        rows(tmp_path / "x.npy")


def test_an_array_of_an_archive_is_unpacked_once_and_again_when_the_file_changes(tmp_path):
    path = str(tmp_path / "x.npz")
    np.savez_compressed(path, x=ARRAY, y=ARRAY[:1])
    with NUMPY.open(path) as read:
        first = read("x")
    with NUMPY.open(path) as read:
        assert read("x") is first
        assert read("y").shape == (1, 3, 4)
    np.savez_compressed(path, x=ARRAY[:7], y=ARRAY)
    with NUMPY.open(path) as read:
        assert read("x").shape == (7, 3, 4)
