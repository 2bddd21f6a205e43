"""The sliced Wasserstein distance against figures computed apart; the same bits for any split of the samples."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rayrml.metrics.sample_rows import SampleRows, in_order
from rayrml.metrics.sliced_wasserstein import Projection, make_directions, sliced_wasserstein

CASES = json.loads(Path(__file__).with_name("distances.json").read_text())["swd"]


def samples(count, shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("case", CASES)
def test_the_distance_is_that_of_the_reference(case):
    projection = Projection(np.array(case["directions"]))
    one, other = (projection(torch.tensor(case[name], dtype=torch.float64)) for name in ("x", "y"))
    each = [sliced_wasserstein(one[:, [i]], other[:, [i]]) for i in range(len(case["directions"]))]
    assert each == pytest.approx(case["each"], abs=1e-8)
    assert sliced_wasserstein(one, other) == pytest.approx(case["swd"], abs=1e-8)


def test_directions_are_rows_of_length_1_and_always_the_same():
    vectors = np.random.default_rng(0).standard_normal((256, 48))
    expected = vectors / np.sqrt((vectors**2).sum(1))[:, None]
    assert make_directions(48) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (1, 1, 1), (5,)])
@pytest.mark.parametrize("scale", [1.0, 0.01, 7.5, 3e4])
def test_projections_are_those_of_float64(shape, scale):
    directions = make_directions(int(np.prod(shape)))
    values = (samples(9, shape) - 0.3) * scale
    expected = values.double().flatten(1).numpy() @ directions.T
    assert Projection(directions)(values) == pytest.approx(expected, rel=1e-9, abs=2e-9 * max(scale, 1))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 40)])
def test_projections_have_the_same_bits_in_any_batch_with_any_threads_and_in_any_order_of_sums(shape):
    """Plain products of matrices do not: what they add up first depends on the size of the batch."""
    size = int(np.prod(shape))
    directions, values = make_directions(size), samples(70, shape)
    projection = Projection(directions)
    whole = projection(values)
    for length in (1, 3, 64):
        assert np.array_equal(np.concatenate([projection(part) for part in values.split(length)]), whole)
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        assert np.array_equal(projection(values), whole)
    finally:
        torch.set_num_threads(before)
    shuffled = np.random.default_rng(1).permutation(size)
    other = Projection(directions[:, shuffled])
    assert np.array_equal(other(values.flatten(1)[:, torch.from_numpy(shuffled)]), whole)


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
def test_any_workers_find_the_same_distance(num_workers):
    real, generated = samples(41, (1, 8, 8)), samples(37, (1, 8, 8), 1) ** 2
    projection = Projection(make_directions(64))

    def joined(values, batch):
        parts = []
        for rank in range(num_workers):
            collector, own = SampleRows(), np.arange(rank, len(values), num_workers)
            for start in range(0, len(own), batch):
                numbers = own[start : start + batch]
                collector.add(numbers, projection(values[torch.from_numpy(numbers)]))
            parts.append(collector.part)
        return in_order(parts)

    expected = sliced_wasserstein(projection(real), projection(generated))
    assert sliced_wasserstein(joined(real, 5), joined(generated, 16)) == expected


def test_of_unequal_counts_the_first_ones_count():
    one, other = (np.random.default_rng(seed).normal(size=(count, 4)) for seed, count in ((0, 9), (1, 6)))
    assert sliced_wasserstein(one, other) == sliced_wasserstein(one[:6], other)
    assert sliced_wasserstein(other, one) == sliced_wasserstein(one, other)


def test_samples_are_compared_between_black_and_white():
    values, directions = samples(6, (1, 4, 4)), make_directions(16)
    symmetric = Projection(directions, low=-1, high=1)(values * 2 - 1)
    assert symmetric == pytest.approx(Projection(directions)(values), abs=1e-7)
    pixels = (values * 255).round().byte()
    assert np.array_equal(Projection(directions)(pixels), Projection(directions)(pixels.float() / 255))


def test_a_set_is_at_no_distance_from_itself_and_noise_is_far_from_it():
    projection = Projection(make_directions(64))
    real, noise = projection(samples(50, (1, 8, 8)) > 0.8), projection(samples(50, (1, 8, 8), 1))
    assert sliced_wasserstein(real, real[::-1]) == 0
    assert sliced_wasserstein(real, noise) > 0.05


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_have_no_distance(bad):
    values = samples(5, (1, 4, 4))
    projection = Projection(make_directions(16))
    real = projection(values)
    values[2, 0, 1, 1] = bad
    found = projection(values)
    assert np.array_equal(found[[0, 1, 3, 4]], real[[0, 1, 3, 4]])
    assert sliced_wasserstein(real, found) is None


def test_no_samples_have_no_distance():
    projection = Projection(make_directions(16))
    empty = projection(torch.zeros(0, 1, 4, 4))
    assert empty.shape == (0, 256)
    assert sliced_wasserstein(empty, empty) is None
