import numpy as np
import pytest

from rayrml.data.draws import Draws


def test_a_samples_numbers_are_its_own_whatever_batch_it_is_in():
    together = Draws(5, np.arange(30)).uniform(30, 3)
    order = np.array([7, 29, 0, 12])
    assert np.array_equal(Draws(5, order).uniform(4, 3), together[order])
    assert np.array_equal(Draws(5).uniform(30, 3), together)


def test_a_sample_alone_has_the_numbers_that_it_has_among_others():
    positions = np.array([8, 3, 5])
    for draws in (Draws(5, positions), Draws(5)):
        together = draws.of("rotate", 1).uniform(3, 2)
        assert np.array_equal(np.concatenate([draws.at(i).of("rotate", 1).uniform(1, 2) for i in range(3)]), together)


def test_each_use_of_each_name_has_other_numbers():
    uses = [Draws(5).of(name, use).uniform(4, 5) for name in ("flip", "rotate") for use in (0, 1)]
    assert len(np.unique([Draws(5).uniform(4, 5), *uses])) == 5 * 20
    assert np.array_equal(uses[0][:, :2], Draws(5).of("flip").uniform(4, 2))


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 2])
def test_numbers_are_uniform_and_independent(seed):
    numbers = Draws(seed).uniform(20_000, 6)
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean(0) == pytest.approx(np.full(6, 0.5), abs=0.01)
    assert (numbers**2).mean(0) == pytest.approx(np.full(6, 1 / 3), abs=0.01)
    neighbours = np.concatenate([numbers[:-1], numbers[1:], Draws(seed + 1).uniform(19_999, 1)], 1)
    assert np.abs(np.corrcoef(neighbours.T) - np.eye(13)).max() < 0.03
    assert len(np.unique(numbers)) > 0.99 * numbers.size


@pytest.mark.parametrize("number", [1, 2, 5, 64])
def test_normal_numbers_of_a_sample_are_its_own_whatever_batch_it_is_in(number):
    together = Draws(5, np.arange(30)).normal(30, number)
    order = np.array([7, 29, 0, 12])
    assert together.shape == (30, number) and together.dtype == np.float32
    assert np.array_equal(Draws(5, order).normal(4, number), together[order])
    assert np.array_equal(np.concatenate([Draws(5, order[[i]]).normal(1, number) for i in range(4)]), together[order])
    assert np.array_equal(Draws(5).normal(30, number + 3)[:, :number], together)
    assert Draws(5, order[:0]).normal(0, number).shape == (0, number)


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 2])
def test_normal_numbers_are_normal_and_independent(seed):
    numbers = Draws(seed).normal(20_000, 6).astype(np.float64)
    assert numbers.mean(0) == pytest.approx(np.zeros(6), abs=0.03)
    assert (numbers**2).mean(0) == pytest.approx(np.ones(6), abs=0.05)
    assert (numbers**4).mean() == pytest.approx(3, abs=0.1)
    shares = [(numbers < limit).mean() for limit in (-2, -1, 0, 1, 2)]
    assert shares == pytest.approx([0.02275, 0.15866, 0.5, 0.84134, 0.97725], abs=0.006)
    neighbours = np.concatenate([numbers[:-1], numbers[1:], numbers[:-1] ** 2], 1)
    assert np.abs(np.corrcoef(neighbours.T) - np.eye(18)).max() < 0.04
    assert np.isfinite(numbers).all() and np.abs(numbers).max() > 4
