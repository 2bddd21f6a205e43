import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rayrml.workers import Workers, global_batch_sizes

NUM = st.integers(1, 500)


@given(NUM, NUM, st.integers(1, 9))
def test_parts_of_the_workers_add_up_to_every_global_batch(num_samples, batch_size, num_workers):
    parts = [Workers(r, num_workers).batch_sizes(num_samples, batch_size) for r in range(num_workers)]
    assert [sum(sizes) for sizes in zip(*parts, strict=True)] == global_batch_sizes(num_samples, batch_size)


@given(NUM, NUM, st.integers(1, 9))
def test_parts_of_a_batch_differ_by_one_at_the_most(num_samples, batch_size, num_workers):
    parts = [Workers(r, num_workers).batch_sizes(num_samples, batch_size) for r in range(num_workers)]
    assert all(max(sizes) - min(sizes) <= 1 for sizes in zip(*parts, strict=True))


@given(NUM, NUM, st.integers(1, 9))
def test_a_worker_uses_its_share_of_the_samples(num_samples, batch_size, num_workers):
    for rank in range(num_workers):
        worker = Workers(rank, num_workers)
        assert sum(worker.batch_sizes(num_samples, batch_size)) == len(range(num_samples)[rank::num_workers])


@given(st.lists(st.integers(0, 8), max_size=200), NUM, st.integers(1, 9))
def test_parts_of_the_samples_that_workers_keep_fill_every_global_batch(places, batch_size, num_workers):
    places = np.array(places, int)
    keeps = [Workers(rank, num_workers).keeps(places) for rank in range(num_workers)]
    assert (np.sum(keeps, 0) == 1).all()
    parts = [Workers(rank, num_workers).count_own(mine, batch_size) for rank, mine in enumerate(keeps)]
    if len(places):
        assert [sum(sizes) for sizes in zip(*parts, strict=True)] == global_batch_sizes(len(places), batch_size)
    assert [sum(sizes) for sizes in parts] == [mine.sum() for mine in keeps]


@given(NUM, NUM)
def test_global_batches_are_full_but_for_the_last(num_samples, batch_size):
    sizes = global_batch_sizes(num_samples, batch_size)
    assert sum(sizes) == num_samples
    assert all(size == batch_size for size in sizes[:-1])
    assert 0 < sizes[-1] <= batch_size


def test_one_worker_sums_and_gathers_without_a_process_group():
    import torch

    assert Workers().sum(torch.ones(2)).tolist() == [1, 1]
    assert Workers().gather("x") == ["x"]
    assert Workers().exchange(torch.ones(2, 1), [2], [2]).tolist() == [[1], [1]]
