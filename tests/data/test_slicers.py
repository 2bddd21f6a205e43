import itertools
import json
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayrml.data.slicers import parse_slicers, slicer
from rayrml.errors import ConfigError, DataError


@st.composite
def cuts(draw, gaps=True):
    """A spatial shape of 1 to 3 axes, and the JSON of a slicer for it."""
    num_axes = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, 7)) for _ in range(num_axes))
    discards = draw(st.booleans())
    sizes = [draw(st.integers(1, n if discards else 8)) for n in shape]
    section = {"sizes": sizes, "discard_remainders": discards}
    section["padding_mode"] = draw(st.sampled_from(["zeros", "neighbors"]))
    if draw(st.booleans()):
        section["strides"] = [draw(st.integers(1, size + (3 if gaps else 0))) for size in sizes]
    if draw(st.booleans()):
        section["padding"] = [draw(st.integers(0, 3)) if size > 1 else 0 for size in sizes]
    elif draw(st.booleans()):
        section["padded_sizes"] = [size + (draw(st.integers(0, 4)) if size > 1 else 0) for size in sizes]
    section["transpose"] = sum(size > 1 for size in sizes) == 2 and draw(st.booleans())
    return shape, section


def numbers(shape, channels=2):
    """An array (C, *shape) in which no value occurs twice, and none is zero."""
    return np.arange(1, channels * np.prod(shape) + 1, dtype=np.float32).reshape(channels, *shape)


def margins_of(section):
    """Padding cells before and after a slice, for each axis."""
    sizes = section["sizes"]
    if "padding" in section:
        return [(p, p) for p in section["padding"]]
    extra = [p - s for p, s in zip(section.get("padded_sizes", sizes), sizes, strict=True)]
    return [(e // 2, e - e // 2) for e in extra]


def brute_force(array, section):
    """Names and samples of all slices of an array (C, *spatial), cut from a copy that is padded as a whole."""
    sizes, shape, far = section["sizes"], array.shape[1:], 20
    strides = section.get("strides", sizes)
    surrounded = np.pad(array, [(0, 0), *[(far, far)] * len(sizes)])
    steps = []
    for n, size, stride in zip(shape, sizes, strides, strict=True):
        starts = [s for s in range(0, n, stride) if s + size <= n]
        covered = starts[-1] + size if starts else 0
        following = starts[-1] + stride if starts else 0
        while not section["discard_remainders"] and covered < n and following < n:
            starts.append(following)
            covered, following = following + size, following + stride
        steps.append(starts)
    for starts in itertools.product(*steps):
        before_after = margins_of(section)
        if section["padding_mode"] == "neighbors":
            window = [
                slice(far + s - b, far + s + z + a) for s, z, (b, a) in zip(starts, sizes, before_after, strict=True)
            ]
            sample = surrounded[(slice(None), *window)]
        else:
            window = [slice(far + s, far + s + z) for s, z in zip(starts, sizes, strict=True)]
            sample = np.pad(surrounded[(slice(None), *window)], [(0, 0), *before_after])
        sample = sample.squeeze(tuple(i + 1 for i, size in enumerate(sizes) if size == 1))
        name = ",".join(f"{s}:{s + z}" for s, z in zip(starts, sizes, strict=True))
        yield name, sample.swapaxes(1, 2) if section["transpose"] else sample


@settings(max_examples=60, deadline=None)
@given(cuts())
def test_slices_are_those_of_brute_force(cut):
    shape, section = cut
    array = numbers(shape)
    (one,) = parse_slicers([section], "slicers")
    grid = one.grid(shape)
    expected = list(brute_force(array, section))
    assert [grid.name(i) for i in range(len(grid))] == [name for name, _ in expected]
    for i, (_, sample) in enumerate(expected):
        assert np.array_equal(grid.read(array, i), sample)
        assert np.array_equal(grid.read(array[0], i), sample[:1])
        assert sample.shape[1:] == one.sample_shape


@settings(max_examples=60, deadline=None)
@given(cuts())
def test_coverage_counts_the_slices_over_each_cell(cut):
    shape, section = cut
    grid = parse_slicers([section], "slicers")[0].grid(shape)
    count = np.zeros(shape, int)
    output = np.zeros((1, *grid.slicer.sample_shape))
    for i in range(len(grid)):
        region, values = grid.place(i, output)
        assert values.shape == (*count[region].shape, 1)
        assert count[region].size > 0
        count[region] += 1
    along = [grid.covered(axis) for axis in range(len(shape))]
    assert np.array_equal(np.prod(np.meshgrid(*along, indexing="ij"), axis=0), count)
    assert grid.overlaps == (count.max() > 1)
    within = tuple(slice(n) for n in grid.extent)
    assert grid.num_uncovered == (count[within] == 0).sum()
    assert count.sum() == count[within].sum(), "slices lie within the extent"
    for axis, n in enumerate(grid.extent):
        last = np.take(count, n - 1, axis)
        assert n == shape[axis] or (section["discard_remainders"] and last.any()), "it ends with the last slice"


@settings(max_examples=60, deadline=None)
@given(cuts(gaps=False))
def test_samples_go_back_to_where_they_came_from(cut):
    shape, section = cut
    array = numbers(shape, channels=3)
    grid = parse_slicers([section], "slicers")[0].grid(shape)
    again = np.full((*shape, 3), np.nan, np.float32)
    for i in range(len(grid)):
        region, values = grid.place(i, grid.read(array, i))
        again[region] = values
    uncovered = np.isnan(again)
    assert np.array_equal(again[~uncovered], np.moveaxis(array, 0, -1)[~uncovered])
    assert section["discard_remainders"] or not uncovered.any()
    assert not uncovered[tuple(slice(n) for n in grid.extent)].any()


@pytest.mark.parametrize(("length", "count"), [(704, 4455), (78, 405)])
def test_the_counts_of_record(length, count):
    one = slicer(sizes=(64, 64, 256), strides=(64, 64, 17), discard_remainders=True)
    grid = one.grid((length, 590, 1006))
    array = np.broadcast_to(np.float32(7), (1, length, 590, 1006))
    assert len(grid) == count
    assert grid.name(0) == "0:64,0:64,0:256"
    assert grid.name(1) == "0:64,0:64,17:273"
    assert grid.name(count - 1) == f"{length // 64 * 64 - 64}:{length // 64 * 64},512:576,748:1004"
    assert grid.read(array, count - 1).shape == (1, 64, 64, 256)
    assert grid.extent == (length // 64 * 64, 576, 1004)
    assert grid.num_uncovered == 0


def test_a_grid_costs_nothing_whatever_the_size_of_the_array():
    grid = slicer(sizes=(2, 2, 2), strides=(1, 1, 1)).grid((10**6, 10**6, 10**6))
    assert len(grid) == (10**6 - 1) ** 3
    assert grid.name(10**6) == "0:2,1:3,1:3"
    assert len(pickle.dumps(grid)) < 1000


@pytest.mark.parametrize(("length", "names"), [(7, ["0:2", "5:7"]), (8, ["0:2", "5:7"]), (11, ["0:2", "5:7", "10:12"])])
def test_no_slice_lies_outside_of_the_array(length, names):
    grid = slicer(sizes=(2,), strides=(5,)).grid((length,))
    assert [grid.name(i) for i in range(len(grid))] == names


def test_an_array_smaller_than_a_slice_gives_one():
    grid = slicer(sizes=(4,), padding=(1,)).grid((2,))
    assert len(grid) == 1
    assert grid.read(np.array([5, 6]), 0).tolist() == [[0, 5, 6, 0, 0, 0]]


def test_the_odd_cell_of_padding_comes_after():
    grid = slicer(sizes=(2,), padded_sizes=(5,), padding_mode="neighbors").grid((6,))
    assert grid.read(np.arange(1, 7), 1).tolist() == [[2, 3, 4, 5, 6]]


@settings(max_examples=20, deadline=None)
@given(cut=cuts(), data=st.data())
def test_files_are_read_as_arrays_are(cut, data, tmp_path_factory):
    shape, section = cut
    folder = tmp_path_factory.mktemp("arrays")
    array = numbers(shape)
    np.save(folder / "array.npy", array)
    grid = parse_slicers([section], "slicers")[0].grid(shape)
    i = data.draw(st.integers(0, len(grid) - 1))
    expected = grid.read(array, i)
    mapped = np.load(folder / "array.npy", mmap_mode="r")
    with h5py.File(folder / "array.h5", "w") as file:
        for read in (grid.read(mapped, i), grid.read(file.create_dataset("x", data=array), i)):
            assert type(read) is np.ndarray
            assert np.array_equal(read, expected)
            assert read.flags.c_contiguous


def test_only_the_window_is_read_and_in_one_piece():
    class Watched:
        shape = (2, 100, 100)
        windows = ()

        def __getitem__(self, window):
            self.windows += (window,)
            return np.zeros(self.shape)[window]

    array = Watched()
    slicer(sizes=(1, 10), padding=(0, 3), padding_mode="neighbors").grid((100, 100)).read(array, 11)
    assert array.windows == ((slice(None), 1, slice(7, 23)),)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<u2", ">i8", "f2"])
def test_samples_are_contiguous_in_the_native_dtype_and_own_their_memory(dtype, transpose):
    array = np.arange(48).reshape(6, 8).astype(dtype)
    grid = slicer(sizes=(6, 8), transpose=transpose).grid((6, 8))
    sample = grid.read(array, 0)
    assert sample.dtype == np.dtype(dtype).newbyteorder("=")
    assert sample.dtype.isnative
    assert sample.flags.c_contiguous
    assert np.array_equal(sample[0].T if transpose else sample[0], array)
    sample[:] = 0
    assert array[0, 1] == 1


def test_a_slice_of_one_cell_is_its_channels():
    grid = slicer(sizes=(1, 1)).grid((2, 2))
    array = numbers((2, 2))
    assert grid.slicer.sample_shape == ()
    assert grid.read(array, 2).tolist() == [3, 7]
    assert grid.read(array[0], 2).tolist() == [3]
    region, values = grid.place(2, np.array([3, 7]))
    assert region == (slice(1, 2), slice(0, 1))
    assert values.tolist() == [[[3, 7]]]


@pytest.mark.parametrize("i", [-1, 4])
def test_a_slice_that_is_not_there_is_refused(i):
    grid = slicer(sizes=(2, 2)).grid((4, 4))
    for use in (grid.name, lambda i: grid.read(np.zeros((4, 4)), i), lambda i: grid.place(i, np.zeros((1, 2, 2)))):
        with pytest.raises(IndexError, match="of 4"):
            use(i)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((64,), r"slicer 'xy': expected an array with 2 spatial axes, got the spatial shape \[64\]"),
        ((64, 0), r"slicer 'xy': the array has no cells: its spatial shape is \[64, 0\]"),
        (
            (8, 7),
            r"\[8, 7\] is smaller than a slice of \[8, 8\]\. Expected a larger array, or 'discard_remainders' false",
        ),
    ],
)
def test_arrays_that_cannot_be_cut_are_refused(shape, message):
    with pytest.raises(DataError, match=message):
        slicer(sizes=(8, 8), discard_remainders=True, name="xy").grid(shape)


@pytest.mark.parametrize("shape", [(8, 9), (1, 1, 8, 8), (8,), (8, 8, 3)])
def test_another_array_than_the_grid_was_made_for_is_refused(shape):
    with pytest.raises(DataError, match=r"expected an array of the spatial shape \[8, 8\], with or without"):
        slicer(sizes=(8, 8), name="xy").grid((8, 8)).read(np.zeros(shape), 0)


@pytest.mark.parametrize("shape", [(), (1,), (1, 4, 8), (8, 8)])
def test_predictions_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"slicer 'xy': .* Expected \[8, 4\] after the channels, got"):
        slicer(sizes=(4, 8), transpose=True, name="xy").grid((8, 8)).place(0, np.zeros(shape))


@settings(max_examples=60, deadline=None)
@given(cuts())
def test_settings_are_json_that_gives_the_slicer_again(cut):
    (one,) = parse_slicers([cut[1]], "slicers")
    assert parse_slicers([json.loads(json.dumps(one.settings))], "slicers") == (one,)
    assert pickle.loads(pickle.dumps(one)) == one


def test_names_follow_the_place_in_the_list():
    named = parse_slicers([{"sizes": [4]}, {"sizes": [4], "name": "fine"}, {"sizes": [4]}], "slicers")
    assert [one.name for one in named] == ["slicer_0", "fine", "slicer_2"]


def test_slicers_along_several_planes_agree_in_the_shape_of_samples():
    planes = parse_slicers(
        [{"sizes": [1, 8, 6]}, {"sizes": [8, 1, 6]}, {"sizes": [6, 8, 1], "transpose": True}], "slicers"
    )
    assert {one.sample_shape for one in planes} == {(8, 6)}


@pytest.mark.parametrize(
    ("section", "messages"),
    [
        ({"sizes": [4]}, ['s: expected a list of objects such as {"sizes": [64, 64]}, got {"sizes": [4]}']),
        ([7], ['s[0]: expected an object such as {"sizes": [64, 64]}, got 7']),
        ([{}], ["s[0].sizes: this key is missing and has no default"]),
        ([{"sizes": [4], "stride": [4]}], ["s[0].stride: unknown key. Did you mean 'strides'?"]),
        ([{"sizes": [4, 0]}], ["s[0].sizes.1: must be greater than or equal to 1, got 0"]),
        (
            [{"sizes": [4, 4], "strides": [2], "padding": [1, 1, 1]}],
            [
                "s[0].strides: expected 2 numbers, one for each of 'sizes', got 1",
                "s[0].padding: expected 2 numbers, one for each of 'sizes', got 3",
            ],
        ),
        (
            [{"sizes": [4], "padding": [1], "padded_sizes": [6]}],
            ["s[0].padded_sizes: repeats 'padding'. Expected only one of the two"],
        ),
        (
            [{"sizes": [4, 1], "padded_sizes": [3, 2]}],
            [
                "s[0].padded_sizes: expected at least the size, 4, for axis 0, got 3",
                "s[0].padded_sizes: axis 1 has size 1 and is dropped. Expected 1 for it",
            ],
        ),
        (
            [{"sizes": [1, 4], "padding": [1, 1]}],
            ["s[0].padding: axis 0 has size 1 and is dropped. Expected 0 for it"],
        ),
        (
            [{"sizes": [4, 4, 4], "transpose": True}],
            [
                "s[0].transpose: swaps the two axes of a 2-D sample, but this sample is 3-D. "
                "Expected false, or two sizes above 1"
            ],
        ),
        (
            [{"sizes": [4], "name": "a/b"}],
            ["s[0].name: \"a/b\" cannot be part of a dataset name. Expected a name without '/'"],
        ),
        (
            [{"sizes": [4], "name": "slicer_1"}, {"sizes": [4]}],
            ["s[1].name: 'slicer_1' is already the name of s[0]. Expected another"],
        ),
        (
            [{"sizes": [4, 4, 1]}, {"sizes": [4, 1, 5]}, {"sizes": [4, 4]}, {"sizes": [4, 4, 4]}],
            [
                "s[2].sizes: expected 3 numbers as in s[0], which cuts the same arrays, got 2",
                "s[3].sizes: gives samples with 3 axes, but all slicers must feed one network. "
                "Expected 2 as from s[0]",
            ],
        ),
    ],
)  # fmt: skip
def test_mistakes_are_all_told_with_their_places(section, messages):
    with pytest.raises(ConfigError) as caught:
        parse_slicers(section, "s")
    assert [str(problem) for problem in caught.value.problems] == messages


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_names_that_hdf5_would_not_take_are_refused(name):
    with pytest.raises(ConfigError, match=r"s\[0\]\.name: .* cannot be part"):
        parse_slicers([{"sizes": [4], "name": name}], "s")


def test_mistakes_in_several_slicers_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_slicers([{"sizes": []}, {"sizes": [4], "padding_mode": "mirror"}, {"sizes": [4]}, {"sizes": [5, 5]}], "s")
    assert [problem.where for problem in caught.value.problems] == ["s[0].sizes", "s[1].padding_mode", "s[3].sizes"]
