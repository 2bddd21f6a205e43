"""Initial values compared with the formula, and the properties of random ones."""

import numpy as np
import pytest

from rayrml.data.initial_conditions import make_initial_condition

SETTINGS = {"domain_size": 50, "bc_frequency": (1.0, 3.0), "seed": (7, 0)}


def raised_cosine(frequency, domain_size=50):
    return (1 - np.cos(2 * np.pi * frequency * np.arange(domain_size) / domain_size)) / 2


def fixed(index, number, **settings):
    return make_initial_condition(index, number, **(SETTINGS | {"bc_type": "fixed_uniform"} | settings))


def random(index, **settings):
    return make_initial_condition(index, 100, **(SETTINGS | {"bc_type": "random_uniform"} | settings))


@pytest.mark.parametrize(("index", "frequency"), [(0, 1), (1, 1.5), (2, 2), (4, 3)])
def test_fixed_frequencies_go_in_equal_steps_from_the_least_to_the_largest(index, frequency):
    assert fixed(index, 5)[0] == pytest.approx(raised_cosine(frequency), abs=1e-7)


def test_a_single_fixed_example_has_the_least_frequency():
    assert fixed(0, 1)[0] == pytest.approx(raised_cosine(1), abs=1e-7)


def test_fixed_examples_do_not_depend_on_the_seed():
    assert (fixed(3, 5) == fixed(3, 5, seed=(8, 1))).all()


@pytest.mark.parametrize("domain_size", [2, 64])
@pytest.mark.parametrize("make", [lambda i, **s: fixed(i, 100, **s), random], ids=["fixed", "random"])
def test_initial_values_begin_with_0_and_lie_between_0_and_1(make, domain_size):
    for index in range(100):
        values = make(index, domain_size=domain_size)
        assert values.shape == (1, domain_size)
        assert values.dtype == np.float32
        assert values[0, 0] == 0
        assert 0 <= values.min() <= values.max() <= 1


def cosine_in(values):
    """The frequency of the single raised cosine in `values`, None if they are anything else."""
    start = np.arccos(1 - 2 * float(values[0, 1])) * 50 / (2 * np.pi)
    return start if values[0] == pytest.approx(raised_cosine(start), abs=1e-4) else None


def test_random_frequencies_are_spread_evenly_over_their_range():
    frequencies = [cosine_in(random(index)) for index in range(0, 2000, 2)]
    assert min(frequencies) >= 1 - 1e-4
    assert max(frequencies) <= 3 + 1e-4
    counts, _ = np.histogram(frequencies, bins=4, range=(1, 3))
    assert min(counts) > 200


def test_every_other_random_example_is_a_mixture():
    assert [cosine_in(random(index)) is None for index in range(20)] == [False, True] * 10


def number_of_cosines(values):
    """The number of cosines whose sum a row is, apart from its mean 1/2.

    For k cosines, the sums of the neighbours at distances 0, 1, 2, ... on both sides form a matrix of rank k.
    """
    waves = values[0].astype(np.float64) - 0.5
    centres = np.arange(5, len(waves) - 5)
    neighbours = np.stack([waves[centres - j] + waves[centres + j] for j in range(6)])
    return np.linalg.matrix_rank(neighbours, tol=1e-4)


def test_a_mixture_has_two_or_three_cosines():
    counts = [number_of_cosines(random(index, bc_frequency=(1.0, 20.0))) for index in range(20)]
    assert counts[::2] == [1] * 10
    assert set(counts[1::2]) == {2, 3}


def test_the_weights_of_a_mixture_are_a_mean():
    for index in range(10):
        assert random(index, bc_frequency=(2.0, 2.0))[0] == pytest.approx(raised_cosine(2), abs=1e-6)


def test_random_examples_are_the_same_again_and_differ_from_one_another():
    examples = [random(index).tobytes() for index in range(50)]
    assert examples == [random(index).tobytes() for index in range(50)]
    assert len(set(examples)) == 50
    assert not set(examples) & {random(index, seed=(7, 1)).tobytes() for index in range(50)}
