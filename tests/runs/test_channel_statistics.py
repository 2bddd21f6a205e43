"""Mean, deviation and range by channel, against numpy."""

import numpy as np
import pytest
import torch

from rayrml.runs.channel_statistics import ChannelStatistics


def of(samples, sizes):
    found = ChannelStatistics()
    for part in torch.from_numpy(samples).split(sizes):
        found.add(part)
    return found


def test_batches_of_any_sizes_add_up_to_the_figures_of_all_samples():
    samples = np.random.default_rng(0).normal([[[3e4]], [[-2.0]]], [[[0.5]], [[7.0]]], (13, 2, 5, 4)).astype(np.float32)
    whole = samples.astype(np.float64)
    for sizes in ([13], [1] * 13, [6, 7]):
        found = of(samples, sizes)
        assert found.num_samples == 13
        np.testing.assert_allclose(found.mean, whole.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(found.deviation, whole.std((0, 2, 3)), rtol=1e-7)
        assert np.array_equal(found.minimum, whole.min((0, 2, 3)))
        assert np.array_equal(found.maximum, whole.max((0, 2, 3)))


def test_values_that_are_not_finite_are_counted_and_change_nothing_else():
    samples = np.array([[1.0, 2.0], [np.nan, 4.0], [3.0, np.inf]], np.float32)
    found = of(samples, [2, 1])
    assert found.not_finite == 2
    assert found.mean == pytest.approx([2.0, 3.0])
    assert (found.minimum.tolist(), found.maximum.tolist()) == ([1.0, 2.0], [3.0, 4.0])
