import itertools

import pytest

from rayrml.data.task_sizes import (
    BLOCK_BYTES,
    LARGEST_WINDOW,
    Portion,
    block_size,
    divide_cluster,
    sizes_at_once,
    sizes_in_order,
    sizes_of_actors,
    windows,
)

IMAGE = 224 * 224 * 3
GIB = 2**30


def cluster(num_nodes, cpus, store):
    """As `ray.nodes` tells them, with a head node without CPUs and a node that was lost."""
    nodes = [{"Alive": True, "Resources": {"CPU": cpus, "object_store_memory": store}} for _ in range(num_nodes)]
    return [*nodes, {"Alive": True, "Resources": {}}, {"Alive": False, "Resources": {"CPU": 999}}]


def divide(sizes, count):
    """The tasks of so many samples."""
    return [task for window in windows(count, sizes) for task in window]


@pytest.mark.parametrize("how", [sizes_in_order, sizes_at_once])
@pytest.mark.parametrize("count", [1, 7, 300, 50_000])
@pytest.mark.parametrize("seconds", [1e-7, 0.002, 3.0])
@pytest.mark.parametrize(("smallest", "most"), [(1, 100), (64, 100), (64, 10)])
def test_each_sample_is_in_one_task(how, count, seconds, smallest, most):
    portion = divide_cluster(cluster(2, 8, GIB), 3)
    tasks = divide(how(count, seconds, portion, smallest=smallest, most=most), count)
    assert [i for begin, end in tasks for i in range(begin, end)] == list(range(count))
    assert all(end - begin >= min(smallest, most) for begin, end in tasks[:-1])


@pytest.mark.parametrize(
    ("num_nodes", "cpus", "num_workers", "num_samples"),
    [(1, 2, 1, 7_000), (1, 16, 2, 100_000), (8, 96, 64, 50_000), (64, 96, 512, 10_000_000), (256, 64, 1024, 1_300_000)],
)
@pytest.mark.parametrize("how", [sizes_in_order, sizes_at_once])
def test_tasks_take_as_long_on_clusters_of_all_sizes(num_nodes, cpus, num_workers, num_samples, how):
    seconds = 0.002  # an image
    portion = divide_cluster(cluster(num_nodes, cpus, 32 * GIB), num_workers)
    share = num_samples // num_workers
    most = block_size(IMAGE, 1, portion)
    tasks = divide(how(share, seconds, portion, smallest=1, most=most), share)
    work = [(end - begin) * seconds for begin, end in tasks]
    # The first ones are short. Blocks of 16 MB are the limit of most.
    assert min(work[:-1], default=1) > 0.09
    assert len(tasks) <= min(2 * portion.num_cpus + sum(work) / 0.2, sum(work) / 0.09 + 1)


def test_expensive_samples_are_in_tasks_of_their_own():
    portion = divide_cluster(cluster(4, 8, GIB), 2)
    assert divide(sizes_in_order(100, 3.0, portion, smallest=1, most=50), 100) == [(i, i + 1) for i in range(100)]


def test_all_cpus_have_work():
    portion = divide_cluster(cluster(1, 16, GIB), 1)
    for how in (sizes_in_order, sizes_at_once):
        assert len(divide(how(10_000, 0.002, portion, smallest=1, most=200), 10_000)) >= 16
    assert len(divide(sizes_of_actors(10_000, 40, portion, smallest=1, most=200), 10_000)) > 150


@pytest.mark.parametrize(("num_nodes", "num_workers"), [(1, 1), (1, 8), (64, 512), (64, 64), (256, 1024)])
@pytest.mark.parametrize("store", [0.1 * GIB, 4 * GIB, 200 * GIB])
def test_what_workers_of_a_node_decode_ahead_fits_the_node(num_nodes, num_workers, store):
    portion = divide_cluster(cluster(num_nodes, 96, store), num_workers)
    together = portion.ahead_bytes * num_workers / num_nodes
    assert together <= max(store / 4, 2 * BLOCK_BYTES * num_workers / num_nodes) + 1
    assert block_size(IMAGE, 1, portion) * IMAGE <= store / 8


def test_a_cluster_without_nodes_that_tell_their_stores_has_one_cpu():
    portion = divide_cluster([], 4)
    assert portion.num_cpus == 1
    assert block_size(2 * BLOCK_BYTES, 1, portion) == 1


def test_the_first_window_is_small_and_none_is_large():
    found = [len(window) for window in itertools.islice(windows(10**7, itertools.repeat(10), 64), 8)]
    assert found == [64, 128, 256, 512, *[LARGEST_WINDOW] * 4]
    assert Portion(2, GIB, GIB).first_window == 64
    assert Portion(10_000, GIB, GIB).first_window == LARGEST_WINDOW


def test_windows_end_with_the_samples():
    assert list(windows(0, itertools.repeat(3), 2)) == []
    assert list(windows(7, itertools.repeat(3), 2)) == [[(0, 3), (3, 6)], [(6, 7)]]
