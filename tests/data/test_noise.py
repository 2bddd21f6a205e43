"""Random numbers of generated samples: the same for any workers, batches and restarts, others for anything else."""

import numpy as np
import pytest

from rayrml.data import noise
from rayrml.training import sample_order
from rayrml.workers import Workers

SHAPE = (3, 5)


def step_numbers(workers, rank, *, size=10, begin=0, seed=3, epoch=2, step=4):
    """A worker's inputs and shares in a step, with the places of its samples."""
    own = Workers(rank, workers)
    count = own.batch_sizes(begin + size, 1)[begin:] if begin else own.batch_sizes(size, 1)
    places = noise.places_in_batch(sum(count), begin, own)
    draws = noise.draws_of_step(seed, epoch, step, places)
    inputs = [noise.draw_inputs(draws, SHAPE, use) for use in ("critic", "generator")]
    return places, *inputs, noise.draw_mix(draws)


@pytest.mark.parametrize("num_workers", [2, 3, 7, 12])
@pytest.mark.parametrize(("begin", "size"), [(0, 10), (10, 10), (30, 4), (31, 1)])
def test_any_workers_together_have_the_numbers_of_one(num_workers, begin, size):
    places, *expected = step_numbers(1, 0, size=size, begin=begin)
    assert places.tolist() == list(range(size))
    parts = [step_numbers(num_workers, rank, size=size, begin=begin) for rank in range(num_workers)]
    order = np.argsort(np.concatenate([part[0] for part in parts]))
    assert len(order) == size
    for number, whole in enumerate(expected, 1):
        assert np.array_equal(np.concatenate([part[number] for part in parts])[order], whole)


@pytest.mark.parametrize("num_workers", [2, 3, 5])
def test_places_are_those_at_which_samples_are_dealt_out(num_workers):
    workers = [Workers(rank, num_workers) for rank in range(num_workers)]
    for begin, size in ((0, 8), (8, 8), (16, 3)):
        for own in workers:
            dealt = [n - begin for n in range(begin, begin + size) if n % num_workers == own.rank]
            assert noise.places_in_batch(len(dealt), begin, own).tolist() == dealt


def test_no_two_workers_have_the_same_place_in_a_batch_that_lacks_samples():
    places = [noise.places_in_batch(count, 7, Workers(rank, 3)) for rank, count in enumerate((1, 5, 3))]
    assert len(np.unique(np.concatenate(places))) == 9


def test_a_workers_part_may_be_empty():
    places, critic, generator, mix = step_numbers(4, 3, size=2)
    assert critic.shape == generator.shape == (0, *SHAPE) and mix.shape == places.shape == (0,)


def test_each_seed_epoch_step_and_use_has_other_numbers():
    settings = [{}, {"seed": 4}, {"epoch": 3}, {"step": 5}, {"epoch": 4, "step": 2}]
    found = [values for more in settings for values in step_numbers(1, 0, **more)[1:3]]
    found.append(noise.inputs_of_samples(3, np.arange(10), SHAPE))
    assert len(np.unique(found)) > 0.999 * np.size(found)
    shares = [step_numbers(1, 0, **more)[3] for more in settings]
    assert len(np.unique(shares)) == np.size(shares)


def test_shares_are_uniform_one_for_each_sample():
    shares = noise.draw_mix(noise.draws_of_step(0, 1, 1, np.arange(20_000)))
    assert shares.dtype == np.float32 and shares.min() >= 0 and shares.max() < 1
    assert np.histogram(shares, 10, (0, 1))[0] == pytest.approx(np.full(10, 2000), abs=200)


def test_a_generated_sample_follows_from_its_number_alone():
    whole = noise.inputs_of_samples(0, np.arange(40), SHAPE)
    assert whole.shape == (40, *SHAPE) and whole.dtype == np.float32
    for batch in (1, 7, 40):
        parts = [noise.inputs_of_samples(0, part, SHAPE) for part in np.split(np.arange(40), range(batch, 40, batch))]
        assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(noise.inputs_of_samples(0, np.array([31, 4]), SHAPE), whole[[31, 4]])
    assert not np.isin(noise.inputs_of_samples(1, np.arange(40), SHAPE), whole).any()


@pytest.mark.parametrize(("batch_size", "size"), [(64, 64), (100, 96), (8, 8), (7, 7), (1, 1), (2000, 2000)])
@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_a_batch_has_the_same_samples_for_any_number_of_workers(num_workers, batch_size, size):
    expected = noise.batches_of_samples(1000, batch_size, Workers())
    parts = [noise.batches_of_samples(1000, batch_size, Workers(rank, num_workers)) for rank in range(num_workers)]
    found = sorted((batch for part in parts for batch in part), key=lambda batch: batch[0])
    assert [batch.tolist() for batch in found] == [batch.tolist() for batch in expected]
    assert {len(batch) for batch in expected} == {size}
    numbers = np.concatenate(expected)
    assert numbers.tolist() == list(range(len(numbers))) and 1000 <= len(numbers) < 1000 + size


def test_without_samples_there_are_no_batches():
    assert noise.batches_of_samples(0, 64, Workers()) == []
    assert noise.batches_of_samples(3, 64, Workers(1, 2)) == []


def test_seeds_are_none_of_those_of_the_order_of_samples():
    others = (sample_order.TRAINING, sample_order.TEST, sample_order.TRANSFORMS, sample_order.FINAL_TEST)
    assert len({noise.STEPS, noise.SAMPLES, *others}) == 6
