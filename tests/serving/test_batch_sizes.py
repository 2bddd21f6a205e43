"""Batch sizes whose outputs are those of each sample alone."""

import numpy as np
import pytest

from rayrml.serving.batch_sizes import divide, find_sizes


def samples(count):
    return np.random.default_rng(0).random((count, 3), np.float32)


def test_all_sizes_agree_if_samples_are_computed_one_by_one():
    assert find_sizes(lambda batch: batch * 2, samples, 64) == (1, 2, 4, 8, 16, 32, 64)


def test_sizes_with_other_last_bits_are_left_out():
    def forward(batch):
        return np.nextafter(batch, np.float32(2)) if len(batch) in (2, 8) else batch

    assert find_sizes(forward, samples, 16) == (1, 4, 16)


@pytest.mark.parametrize("most", [1, 3])
def test_no_size_is_larger_than_the_largest_batch(most):
    assert max(find_sizes(lambda batch: batch, samples, most)) <= most


@pytest.mark.parametrize("sizes", [(1,), (1, 4), (1, 2, 8, 64), tuple(range(1, 65))])
def test_any_number_of_samples_is_divided_into_these_sizes(sizes):
    for count in range(200):
        parts = divide(count, sizes)
        assert sum(parts) == count
        assert set(parts) <= set(sizes)
        assert parts == sorted(parts, reverse=True)
