"""When a run that no longer improves ends, whether it was resumed or not."""

import math

import pytest

from rayrml.training.early_stopping import EarlyStopping

HISTORY = [{"dice": value} if value is not None else {} for value in (0.5, 0.6, None, 0.6, None, None, 0.55, 0.7)]


@pytest.mark.parametrize("stop", range(len(HISTORY)))
def test_a_resumed_run_ends_when_the_uninterrupted_one_does(stop):
    whole = EarlyStopping(3, "dice")
    expected = [whole.update(figures) for figures in HISTORY]
    resumed = EarlyStopping(3, "dice")
    resumed.replay(HISTORY[:stop])
    assert [resumed.update(figures) for figures in HISTORY[stop:]] == expected[stop:]


def test_epochs_in_which_the_figure_is_undefined_end_nothing():
    stopping = EarlyStopping(2, "dice")
    assert not any(stopping.update({}) for _ in range(5))
    assert [stopping.update({"dice": 0.5}) for _ in range(3)] == [False, False, True]


def test_a_loss_that_is_not_a_number_is_no_improvement():
    stopping = EarlyStopping(2, "test_loss")
    assert [stopping.update({"test_loss": loss}) for loss in (1.0, math.nan, math.nan)] == [False, False, True]
