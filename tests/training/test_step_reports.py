"""What is made of the figures of steps."""

import dataclasses
import math

import pytest
import torch

from rayrml.errors import DivergenceError
from rayrml.reporting.messages import BatchesTrained
from rayrml.training.step import Trained
from rayrml.training.step_reports import Reporter


def step(loss, skipped=None, weight=None):
    tensors = [None if value is None else torch.tensor(value) for value in (loss, weight, skipped)]
    return Trained(tensors[0], torch.ones(2), 0.1, 0.0, tensors[1], skipped=tensors[2])


def report(steps):
    """A reporter and its messages after these steps, one of which is sent at once."""
    messages = []
    reporter = Reporter(messages.append, ())
    reporter.begin_epoch(0.1)
    for number, each in enumerate(steps, 1):
        reporter.add(1, number, each, 0.0, num_samples=4)
    return reporter, messages


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_ends_the_run_unless_loss_scaling_skips_its_step(loss):
    with pytest.raises(DivergenceError, match=f"the loss is {loss} in epoch 1, batch 2, at a learning rate of 0.1"):
        report([step(1.0), step(loss)])[0].finish_epoch()
    with pytest.raises(DivergenceError, match="batch 2"):
        report([step(1.0, 0.0), step(loss, 0.0)])[0].finish_epoch()
    reporter, messages = report([step(1.0, 0.0), step(loss, 1.0), step(3.0, 0.0), step(5.0, 1.0)])
    assert reporter.finish_epoch()["train_loss"] == 3.0
    assert all(isinstance(message, BatchesTrained) for message in messages)
    assert [row.batch for message in messages for row in message.rows] == [1, 2, 3, 4]


def test_the_mean_of_weighted_losses_leaves_out_those_of_skipped_steps():
    reporter, _ = report([step(1.0, 0.0, 3.0), step(math.nan, 1.0, 5.0), step(2.0, 0.0, 1.0)])
    assert reporter.finish_epoch()["train_loss"] == 1.25


def test_steps_that_are_skipped_again_and_again_end_the_run():
    """Only in a row, and also across the ends of epochs."""
    reporter, _ = report([step(1.0, float(number % 29 > 0)) for number in range(200)])
    reporter.finish_epoch()
    reporter, _ = report([step(math.inf, 1.0)] * 20)
    assert math.isnan(reporter.finish_epoch()["train_loss"])
    reporter.begin_epoch(0.1)
    for number in range(1, 11):
        reporter.add(2, number, step(math.inf, 1.0), 0.0, num_samples=4)
    with pytest.raises(DivergenceError, match="not finite in 30 steps in a row, at last in epoch 2, batch 10"):
        reporter.finish_epoch()


def test_the_terms_of_a_loss_have_means_of_their_own():
    """Also of an epoch that goes on after an interruption; skipped steps have no part in them."""
    reporter = Reporter([].append, ("box_loss", "class_loss"))
    reporter.begin_epoch(0.1, [(5.0, 1.0, 4.0, 1.0)])
    for number, (loss, terms, skipped) in enumerate([(3.0, (1.0, 2.0), 0.0), (math.inf, (9.0, 9.0), 1.0)], 2):
        trained = dataclasses.replace(step(loss, skipped), terms=torch.tensor(terms))
        reporter.add(1, number, trained, 0.0, num_samples=3)
    figures = reporter.finish_epoch()
    assert figures | {"seconds": 0} == {"train_loss": 3.5, "box_loss": 1.75, "class_loss": 1.75, "seconds": 0}
    reporter.begin_epoch(0.1)
    assert math.isnan(reporter.finish_epoch()["class_loss"])


def test_a_term_that_some_steps_lack_has_the_mean_of_the_others():
    """As the loss of a generator, which is not updated in each step; rows show terms where lines do."""
    sent = []
    reporter = Reporter(sent.append, ("wasserstein", "generator_loss"), shows_terms=True)
    reporter.begin_epoch(0.1)
    for number, (term, size) in enumerate([(math.nan, 3), (2.0, 3), (math.nan, 3), (5.0, 1)], 1):
        trained = dataclasses.replace(step(1.0), terms=torch.tensor([4.0, term]))
        reporter.add(1, number, trained, 0.0, num_samples=size)
    figures = reporter.finish_epoch()
    assert figures["wasserstein"] == 4.0 and figures["generator_loss"] == pytest.approx(2.75)
    terms = [row.terms for message in sent for row in message.rows]
    assert terms[1] == (4.0, 2.0) and math.isnan(terms[0][1])
    reporter.begin_epoch(0.1)
    reporter.add(2, 1, dataclasses.replace(step(1.0), terms=torch.tensor([4.0, math.nan])), 0.0, num_samples=3)
    assert reporter.finish_epoch().keys() == {"train_loss", "wasserstein", "seconds"}
