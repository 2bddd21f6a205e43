import time

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayrml.data.draws import mix_seed
from rayrml.data.places import deal_places
from rayrml.data.shards import ResidentShard, StreamedShard, cut, move
from rayrml.workers import Workers, global_batch_sizes


def resident(num_samples, batch_size, workers):
    places = deal_places(num_samples, batch_size)
    own = workers.keeps(places)
    positions = np.flatnonzero(own)
    inputs = torch.from_numpy(positions.astype(np.uint8))[:, None]
    sizes = workers.count_own(own, batch_size)
    return ResidentShard(inputs, torch.from_numpy(positions), positions, places=places[own], seed=(0,)), sizes


def streamed(num_samples, batch_size, workers):
    def read(picks, epoch):
        for part in np.array_split(picks.samples, 3):
            yield part.astype(np.uint8)[:, None], part, np.ones(len(part), bool)

    shard = StreamedShard(read, np.arange(num_samples), workers=workers, seed=(0,))
    return shard, workers.batch_sizes(num_samples, batch_size)


def epoch_of(make, num_samples, batch_size, *, num_workers=1, epoch=1):
    """Samples of each global batch, over all workers."""
    batches = [[] for _ in global_batch_sizes(num_samples, batch_size)]
    for rank in range(num_workers):
        shard, sizes = make(num_samples, batch_size, Workers(rank, num_workers))
        for into, batch in zip(batches, shard.batches(sizes, epoch), strict=True):
            into += batch.positions.tolist()
            if len(batch.positions):
                assert batch.input[:, 0].tolist() == batch.target.tolist() == batch.positions.tolist()
    return batches


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5), st.sampled_from([resident, streamed]))
def test_every_sample_comes_once_an_epoch(num_samples, batch_size, num_workers, make):
    batches = epoch_of(make, num_samples, batch_size, num_workers=num_workers)
    assert sorted(p for batch in batches for p in batch) == list(range(num_samples))
    assert [len(b) for b in batches] == global_batch_sizes(num_samples, batch_size)


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([resident, streamed]))
def test_batches_are_the_same_for_any_number_of_workers(num_samples, batch_size, make):
    one, *several = (epoch_of(make, num_samples, batch_size, num_workers=n) for n in (1, 2, 3))
    for batches in several:
        assert [sorted(b) for b in batches] == [sorted(b) for b in one]


def test_each_epoch_has_an_order_of_its_own_which_can_be_had_again():
    for make in (resident, streamed):
        first, second = (epoch_of(make, 50, 10, epoch=e) for e in (1, 2))
        assert first != second
        assert first == epoch_of(make, 50, 10, epoch=1)


def test_without_an_epoch_samples_come_in_their_own_order():
    for make in (resident, streamed):
        assert epoch_of(make, 10, 4, epoch=None) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@given(st.data())
def test_cutting_blocks_keeps_every_row_in_order(data):
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    rows = np.arange(sum(lengths))
    ends = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=6)))
    sizes = np.diff([0, *ends, len(rows)]).tolist()
    blocks = [(part, -part) for part in np.split(rows, np.cumsum(lengths)[:-1])]
    pieces, negative = zip(*cut(iter(blocks), sizes), strict=True)
    assert [len(p) for p in pieces] == sizes
    assert np.array_equal(np.concatenate(pieces), rows)
    assert np.array_equal(np.concatenate(negative), -rows)


def test_near_seeds_give_unrelated_numbers():
    assert len({mix_seed(a, b) for a in range(10) for b in range(10)}) == 100


def test_what_is_on_the_device_already_is_not_copied():
    batch = torch.arange(6)
    assert move(batch, torch.device("cpu")) is batch
    assert move(batch, torch.device("meta")).device.type == "meta"


def test_the_next_epoch_is_begun_before_the_one_before_it_is_over_and_comes_in_its_own_order():
    begun = []

    def read(picks, epoch):
        begun.append(len(begun) + 1)
        for start in range(0, len(picks.samples), 4):
            rows = picks.samples[start : start + 4].astype(np.float32)[:, None]
            yield rows, np.ones(len(rows), bool)

    def values(shard, epoch):
        return [batch.input[:, 0].tolist() for batch in shard.batches([3] * 7, epoch)]

    alone = [values(StreamedShard(read, np.arange(21), workers=Workers(), seed=(5,)), epoch) for epoch in (1, 2, 3)]
    assert len({str(order) for order in alone}) == 3
    begun.clear()
    shard = StreamedShard(read, np.arange(21), workers=Workers(), seed=(5,), num_epochs=3)
    seen = []
    for epoch in (1, 2, 3):
        batches = shard.batches([3] * 7, epoch)
        mine = [batch.input[:, 0].tolist() for batch in batches]
        seen.append(mine)
        assert values(shard, None) == values(shard, None)  # an evaluation in between has its own order
    assert seen == alone
    deadline = time.monotonic() + 10
    while len(begun) < 9 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(begun) == 9  # three epochs and six evaluations; no fourth epoch
    shard.close()


def test_a_worker_keeps_the_order_of_its_own_samples_only():
    given = []

    def read(picks, epoch):
        given.append(picks.samples)
        yield picks.samples.copy(), np.ones(len(picks.samples), bool)

    shard = StreamedShard(read, np.arange(1000), workers=Workers(3, 10))
    next(shard.batches([100], 1))
    (samples,) = given
    assert len(samples) == 100
    assert samples.base is None or samples.base.nbytes == samples.nbytes
