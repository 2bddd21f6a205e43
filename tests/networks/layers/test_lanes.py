import functools
import mmap
import os
import platform
import sys
import threading
import time

import numpy as np
import pytest
import torch

from rayrml.networks.layers import lanes
from rayrml.networks.layers.lanes import MemoryLane, memory_size, open_lane
from rayrml.workers import Workers
from tests.processes import on_workers


def in_memory(size, **options):
    """The lanes of this many workers, all in this process."""
    memory = mmap.mmap(-1, memory_size(size))
    return [MemoryLane(rank, size, memory, **options) for rank in range(size)]


def in_threads(*work):
    threads = [threading.Thread(target=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("size", [2, 3, 5])
def test_many_sums_of_all_lengths_add_up_in_all_workers(size):
    lengths = [1, 7, 8192, 8193, 20_000, *np.random.default_rng(0).integers(1, 300, 200)]
    values = [np.random.default_rng(length).normal(size=(size, length)) for length in lengths]
    results = [[] for _ in range(size)]

    def work(lane, rank):
        for all_of_them in values:
            tensor = torch.tensor(all_of_them[rank])
            lane.sum(tensor)
            results[rank].append(tensor.numpy())

    in_threads(*(functools.partial(work, lane, rank) for rank, lane in enumerate(in_memory(size))))
    for all_of_them, *sums in zip(values, *results, strict=True):
        np.testing.assert_allclose(sums[0], all_of_them.sum(0), rtol=0, atol=1e-12)
        assert all((one == sums[0]).all() for one in sums)  # to the last bit


def test_a_matrix_is_summed_where_it_lies():
    tensors = [torch.full((2, 3), float(rank), dtype=torch.float64) for rank in range(2)]
    in_threads(*(functools.partial(lane.sum, tensor) for lane, tensor in zip(in_memory(2), tensors, strict=True)))
    assert all((tensor == 1).all() for tensor in tensors)


def test_a_slow_worker_is_waited_for():
    first, second = in_memory(2)
    tensors = torch.ones(2, 4, dtype=torch.float64)

    def late():
        time.sleep(0.2)
        second.sum(tensors[1])

    in_threads(functools.partial(first.sum, tensors[0]), late)
    assert (tensors == 2).all()


def test_a_worker_that_never_comes_is_an_error():
    with pytest.raises(RuntimeError, match=r"waited 0\.05 seconds"):
        in_memory(2, patience=0.05)[0].sum(torch.ones(1, dtype=torch.float64))


HAS_MEMORY = sys.platform == "linux" and platform.machine() == "x86_64" and os.access("/dev/shm", os.W_OK)


def sums(workers, kind=None):
    if kind == "no memory":
        lanes._MEMORY = lanes.Path("/dev/null/nowhere")
    if kind == "memory of another machine" and workers.rank == 1:
        lanes._map = lambda path, size: None
    lane = open_lane(workers)
    tensor = torch.arange(10, dtype=torch.float64) * (workers.rank + 1)
    for _ in range(50):
        lane.sum(tensor)
        tensor /= workers.size
    return type(lane).__name__, tensor.numpy()


@pytest.mark.parametrize("kind", [None, "no memory", "memory of another machine"])
def test_processes_find_the_way_that_all_of_them_have(kind):
    for size, results in on_workers(functools.partial(sums, kind=kind), 1, 2, 3).items():
        for name, tensor in results:
            np.testing.assert_allclose(tensor, np.arange(10) * (size + 1) / 2, rtol=1e-12)
            if size > 1 and kind is None and HAS_MEMORY:
                assert name == "MemoryLane"
            if size > 1 and kind is not None:
                assert name == "_GroupLane"


def test_nothing_stays_behind():
    before = set(lanes._MEMORY.glob("rayrml-*"))
    on_workers(sums, 2)
    assert set(lanes._MEMORY.glob("rayrml-*")) <= before


def test_a_full_memory_is_noticed(tmp_path):
    path = tmp_path / "memory"
    with lanes._created(path, 1 << 62):  # more than any file system has
        assert lanes._map(path, 1 << 20) is None
    assert not path.exists()


def test_one_worker_has_its_own_sums():
    tensor = torch.ones(3, dtype=torch.float64)
    open_lane(Workers()).sum(tensor)
    assert (tensor == 1).all()
