import gc
import json
import resource
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayrml import storage
from rayrml.data.discovery import Slices
from rayrml.data.slicers import parse_slicers, slicer
from rayrml.errors import DataError
from rayrml.inference.prediction_files import PredictionFile
from rayrml.inference.slice_assembly import SliceAssembly, choose_chunk_shape
from rayrml.networks.network import build_network
from rayrml.saving.keras_weights import export_weights
from tests.conftest import dense_network
from tests.data.test_slicers import cuts, numbers


def parts_of(grids):
    """Parts `part_0`, `part_1`, ... for grids whose slices follow each other."""
    firsts = np.cumsum([0, *(len(grid) for grid in grids)])
    return [Slices(f"part_{k}", int(first), grid) for k, (grid, first) in enumerate(zip(grids, firsts, strict=False))]


def read_all(parts, array):
    """The samples of all parts, in data order."""
    return np.stack([part.grid.read(array, i) for part in parts for i in range(len(part.grid))])


def assemble(path, parts, outputs, **options):
    """The file's datasets and their attributes, after all outputs have been written in order."""
    assembly = SliceAssembly(path, parts, **options)
    assembly.write(np.arange(len(outputs)), outputs)
    assembly.close()
    return contents(path)


def contents(path):
    with h5py.File(path) as file:
        return {name: (file[name][()], dict(file[name].attrs)) for name in file}


@st.composite
def several_cuts(draw):
    """A spatial shape and slicers for it, whose samples all have the same shape."""
    shape, section = draw(cuts(gaps=False))
    others = [{**section, "strides": section["sizes"]}, {**section, "padding_mode": "neighbors"}]
    return shape, parse_slicers([section, *draw(st.lists(st.sampled_from(others), max_size=2))], "slicers")


@settings(max_examples=60, deadline=None)
@given(cut=several_cuts(), seed=st.integers(0, 99), batch=st.integers(1, 7), channels=st.sampled_from([None, 1, 3]))
def test_what_is_cut_is_put_together_again(cut, seed, batch, channels, tmp_path_factory):
    shape, slicers = cut
    path = tmp_path_factory.mktemp("out") / "o.h5"
    array = numbers(shape, channels or 1)
    parts = parts_of([one.grid(shape) for one in slicers])
    outputs = read_all(parts, array if channels else array[0])
    order = np.random.default_rng(seed).permutation(len(outputs))
    assembly = SliceAssembly(path, parts[::-1])
    for start in range(0, len(order), batch):
        assembly.write(order[start : start + batch], outputs[order[start : start + batch]])
    assembly.close()
    datasets = contents(path)
    assert sorted(datasets) == sorted(part.name for part in parts)
    for part in parts:
        together, attributes = datasets[part.name]
        assert together.dtype == np.float32
        assert together.shape == (*part.grid.extent, array.shape[0])
        assert np.array_equal(together, np.moveaxis(array, 0, -1)[tuple(slice(n) for n in part.grid.extent)])
        assert attributes["uncovered"] == part.grid.num_uncovered == 0
        assert parse_slicers([json.loads(attributes["slicer"])], "slicers") == (part.grid.slicer,)


@settings(max_examples=30, deadline=None)
@given(cut=cuts(), seed=st.integers(0, 99))
def test_cells_are_means_of_the_slices_that_cover_them(cut, seed, tmp_path_factory):
    shape, section = cut
    grid = parse_slicers([section], "slicers")[0].grid(shape)
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(len(grid), 2, *grid.slicer.sample_shape)).astype(np.float32)
    sums, counts = np.zeros((*shape, 2)), np.zeros((*shape, 1))
    for i, output in enumerate(outputs):
        region, values = grid.place(i, output)
        sums[region] += values
        counts[region] += 1
    expected = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    expected = expected[tuple(slice(n) for n in grid.extent)]
    path = tmp_path_factory.mktemp("out") / "o.h5"
    assert np.array_equal(assemble(path, parts_of([grid]), outputs)["part_0"][0], expected.astype("f4"), equal_nan=True)


def test_the_mean_does_not_depend_on_the_order(tmp_path):
    grid = slicer(sizes=(7,), strides=(2,)).grid((30,))
    outputs = np.random.default_rng(0).normal(size=(len(grid), 1, 7)).astype(np.float32)
    files = []
    for seed in range(5):
        assembly = SliceAssembly(tmp_path / "o.h5", parts_of([grid]))
        for i in np.random.default_rng(seed).permutation(len(grid)):
            assembly.write(np.array([i]), outputs[i : i + 1])
        assembly.close()
        files.append((tmp_path / "o.h5").read_bytes())
    assert len(set(files)) == 1


def test_the_mean_of_equal_values_is_that_value(tmp_path):
    grid = slicer(sizes=(7,), strides=(1,)).grid((30,))
    outputs = np.full((len(grid), 1, 7), np.float32(0.1))
    assert np.unique(assemble(tmp_path / "o.h5", parts_of([grid]), outputs)["part_0"][0]).tolist() == [np.float32(0.1)]


@pytest.mark.parametrize("strides", [(8, 8, 8), (8, 8, 3)])
def test_remainders_that_are_left_out_are_not_in_the_file(tmp_path, strides):
    """Scripts compare a prediction with `target[:16, :8, :24]` cell by cell."""
    grid = slicer(sizes=(8, 8, 8), strides=strides, discard_remainders=True).grid((20, 13, 27))
    array = np.random.default_rng(0).normal(size=(2, 20, 13, 27)).astype("f4")
    parts = parts_of([grid])
    together, attributes = assemble(tmp_path / "o.h5", parts, read_all(parts, array))["part_0"]
    depth = 24 if strides[2] == 8 else 26
    np.testing.assert_allclose(together, np.moveaxis(array, 0, -1)[:16, :8, :depth], rtol=1e-6)
    assert attributes["uncovered"] == 0


def test_cells_between_slices_are_nan_and_counted(tmp_path):
    grid = slicer(sizes=(2,), strides=(3,), discard_remainders=True, name="gaps").grid((7,))
    together, attributes = assemble(tmp_path / "o.h5", parts_of([grid]), np.ones((2, 1, 2)))["part_0"]
    assert together[:, 0].tolist() == pytest.approx([1, 1, np.nan, 1, 1], nan_ok=True)
    assert attributes["uncovered"] == 1
    assert json.loads(attributes["slicer"])["name"] == "gaps"


@pytest.mark.parametrize("stride", [4, 2])
def test_half_precision_rounds_and_leaves_its_range_for_infinity(tmp_path, stride):
    grid = slicer(sizes=(4,), strides=(stride,)).grid((8,))
    outputs = np.full((len(grid), 2, 4), 1 / 3, np.float32)
    outputs[:, 1] = -1e6
    (together, _) = assemble(tmp_path / "o.h5", parts_of([grid]), outputs, precision="half")["part_0"]
    assert together.dtype == np.float16
    assert np.unique(together[:, 0]).tolist() == [np.float16(1 / 3)]
    assert np.unique(together[:, 1]).tolist() == [-np.inf]


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("stride", [4, 2])
def test_outputs_of_other_precisions_are_taken(tmp_path, dtype, stride):
    grid = slicer(sizes=(4,), strides=(stride,)).grid((8,))
    outputs = np.full((len(grid), 1, 4), 0.1, dtype)
    (together, _) = assemble(tmp_path / "o.h5", parts_of([grid]), outputs)["part_0"]
    assert np.unique(together).tolist() == [np.float32(dtype(0.1))]


def test_names_may_lie_in_groups_and_need_not_be_utf8(tmp_path):
    grid = slicer(sizes=(2,)).grid((2,))
    names = ["deep/ä.npy/slicer_0", "\udcff.npy"]
    parts = [Slices(name, k, grid) for k, name in enumerate(names)]
    assemble_to = SliceAssembly(tmp_path / "o.h5", parts)
    assemble_to.write(np.arange(2), np.array([[[1, 2]], [[3, 4]]]))
    assemble_to.close()
    with h5py.File(tmp_path / "o.h5") as file:
        assert file[names[0]][:, 0].tolist() == [1, 2]
        assert file[b"\xff.npy"][:, 0].tolist() == [3, 4]


@pytest.mark.parametrize("num_channels", [1, 5])
@pytest.mark.parametrize(
    ("shape", "sizes", "strides"),
    [
        ((300, 400, 500), (64, 64, 64), (64, 64, 64)),
        ((704, 590, 1006), (64, 64, 256), (64, 64, 17)),
        ((300, 400, 500), (64, 64, 64), (32, 40, 1)),
        ((300, 400, 500), (300, 400, 500), (300, 400, 500)),
        ((300, 400, 500), (1, 1, 1), (1, 1, 1)),
        ((2003, 2003), (1009, 1009), (1009, 1009)),
        ((900, 900), (2, 2), (2000, 2000)),
        ((10**7,), (8,), (8,)),
    ],
)
def test_chunks_are_neither_large_nor_tiny_and_a_slice_touches_few(shape, sizes, strides, num_channels):
    grid = slicer(sizes=sizes, strides=strides).grid(shape)
    *sides, last = choose_chunk_shape(grid, num_channels)
    itemsize = 8 if grid.overlaps else 4
    chunk = np.prod([*sides, last]) * itemsize
    assert last == num_channels
    assert all(side <= n for side, n in zip(sides, shape, strict=True))
    assert 2**14 <= chunk <= 2**20
    for i in np.random.default_rng(0).integers(0, len(grid), 20):
        region, _ = grid.place(i, np.broadcast_to(np.float32(0), (num_channels, *grid.slicer.sample_shape)))
        spans = [(cut.stop - 1) // side - cut.start // side + 1 for cut, side in zip(region, sides, strict=True)]
        assert np.prod(spans) * chunk <= 3 * np.prod(sizes) * num_channels * itemsize + 2 * 2**20


def test_the_room_of_sums_is_used_again_by_the_next_part(tmp_path):
    grid = slicer(sizes=(64, 64), strides=(32, 32)).grid((256, 256))
    parts = parts_of([grid] * 8)
    assembly = SliceAssembly(tmp_path / "o.h5", parts)
    for part in parts:
        assembly.write(part.first + np.arange(len(grid)), np.ones((len(grid), 1, 64, 64), np.float32))
    _, sums = sorted(tmp_path.glob(".*.unfinished"), key=lambda path: int(path.stem.rpartition("-")[2]))
    assert sums.stat().st_size < 2 * 8 * 256 * 256
    assembly.close()
    assert all((together == 1).all() for together, _ in contents(tmp_path / "o.h5").values())


def test_infinities_and_nan_are_kept(tmp_path):
    grid = slicer(sizes=(2,), strides=(1,)).grid((4,))
    outputs = np.array([[[np.inf, np.inf]], [[-np.inf, 1]], [[1e300, np.nan]]])
    (together, _) = assemble(tmp_path / "o.h5", parts_of([grid]), outputs)["part_0"]
    assert together[:, 0].tolist() == pytest.approx([np.inf, np.nan, np.inf, np.nan], nan_ok=True)


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    grid = slicer(sizes=(4,)).grid((8,))
    assembly = SliceAssembly(tmp_path / "new" / "o.h5", parts_of([grid]))
    assembly.write(np.array([0]), np.zeros((1, 1, 4)))
    with pytest.raises(ValueError, match="1 of 2 slices were never written"):
        assembly.close()
    assert not (tmp_path / "new" / "o.h5").exists()
    assembly.write(np.array([1]), np.zeros((1, 1, 4)))
    assembly.close()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["o.h5"]


@pytest.mark.parametrize("written", [0, 1, 3])
@pytest.mark.parametrize("stride", [4, 2])
def test_nothing_is_left_of_what_is_discarded(tmp_path, stride, written):
    (tmp_path / "o.h5").write_text("of an earlier run")
    grid = slicer(sizes=(4,), strides=(stride,)).grid((20,))
    assembly = SliceAssembly(tmp_path / "o.h5", parts_of([grid]))
    assembly.write(np.arange(written), np.zeros((written, 1, 4)))
    assembly.discard()
    assembly.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["o.h5"]
    assert (tmp_path / "o.h5").read_text() == "of an earlier run"


def test_what_is_closed_stays_when_it_is_discarded(tmp_path):
    grid = slicer(sizes=(4,), strides=(2,)).grid((8,))
    assembly = SliceAssembly(tmp_path / "o.h5", parts_of([grid]))
    assembly.write(np.arange(3), np.zeros((3, 1, 4)))
    assembly.close()
    assembly.discard()
    assert contents(tmp_path / "o.h5")["part_0"][0].shape == (8, 1)


def test_without_parts_there_is_a_file_without_datasets(tmp_path):
    assert assemble(tmp_path / "o.h5", [], np.zeros((0, 1, 4))) == {}


@pytest.mark.parametrize(
    ("indices", "outputs", "message"),
    [
        ([1, 1], np.zeros((2, 1, 4)), "slice 1 of 'part_0' was written before"),
        ([2], np.zeros((1, 1, 4)), "sample 2 is not a slice of any part"),
        ([-1], np.zeros((1, 1, 4)), "sample -1 is not a slice of any part"),
        ([0, 1], np.zeros((1, 1, 4)), "2 indices for 1 outputs"),
    ],
)
def test_indices_that_cannot_be_are_refused(tmp_path, indices, outputs, message):
    assembly = SliceAssembly(tmp_path / "o.h5", parts_of([slicer(sizes=(4,)).grid((8,))]))
    with pytest.raises(ValueError, match=message):
        assembly.write(np.array(indices), outputs)
    assembly.discard()


def test_outputs_of_another_shape_are_refused(tmp_path):
    assembly = SliceAssembly(tmp_path / "o.h5", parts_of([slicer(sizes=(4,), name="x").grid((8,))]))
    with pytest.raises(DataError, match=r"slicer 'x': .* Expected \[4\] after the channels, got \[3\]"):
        assembly.write(np.array([0]), np.zeros((1, 2, 3)))
    assembly.write(np.array([0]), np.zeros((1, 2, 4)))
    with pytest.raises(ValueError, match="outputs have 3 channels, but earlier ones have 2"):
        assembly.write(np.array([1]), np.zeros((1, 3, 4)))
    assembly.discard()


def test_parts_that_share_a_name_or_a_sample_are_refused(tmp_path):
    grid = slicer(sizes=(4,)).grid((8,))
    with pytest.raises(ValueError, match="several parts have the same name"):
        SliceAssembly(tmp_path / "o.h5", [Slices("a", 0, grid), Slices("a", 2, grid)])
    with pytest.raises(ValueError, match="a sample belongs to several parts"):
        SliceAssembly(tmp_path / "o.h5", [Slices("a", 1, grid), Slices("b", 0, grid)])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/o\.h5: cannot be written\. File exists"):
        SliceAssembly(tmp_path / "file" / "o.h5", [])


@contextmanager
def files_no_larger_than(num_bytes):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("num_bytes", [100, 5000, 60_000, 200_000])
@pytest.mark.parametrize("stride", [64, 32])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, stride, num_bytes):
    grid = slicer(sizes=(64, 64), strides=(stride, stride)).grid((256, 256))
    assembly = SliceAssembly(tmp_path / "o.h5", parts_of([grid]))
    with files_no_larger_than(num_bytes), pytest.raises(DataError, match=r"o\.h5: cannot be written\. File too large"):
        assembly.write(np.arange(len(grid)), np.ones((len(grid), 2, 64, 64), np.float32))
        assembly.close()
    assembly.discard()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_collected_while_hdf5_writes(tmp_path, monkeypatch):
    collecting = []

    class Watched(storage.Unfinished):
        def write(self, content, /):
            collecting.append(gc.isenabled())
            return super().write(content)

        def readinto(self, buffer, /):
            collecting.append(gc.isenabled())
            return super().readinto(buffer)

    monkeypatch.setattr(storage, "Unfinished", Watched)
    grid = slicer(sizes=(4, 4), strides=(2, 2)).grid((9, 11))
    array = np.zeros((1, 9, 11), "f4")
    assembly = SliceAssembly(tmp_path / "o.h5", parts_of([grid]))
    assembly.write(np.arange(len(grid)), read_all(parts_of([grid]), array))
    assembly.close()
    SliceAssembly(tmp_path / "o.h5", parts_of([grid])).discard()
    file = PredictionFile(tmp_path / "p.h5", ("a", "b"))
    file.write(["x", "y"], np.zeros((2, 100_000), "f4"))
    file.close()
    export_weights(build_network(dense_network(2)), tmp_path / "w.h5")
    assert collecting
    assert not any(collecting)
    assert gc.isenabled()
