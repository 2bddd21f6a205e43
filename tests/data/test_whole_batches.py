import itertools

import numpy as np
import pytest

from rayrml.data.decode_tasks import Decoded
from rayrml.data.whole_batches import in_whole_batches


@pytest.mark.parametrize("count", [0, 1, 7, 8, 23, 24])
@pytest.mark.parametrize("size", [1, 4, 8, 50])
def test_batches_do_not_depend_on_the_pieces_and_their_order(count, size):
    rng = np.random.default_rng(count * size)
    for _ in range(20):
        cuts = np.sort(rng.integers(0, count + 1, rng.integers(0, 8)))
        bounds = [0, *cuts.tolist(), count]
        blocks = [decoded(begin, end) for begin, end in itertools.pairwise(bounds) if end > begin]
        rng.shuffle(blocks)
        batches = sorted(in_whole_batches(blocks, size, count), key=lambda batch: batch.first)
        assert [batch.first for batch in batches] == list(range(0, count, size))
        for batch in batches:
            numbers = np.arange(batch.first, min(batch.first + size, count))
            assert np.array_equal(batch.inputs[:, 0], numbers)
            assert batch.errors.tolist() == ["bad" if number % 5 == 3 else "" for number in numbers]


def test_a_batch_comes_as_soon_as_it_is_whole():
    arriving = in_whole_batches(iter([decoded(0, 3), decoded(6, 8), decoded(3, 6), None]), 4, 8)
    assert [next(arriving).first, next(arriving).first] == [0, 4]


def decoded(begin, end):
    """Samples that hold their numbers, some of which are bad."""
    numbers = np.arange(begin, end)
    errors = np.array(["bad" if number % 5 == 3 else "" for number in numbers], object)
    return Decoded(begin, numbers[:, None], None, errors)
