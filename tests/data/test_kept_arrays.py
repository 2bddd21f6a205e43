"""Slices cut from arrays that the workers of a machine keep in memory together."""

import dataclasses
import functools
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from rayrml.config.tables import choose
from rayrml.data import contents, kept_arrays
from rayrml.data.decoding import Decoding
from rayrml.data.discovery import find_samples
from rayrml.data.pipeline import Pipeline
from rayrml.data.readers import READERS
from rayrml.data.slicers import Slicer
from rayrml.data.sources import Side, Source
from rayrml.workers import Workers
from tests.processes import on_workers

SHAPE = (40, 12, 10)


def source_of(path, stride, *, chunks=None, dtype="f2"):
    """Slices of 8x6x10 of an array that is written to `path`."""
    array = np.random.default_rng(0).normal(size=SHAPE).astype(dtype)
    if not path.exists():
        with h5py.File(path, "w") as file:
            file.create_dataset("a", data=array, chunks=chunks)
    reader = choose(READERS, {"type": "hdf5"}, "data")
    slicer = Slicer("s", (8, 6, 10), (stride, stride, 10), (8, 6, 10))
    location = contents.locate(str(path), reader.build(), "training", "input_path")
    whole = contents.list_arrays(location, reader.build(), "input_path")
    grids = contents.make_grids(whole, reader.build(), [slicer], skip=False)
    samples = contents.list_slices(whole, grids, [slicer])
    decoding = Decoding(reader, (1, 8, 6, 10), np.dtype("f4"), "the first", slicers=(slicer,))
    return Source(Side(samples, decoding, pixels=False), None, "training")


def decoded(source):
    """The values of all slices, and the error of each."""
    source = dataclasses.replace(source, here=True)
    blocks = list(Pipeline(decode_cpus=0.5).decode(source, np.arange(len(source.samples))))
    return np.concatenate([block.inputs for block in blocks]), [error for block in blocks for error in block.errors]


@pytest.mark.parametrize(("stride", "kept"), [(1, True), (8, False)])
def test_arrays_are_kept_where_their_slices_take_much_more_memory(tmp_path, stride, kept):
    source = source_of(tmp_path / "a.h5", stride)
    assert kept_arrays.count_bytes(source) == (2 * 40 * 12 * 10 if kept else 0)  # as they are stored: two bytes a value


def test_whole_samples_are_no_slices(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 2), np.float32))
    samples = find_samples(str(tmp_path), {".npy"}, "input_path")
    decoding = Decoding(choose(READERS, {"type": "numpy"}, "data"), (1, 2, 2), np.dtype("f4"), "the first")
    assert kept_arrays.count_bytes(Source(Side(samples, decoding), None, "training")) == 0


def seen_by(workers, path):
    """The slices as this worker sees them once the file is gone, and which memory they are in."""
    source = kept_arrays.keep_arrays(source_of(path, 1), workers)
    workers.gather(None)
    path.unlink(missing_ok=True)
    values, errors = decoded(source)
    memory = re.findall(r"(\S+) +/memfd:rayrml", Path("/proc/self/maps").read_text())
    return values, errors, set(memory)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_workers_cut_the_slices_of_the_file_from_one_array(tmp_path, size):
    expected, _ = decoded(source_of(tmp_path / "a.h5", 1))
    found = on_workers(functools.partial(seen_by, path=tmp_path / "a.h5"), size)[size]
    for values, errors, _ in found:
        np.testing.assert_array_equal(values, expected)
        assert not any(errors)
    places = [memory for _, _, memory in found]
    assert all(memory == places[0] for memory in places)
    assert len(places[0]) == (size > 1)  # a single worker needs no memory that others can open


def test_slices_of_an_array_that_cannot_be_read_whole_are_read_from_its_file(tmp_path):
    path = tmp_path / "a.h5"
    source = source_of(path, 1, chunks=(8, 12, 10))
    with h5py.File(path, "r+") as file:
        file["a"].id.get_chunk_info(0)
        del file["a"]
        file.create_dataset("a", data=np.ones(SHAPE, "f2"), chunks=(8, 12, 10), fletcher32=True)
        start = file["a"].id.get_chunk_info(4).byte_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"damaged")
    kept = kept_arrays.keep_arrays(source, Workers())
    values, errors = decoded(kept)
    bad = np.array([bool(error) for error in errors])
    assert 0 < bad.sum() < len(bad)
    assert errors == decoded(source)[1]
    assert (values[~bad] == 1).all()
