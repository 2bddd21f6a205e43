"""Epochs in which each class comes equally often: what they consist of, and who has it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rayrml.data.places import deal_places
from rayrml.data.sampling import Balanced, Picks, draw_equally, number_uses
from rayrml.workers import Workers, global_batch_sizes

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)
WORKERS = st.integers(1, 4)


def make(labels, rank=0, size=1, *, owned=0, seed=0):
    """What a worker has of samples with these labels, whose numbers are not their positions.

    If samples are `owned`, that is the size of batches.
    """
    samples = np.arange(len(labels))[::-1] * 3
    places = deal_places(len(labels), owned) if owned else None
    return Balanced(samples, labels, seed=(seed,), workers=Workers(rank, size), places=places)


def parts_of(labels, num_workers, owned, epoch=1):
    """What each worker has."""
    return [make(labels, rank, num_workers, owned=owned).picks(epoch) for rank in range(num_workers)]


def sorted_pairs(parts):
    return sorted((sample, use) for part in parts for sample, use in zip(*map(np.ndarray.tolist, part), strict=True))


@given(LABELS, st.integers(0, 5))
def test_classes_and_the_samples_of_each_class_come_equally_often(labels, seed):
    rows = draw_equally(labels, np.random.default_rng(seed))
    assert len(rows) == len(labels)
    drawn = np.bincount(labels[rows], minlength=5)[np.unique(labels)]
    assert drawn.max() - drawn.min() <= 1
    times = np.bincount(rows, minlength=len(labels))
    for label in np.unique(labels):
        own = times[labels == label]
        assert own.max() - own.min() <= 1


def test_classes_of_equal_sizes_are_drawn_once_as_a_whole():
    labels = np.arange(30) % 3
    assert sorted(draw_equally(labels, np.random.default_rng(0))) == list(range(30))


@given(LABELS, WORKERS, st.sampled_from([0, 1, 7, 64]))
def test_an_epoch_consists_of_the_same_for_any_number_of_workers(labels, num_workers, owned):
    alone = sorted_pairs(parts_of(labels, 1, 0))
    assert sorted_pairs(parts_of(labels, num_workers, owned)) == alone
    uses = [use for _, use in alone]
    assert len(set(uses)) == len(labels)
    first = {sample for sample, use in alone if use == sample}
    assert first == {sample for sample, _ in alone}
    assert all(use not in first for sample, use in alone if use != sample)


@given(LABELS, WORKERS, st.booleans(), st.integers(1, 70))
def test_the_parts_of_the_workers_add_up_to_each_global_batch_and_to_what_each_worker_has(
    labels, num_workers, owned, batch_size
):
    all_parts = [make(labels, rank, num_workers, owned=batch_size * owned) for rank in range(num_workers)]
    sizes = [balanced.parts(1, batch_size) for balanced in all_parts]
    assert np.sum(sizes, axis=0).tolist() == global_batch_sizes(len(labels), batch_size)
    assert [sum(of_worker) for of_worker in sizes] == [len(b.picks(1).samples) for b in all_parts]


@given(LABELS, WORKERS)
def test_a_worker_gets_only_the_samples_that_it_has(labels, num_workers):
    for rank in range(num_workers):
        balanced = make(labels, rank, num_workers, owned=7)
        assert set(balanced.picks(1).samples) <= set(balanced.samples[balanced.places % num_workers == rank])


@given(LABELS, st.integers(1, 20), st.booleans())
def test_global_batches_are_the_same_for_any_number_of_workers(labels, batch_size, owned):
    def batches(num_workers):
        found = [[] for _ in global_batch_sizes(len(labels), batch_size)]
        for rank in range(num_workers):
            balanced = make(labels, rank, num_workers, owned=batch_size * owned)
            ends = np.cumsum(balanced.parts(1, batch_size))[:-1]
            for into, part in zip(found, np.split(balanced.picks(1).uses, ends), strict=True):
                into += part.tolist()
        return [sorted(batch) for batch in found]

    assert batches(1) == batches(2) == batches(3)


def test_the_workers_have_about_as_much_of_each_batch():
    labels = np.repeat([0, 1], [950, 50])
    sizes = np.array([make(labels, rank, 2, owned=100).parts(1, 100) for rank in range(2)])
    assert (sizes.max(0) - sizes.min(0)).max() <= 5


def test_epochs_and_seeds_draw_others_each_in_an_order_that_can_be_had_again():
    labels = np.repeat([0, 1], [90, 10])
    drawn = [make(labels, seed=seed).picks(epoch).samples.tolist() for seed in (0, 1) for epoch in (1, 2)]
    assert len(set(map(tuple, drawn))) == 4
    assert len({tuple(sorted(samples)) for samples in drawn}) == 4
    assert make(labels).picks(1).samples.tolist() == drawn[0]
    of_rare = np.isin(drawn[0], np.arange(10) * 3)  # the rare class has the last positions, which have these numbers
    assert of_rare.sum() == 50
    assert 10 < np.flatnonzero(of_rare).mean() < 90, "the classes are mixed"


def test_without_samples_there_is_nothing():
    empty = np.empty(0, int)
    balanced = Balanced(empty, empty, seed=(0,), workers=Workers(1, 2), places=empty)
    assert len(balanced.picks(1).samples) == 0
    assert balanced.parts(1, 4) == []


def test_a_sample_that_comes_again_has_another_number():
    assert number_uses(np.array([7, 2, 7, 7, 0])).tolist() == [7, 2, 8, 9, 0]
    assert Picks.once(np.array([3, 1])).at(slice(1, None)) == (1, 1)
