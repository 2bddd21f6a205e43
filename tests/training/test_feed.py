"""Batches of samples of several shapes: each is of one shape, and an epoch's order is the same for all workers."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayrml.data.decoding import Decoding
from rayrml.data.discovery import Samples
from rayrml.data.places import deal_places
from rayrml.data.readers import READERS
from rayrml.data.sampling import Balanced
from rayrml.data.shards import ResidentShard, StreamedShard
from rayrml.data.slicers import parse_slicers
from rayrml.data.sources import Side, Source
from rayrml.training.feed import Feed, Part
from rayrml.workers import Workers, global_batch_sizes

CPU = torch.device("cpu")
SOURCE = Source(
    Side(Samples("", [""]), Decoding(READERS["numpy"](), (1,), np.dtype("f4"), "a"), pixels=False), None, "training"
)


def read(shape):
    def blocks(picks, epoch):
        for part in np.array_split(picks.samples, 3):
            yield np.broadcast_to(part.reshape(-1, 1, 1), (len(part), *shape)).copy(), part, np.ones(len(part), bool)

    return blocks


def balanced_feed(labels, rank=0, size=1, *, resident=0, used=None, balanced=True):
    """The feed of a worker for samples with these labels, which come equally often if they are `balanced`.

    If samples are `resident`, that is the size of batches.
    """
    workers, numbers = Workers(rank, size), np.arange(len(labels))
    if resident:
        order = np.argsort(labels, kind="stable")
        good = np.ones(len(labels), bool) if used is None else used[order]
        places = deal_places(len(labels), resident)
        mine = workers.keeps(places)
        own = order[mine]
        drawn = Balanced(order[good], labels[order[good]], seed=(0,), workers=workers, places=places[good])
        drawn = drawn if balanced else None
        values = torch.from_numpy(own.reshape(-1, 1, 1).copy())
        shard = ResidentShard(
            values, torch.from_numpy(own), own, places=places[mine], seed=(0,), used=good[mine], balanced=drawn
        )
        return Feed(SOURCE, (Part(SOURCE, shard, CPU, workers, good, kept=True, balanced=drawn),), (0,))
    drawn = Balanced(numbers, labels, seed=(0,), workers=workers)
    shard = StreamedShard(read((1, 1)), numbers, workers=workers, seed=(0,), balanced=drawn)
    return Feed(SOURCE, (Part(SOURCE, shard, CPU, workers, np.ones(len(labels), bool), balanced=drawn),), (0,))


def make_feed(counts, rank=0, size=1, *, resident=0, seed=0):
    """The feed of a worker for `counts` samples of shapes (1, 1), (1, 2), ..., whose numbers take turns.

    If samples are `resident`, that is the size of batches.
    """
    kinds = np.concatenate([np.full(count, kind) for kind, count in enumerate(counts)])
    kinds = kinds[np.argsort(np.arange(len(kinds)) % 3, kind="stable")]
    parts = []
    for kind in range(len(counts)):
        members, workers = np.flatnonzero(kinds == kind), Workers(rank, size)
        if resident:
            places = deal_places(len(members), resident)
            mine = workers.keeps(places)
            own = members[mine]
            values = torch.from_numpy(np.broadcast_to(own.reshape(-1, 1, 1), (len(own), 1, kind + 1)).copy())
            shard = ResidentShard(values, torch.from_numpy(own), own, places=places[mine], seed=(seed, kind))
        else:
            shard = StreamedShard(read((1, kind + 1)), members, workers=workers, seed=(seed, kind))
        parts.append(Part(SOURCE, shard, CPU, workers, np.ones(len(members), bool), kept=bool(resident)))
    return Feed(SOURCE, tuple(parts), (seed,)), kinds


def epoch_of(counts, batch_size, *, num_workers=1, epoch=1, done=0, **options):
    """The samples of each global batch, over all workers."""
    batches = {}
    options = {**options, "resident": batch_size * options.get("resident", False)}
    for rank in range(num_workers):
        feed, kinds = make_feed(counts, rank, num_workers, **options)
        for batch, size, _, number in feed.global_batches(batch_size, epoch, done):
            into, _ = batches.setdefault(number, ([], size))
            into += batch.positions.tolist()
            if len(batch.positions):
                (kind,) = set(kinds[batch.positions])
                assert batch.input.shape[1:] == (1, kind + 1)
                assert batch.input[:, 0, 0].tolist() == batch.positions.tolist()
    assert all(len(samples) == size for samples, size in batches.values())
    return [(number, sorted(samples)) for number, (samples, _) in sorted(batches.items())]


PADDED = {"name": "c", "sizes": [3, 1], "padded_sizes": [4, 1]}
COUNTS = st.lists(st.integers(1, 23), min_size=1, max_size=3)


@given(COUNTS, st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_every_sample_comes_once_an_epoch_in_batches_of_one_shape(counts, batch_size, num_workers, resident):
    batches = epoch_of(counts, batch_size, num_workers=num_workers, resident=resident)
    _, kinds = make_feed(counts)
    assert sorted(i for _, samples in batches for i in samples) == list(range(sum(counts)))
    assert [number for number, _ in batches] == list(range(1, len(batches) + 1))
    for kind, count in enumerate(counts):
        own = [len(samples) for _, samples in batches if kinds[samples[0]] == kind]
        assert sorted(own) == sorted(global_batch_sizes(count, batch_size))


@given(COUNTS, st.integers(1, 9), st.integers(1, 3), st.booleans())
def test_global_batches_are_the_same_for_any_number_of_workers(counts, batch_size, epoch, resident):
    alone = epoch_of(counts, batch_size, epoch=epoch, resident=resident)
    for num_workers in (2, 3):
        assert epoch_of(counts, batch_size, epoch=epoch, num_workers=num_workers, resident=resident) == alone


@given(COUNTS, st.integers(1, 9), st.integers(1, 3), st.booleans(), st.data())
def test_an_epoch_that_is_resumed_goes_on_with_the_batches_that_are_left(
    counts, batch_size, num_workers, resident, data
):
    whole = epoch_of(counts, batch_size, num_workers=num_workers, resident=resident)
    done = data.draw(st.integers(0, len(whole)))
    assert epoch_of(counts, batch_size, num_workers=num_workers, resident=resident, done=done) == whole[done:]


def balanced_epoch(labels, batch_size, num_workers=1, done=0, **options):
    """The samples of each global batch, over all workers, and their numbers of use."""
    batches = {}
    options = {**options, "resident": batch_size * options.get("resident", False)}
    for rank in range(num_workers):
        feed = balanced_feed(labels, rank, num_workers, **options)
        for batch, size, _, number in feed.global_batches(batch_size, 1, done):
            into, uses, _ = batches.setdefault(number, ([], [], size))
            into += batch.positions.tolist()
            uses += batch.uses.tolist()
            if len(batch.positions):
                assert batch.input.flatten().tolist() == batch.target.tolist() == batch.positions.tolist()
    assert all(len(samples) == size for samples, _, size in batches.values())
    return [(number, sorted(samples), sorted(uses)) for number, (samples, uses, _) in sorted(batches.items())]


UNEQUAL = st.lists(st.integers(0, 3), min_size=6, max_size=50).map(lambda labels: np.array(labels) ** 2 // 3)


@given(UNEQUAL, st.integers(1, 9), st.integers(1, 3), st.booleans())
def test_balanced_classes_come_equally_often_in_whole_batches(labels, batch_size, num_workers, resident):
    batches = balanced_epoch(labels, batch_size, num_workers, resident=resident)
    assert [len(samples) for _, samples, _ in batches] == global_batch_sizes(len(labels), batch_size)
    numbers = [i for _, samples, _ in batches for i in samples]
    counts = np.unique(labels[numbers], return_counts=True)[1]
    assert len(counts) == min(len(np.unique(labels)), len(numbers))
    assert counts.max() - counts.min() <= 1
    assert len({use for _, _, uses in batches for use in uses}) == len(labels)


@given(UNEQUAL, st.integers(1, 9), st.booleans())
def test_balanced_batches_are_the_same_for_any_number_of_workers(labels, batch_size, resident):
    alone = balanced_epoch(labels, batch_size, resident=resident)
    for num_workers in (2, 3):
        assert balanced_epoch(labels, batch_size, num_workers, resident=resident) == alone


@given(st.integers(1, 9), st.lists(st.integers(0, 40), max_size=20), st.booleans())
def test_batches_without_bad_samples_are_the_same_for_any_number_of_workers(batch_size, bad, balanced):
    labels, used = np.repeat([0, 1, 2], [30, 6, 5]), np.ones(41, bool)
    used[bad] = False

    def batches(num_workers):
        found = {}
        for rank in range(num_workers):
            feed = balanced_feed(labels, rank, num_workers, resident=batch_size, used=used, balanced=balanced)
            for batch, size, _, number in feed.global_batches(batch_size, 1):
                into, _ = found.setdefault(number, ([], size))
                into += batch.uses.tolist()
        assert all(len(samples) == size for samples, size in found.values())
        return {number: sorted(samples) for number, (samples, _) in found.items()}

    assert batches(1) == batches(2) == batches(3)


@given(UNEQUAL, st.integers(1, 9), st.integers(1, 3), st.booleans(), st.data())
def test_a_balanced_epoch_that_is_resumed_goes_on_with_the_batches_that_are_left(
    labels, batch_size, num_workers, resident, data
):
    whole = balanced_epoch(labels, batch_size, num_workers, resident=resident)
    done = data.draw(st.integers(0, len(whole)))
    assert balanced_epoch(labels, batch_size, num_workers, done, resident=resident) == whole[done:]


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_bad_samples_are_not_drawn_and_their_classes_still_come_equally_often(num_workers):
    labels, used = np.repeat([0, 1, 2], [30, 6, 5]), np.ones(41, bool)
    used[[0, 31, 33, 40]] = False
    batches = balanced_epoch(labels, 8, num_workers, resident=True, used=used)
    numbers = [i for _, samples, _ in batches for i in samples]
    assert used[numbers].all()
    assert sorted(np.bincount(labels[numbers])) == [12, 12, 13]


@pytest.mark.parametrize("resident", [False, True])
def test_an_evaluation_has_each_sample_once_also_if_classes_are_balanced(resident):
    feed = balanced_feed(np.repeat([0, 1], [7, 2]), resident=4 * resident)
    assert sorted(i for batch in feed.batches(4, None) for i in batch.positions.tolist()) == list(range(9))


def test_the_shapes_take_turns_in_an_order_that_depends_on_the_epoch_and_the_seed():
    def kinds_of(**options):
        _, kinds = make_feed((40, 40))
        return [kinds[samples[0]] for _, samples in epoch_of((40, 40), 4, **options)]

    orders = {tuple(kinds_of(epoch=epoch, seed=seed)) for epoch in (1, 2) for seed in (0, 1)}
    assert len(orders) == 4
    assert all(sum(a != b for a, b in itertools.pairwise(order)) > 4 for order in orders)
    assert kinds_of(epoch=1) == kinds_of(epoch=1)


@pytest.mark.parametrize("resident", [False, True])
def test_without_an_epoch_the_batches_come_shape_by_shape(resident):
    feed, kinds = make_feed((5, 3), resident=2 * resident)
    found = [kinds[batch.positions].tolist() for batch in feed.batches(2, None)]
    assert found == [[0, 0], [0, 0], [0], [1, 1], [1]]
    assert feed.num_batches(2) == 5


def test_a_source_groups_its_slices_by_shape_in_the_order_of_the_slicers(tmp_path):
    from rayrml.data.contents import list_slices

    slicers = parse_slicers(
        [
            {"name": "a", "sizes": [1, 4]},
            {"name": "b", "sizes": [2, 1]},
            PADDED,
        ],
        "s",
    )
    arrays = Samples(str(tmp_path), ["x.npy", "y.npy"])
    grids = [tuple(slicer.grid((6, 8)) for slicer in slicers)] * 2
    samples = list_slices(arrays, grids, slicers)
    shapes = ((1, 4), (1, 2), (1, 4))
    decoding = Decoding(READERS["numpy"](), shapes[0], np.dtype("f4"), "x", slicers=slicers, shapes=shapes)
    source = Source(Side(samples, decoding, pixels=False), None, "training")
    first, second = source.groups()
    assert (first.source.shape, second.source.shape) == ((1, 4), (1, 2))
    assert {samples.place(i).slicer for i in first.indices} == {0, 2}
    assert {samples.place(i).slicer for i in second.indices} == {1}
    assert sorted([*first.indices, *second.indices]) == list(range(len(samples)))
    assert source.bytes_in_total == 4 * (4 * len(first.indices) + 2 * len(second.indices))
    assert source.count_batches(7) == -(-len(first.indices) // 7) - (-len(second.indices) // 7)
