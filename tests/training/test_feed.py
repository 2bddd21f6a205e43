"""Batches of samples of several shapes: each is of one shape, and an epoch's order is the same for all workers."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayrml.data.decoding import Decoding
from rayrml.data.discovery import Samples
from rayrml.data.readers import READERS
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
    def blocks(indices, epoch):
        for part in np.array_split(indices, 3):
            yield np.broadcast_to(part.reshape(-1, 1, 1), (len(part), *shape)).copy(), part, np.ones(len(part), bool)

    return blocks


def make_feed(counts, rank=0, size=1, *, resident=False, seed=0):
    """The feed of a worker for `counts` samples of shapes (1, 1), (1, 2), ..., whose numbers take turns."""
    kinds = np.concatenate([np.full(count, kind) for kind, count in enumerate(counts)])
    kinds = kinds[np.argsort(np.arange(len(kinds)) % 3, kind="stable")]
    parts = []
    for kind in range(len(counts)):
        members, workers = np.flatnonzero(kinds == kind), Workers(rank, size)
        if resident:
            own = members[rank::size]
            values = torch.from_numpy(np.broadcast_to(own.reshape(-1, 1, 1), (len(own), 1, kind + 1)).copy())
            shard = ResidentShard(values, torch.from_numpy(own), own, seed=(seed, kind, rank))
        else:
            shard = StreamedShard(read((1, kind + 1)), members, workers=workers, seed=(seed, kind))
        parts.append(Part(SOURCE, shard, CPU, workers, np.ones(len(members), bool)))
    return Feed(SOURCE, tuple(parts), (seed,)), kinds


def epoch_of(counts, batch_size, *, num_workers=1, epoch=1, done=0, **options):
    """The samples of each global batch, over all workers."""
    batches = {}
    for rank in range(num_workers):
        feed, kinds = make_feed(counts, rank, num_workers, **options)
        for number, batch, size in feed.global_batches(batch_size, epoch, done):
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


@given(COUNTS, st.integers(1, 9), st.integers(1, 3))
def test_global_batches_are_the_same_for_any_number_of_workers(counts, batch_size, epoch):
    alone = epoch_of(counts, batch_size, epoch=epoch)
    for num_workers in (2, 3):
        assert epoch_of(counts, batch_size, epoch=epoch, num_workers=num_workers) == alone


@given(COUNTS, st.integers(1, 9), st.integers(1, 3), st.booleans(), st.data())
def test_an_epoch_that_is_resumed_goes_on_with_the_batches_that_are_left(
    counts, batch_size, num_workers, resident, data
):
    whole = epoch_of(counts, batch_size, num_workers=num_workers, resident=resident)
    done = data.draw(st.integers(0, len(whole)))
    assert epoch_of(counts, batch_size, num_workers=num_workers, resident=resident, done=done) == whole[done:]


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
    feed, kinds = make_feed((5, 3), resident=resident)
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
