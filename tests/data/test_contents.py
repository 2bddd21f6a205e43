import h5py
import numpy as np
import pytest

from rayrml.config.tables import choose
from rayrml.data import contents
from rayrml.data.addresses import Place
from rayrml.data.decoding import Decoder, Decoding, pack, unpack
from rayrml.data.discovery import Samples, label_by_folder
from rayrml.data.readers import READERS
from rayrml.data.slicers import parse_slicers
from rayrml.errors import DataError

NUMPY, HDF5 = READERS["numpy"](), READERS["hdf5"]()


def arrays(path, reader):
    return contents.list_arrays(contents.locate(str(path), reader, "training", "input_path"), reader, "input_path")


def h5(path, *names, shape=(1, 2)):
    with h5py.File(path, "w") as file:
        for number, name in enumerate(names):
            file[name] = np.full(shape, number, np.float32)


def test_a_file_of_one_array_is_a_sample_of_its_name(tmp_path):
    np.save(tmp_path / "nu.npy", np.zeros((1, 2)))
    samples = arrays(tmp_path, NUMPY)
    assert (list(samples.names), samples.path(0)) == (["nu.npy"], str(tmp_path / "nu.npy"))


def test_datasets_go_by_their_path_inside_the_file(tmp_path):
    h5(tmp_path / "a.h5", "x", "group/y")
    samples = arrays(tmp_path / "a.h5", HDF5)
    assert sorted(samples.names) == ["group/y", "x"]
    assert samples.place(samples.names.index("group/y")) == Place(str(tmp_path / "a.h5"), "group/y")


def test_the_file_stands_before_names_that_several_files_have(tmp_path):
    h5(tmp_path / "a.h5", "x")
    h5(tmp_path / "b.h5", "x", "y")
    assert list(arrays(tmp_path, HDF5).names) == ["a.h5/x", "b.h5/x", "b.h5/y"]


def test_a_path_may_go_on_inside_a_file(tmp_path):
    h5(tmp_path / "a.h5", "x/one", "x/two", "xy", "z")
    assert list(arrays(tmp_path / "a.h5" / "x", HDF5).names) == ["x/one", "x/two"]
    assert list(arrays(tmp_path / "a.h5" / "z", HDF5).names) == ["z"]
    with pytest.raises(DataError, match="no dataset or group 'missing'"):
        arrays(tmp_path / "a.h5" / "missing", HDF5)


def test_arrays_have_the_class_of_their_files_folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "some.npz", a=np.zeros(2), b=np.zeros(2))
    located = contents.locate(str(tmp_path), NUMPY, "training", "input_path")
    files = label_by_folder(located.files, None, "input_path")
    samples = contents.list_arrays(contents.Location(files), NUMPY, "input_path")
    assert list(samples.names) == ["cat/some.npz/a", "cat/some.npz/b", "dog/some.npz/a", "dog/some.npz/b"]
    assert samples.labels.tolist() == [0, 0, 1, 1]


def test_arrays_of_two_files_pair_by_name_and_single_ones_by_their_files(tmp_path):
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    h5(tmp_path / "in" / "a.h5", "p", "q")
    h5(tmp_path / "out" / "a.h5", "q", "p")
    inputs = arrays(tmp_path / "in", HDF5)
    targets = contents.pair_arrays(inputs, arrays(tmp_path / "out", HDF5), "target_path")
    assert [targets.place(i).name for i in range(2)] == [inputs.place(i).name for i in range(2)]
    np.save(tmp_path / "volume.npy", np.zeros(3))
    h5(tmp_path / "labels.h5", "any name")
    single = contents.pair_arrays(
        arrays(tmp_path / "volume.npy", NUMPY), arrays(tmp_path / "labels.h5", HDF5), "target_path"
    )
    assert list(single.names) == ["any name"]


def test_arrays_without_a_partner_are_named(tmp_path):
    h5(tmp_path / "a.h5", "p", "q")
    h5(tmp_path / "b.h5", "p", "r")
    with pytest.raises(DataError) as caught:
        contents.pair_arrays(arrays(tmp_path / "a.h5", HDF5), arrays(tmp_path / "b.h5", HDF5), "target_path")
    assert "no target for 'q'" in str(caught.value)
    assert "no input for 'r'" in str(caught.value)


def test_arrays_of_two_groups_pair_by_their_names_in_the_groups(tmp_path):
    h5(tmp_path / "h.h5", "x/a", "x/deep/b", "deep/y/deep/b", "deep/y/a")
    inputs, targets = arrays(tmp_path / "h.h5" / "x", HDF5), arrays(tmp_path / "h.h5" / "deep" / "y", HDF5)
    paired = contents.pair_arrays(inputs, targets, "target_path", ("x", "deep/y"))
    assert [inputs.place(i).name for i in range(2)] == ["x/a", "x/deep/b"]
    assert [paired.place(i).name for i in range(2)] == ["deep/y/a", "deep/y/deep/b"]


def test_whole_names_that_pair_count_more_than_those_in_a_group(tmp_path):
    h5(tmp_path / "in.h5", "x/a", "x/b")
    h5(tmp_path / "out.h5", "x/a", "x/b", "z")
    inputs, targets = arrays(tmp_path / "in.h5", HDF5), arrays(tmp_path / "out.h5" / "x", HDF5)
    paired = contents.pair_arrays(inputs, targets, "target_path", ("", "x"))
    assert [paired.place(i).name for i in range(2)] == ["x/a", "x/b"]


def test_arrays_of_two_groups_without_a_partner_are_named(tmp_path):
    h5(tmp_path / "h.h5", "x/a", "x/b", "y/a", "y/c")
    inputs, targets = arrays(tmp_path / "h.h5" / "x", HDF5), arrays(tmp_path / "h.h5" / "y", HDF5)
    with pytest.raises(DataError) as caught:
        contents.pair_arrays(inputs, targets, "target_path", ("x", "y"))
    assert "no target for 'b'" in str(caught.value)
    assert "no input for 'c'" in str(caught.value)


def slicers(*settings):
    return parse_slicers(list(settings), "slicers")


def sliced(samples, cut):
    return contents.list_slices(samples, contents.make_grids(samples, NUMPY, cut, skip=False), cut)


def test_slices_go_by_their_bounds_their_slicer_and_their_array(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 6)))
    one = sliced(arrays(tmp_path / "a.npy", NUMPY), slicers({"sizes": [2, 3]}))
    assert list(one.names) == ["0:2,0:3", "0:2,3:6", "2:4,0:3", "2:4,3:6"]
    two = sliced(
        arrays(tmp_path / "a.npy", NUMPY),
        slicers({"sizes": [4, 1], "name": "x"}, {"sizes": [1, 4], "name": "y"}),
    )
    assert two.names[0] == "x/0:4,0:1"
    assert [(group.name, group.first, len(group.grid)) for group in two.slices] == [("x", 0, 6), ("y", 6, 8)]
    np.save(tmp_path / "b.npy", np.zeros((1, 2, 3)))
    several = sliced(arrays(tmp_path, NUMPY), slicers({"sizes": [2, 3]}))
    assert several.names[-1] == "b.npy/0:2,0:3"
    assert [group.name for group in several.slices] == ["a.npy/slicer_0", "b.npy/slicer_0"]


def test_an_array_that_cannot_be_sliced_is_named(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 6, 7, 8)))
    with pytest.raises(DataError, match=r"a\.npy"):
        sliced(arrays(tmp_path, NUMPY), slicers({"sizes": [2, 3]}))


def test_places_survive_being_packed():
    plain = Samples("/some/root", ["a:1", "b/c", "d", "e:"])
    order = np.array([3, 0, 1, 2])
    assert list(unpack(pack(plain, order))) == [plain.place(i) for i in order]
    places = [Place("/x.h5", "g/y", 2, 77), Place("", "training/0"), Place("/z.npy")]
    full = Samples("/", ["1", "2", "3"], places=places)
    assert list(unpack(pack(full, np.array([2, 0, 1])))) == [places[2], places[0], places[1]]


def decoding(reader, shape, dtype="f4", **more):
    return Decoding(choose(READERS, {"type": reader}, "data"), shape, np.dtype(dtype), "first", **more)


def decoded(samples, decode):
    block = {"first": [0], "input": [pack(samples, np.arange(len(samples)))]}
    (part,) = Decoder({"input": decode}, most=100)(block)
    return part


def test_samples_that_cannot_be_read_do_not_take_the_others_along(tmp_path):
    for name, array in {
        "a": np.ones((1, 2)),
        "b": np.ones((1, 3)),
        "c": 1j * np.ones((1, 2)),
        "e": np.ones((1, 2)),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "d.npy").write_bytes(b"damaged")
    block = decoded(arrays(tmp_path, NUMPY), decoding("numpy", (1, 2)))
    assert [bool(error) for error in block["error"]] == [False, True, True, True, False]
    assert "b.npy: is 1x3, but first is 1x2" in block["error"][1]
    assert block["input"].tolist() == [[[1, 1]], [[0, 0]], [[0, 0]], [[0, 0]], [[1, 1]]]


def test_values_that_would_not_fit_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.full((1, 2), 0.5))
    block = decoded(arrays(tmp_path, NUMPY), decoding("numpy", (1, 2), "i2"))
    assert "holds float64, but first holds int16" in block["error"][0]


def test_all_samples_of_a_file_that_is_gone_are_reported(tmp_path):
    h5(tmp_path / "a.h5", "p", "q", "r")
    samples = arrays(tmp_path, HDF5)
    (tmp_path / "a.h5").unlink()
    block = decoded(samples, decoding("hdf5", (1, 2)))
    assert len(block["error"]) == 3
    assert all("a.h5" in error for error in block["error"])


def test_slices_are_decoded_from_their_arrays(tmp_path):
    array = np.arange(24.0).reshape(4, 6)
    np.save(tmp_path / "a.npy", array)
    cut = slicers({"sizes": [2, 4]})
    samples = sliced(arrays(tmp_path, NUMPY), cut)
    block = decoded(samples, decoding("numpy", (1, 2, 4), slicers=cut))
    np.testing.assert_array_equal(block["input"][0, 0], array[:2, :4])
    np.testing.assert_array_equal(block["input"][3, 0], [[16, 17, 0, 0], [22, 23, 0, 0]])
    assert not any(block["error"])
