"""Curves of range tests, and the rates that follow from them."""

import math

import numpy as np
import pytest

from rayrml.training.rate_range import Divergence, RateRange, smooth, suggest_rate

RATES = [RateRange(1e-6, 10.0, 150).rate(step) for step in range(150)]


def curve(falls_at, diverges_at, noise=0.02):
    """Losses that begin with 2.3, fall to 0.8 around one rate, and rise quickly beyond another."""
    rates = np.array(RATES)
    falls = 1.5 / (1 + (falls_at / rates) ** 2)
    rises = 0.5 * (rates / diverges_at) ** 2
    return (2.3 - falls + rises + np.random.default_rng(0).normal(0, noise, len(rates))).tolist()


def test_rates_grow_by_the_same_factor_from_the_first_to_the_last():
    assert (RATES[0], RATES[-1]) == pytest.approx((1e-6, 10.0))
    assert np.diff(np.log(RATES)) == pytest.approx(np.log(1e7) / 149)


@pytest.mark.parametrize("falls_at", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_the_suggestion_is_where_the_loss_falls_whatever_happens_later(falls_at, noise):
    losses = curve(falls_at, 30 * falls_at, noise)
    assert suggest_rate(RATES, losses) == pytest.approx(falls_at, rel=0.5)
    end = int(np.searchsorted(RATES, 20 * falls_at))
    assert suggest_rate(RATES, [*losses[:end], math.nan]) == pytest.approx(falls_at, rel=0.5)


@pytest.mark.parametrize(
    "losses", [[2.3] * 150, [1.0, math.inf], np.random.default_rng(1).normal(2, 0.1, 150).tolist()]
)
def test_a_loss_that_does_not_fall_suggests_nothing(losses):
    assert suggest_rate(RATES, losses) is None


def test_a_loss_that_rises_far_or_is_not_finite_is_a_divergence():
    divergence = Divergence()
    ends = [divergence.add(loss) for loss in curve(1e-2, 0.3)]
    first = ends.index(True)
    assert 0.3 < RATES[first] < 3
    assert Divergence().add(math.nan)
    steady = Divergence()
    assert not any(steady.add(loss) for loss in np.random.default_rng(0).normal(0.7, 0.2, 150))


def test_a_smooth_curve_stays_as_it_is():
    line = np.linspace(3, 1, 50).tolist()
    assert smooth(line)[10:-10] == pytest.approx(line[10:-10], rel=1e-4)
    assert np.isnan(smooth([*line, math.inf])[-1])
