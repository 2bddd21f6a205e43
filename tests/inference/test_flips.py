"""Outputs averaged over flips."""

import itertools

import pytest
import torch

from rayrml.endings import probabilities
from rayrml.inference.evaluation import EvaluationStep
from rayrml.inference.flips import FlipAverage, flips_of, list_flips
from rayrml.losses import LOSSES
from rayrml.metrics import METRICS

torch.manual_seed(0)
BATCH = torch.randn(5, 2, 4, 6)
WEIGHT = torch.randn(3, 2 * 4 * 6)


def scores(batch):
    """(N, 3), which depend on where everything is."""
    return 4 * torch.tanh(batch.flatten(1) @ WEIGHT.T)


ENDINGS = {
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "logits": lambda x: x,
    "sigmoid": torch.sigmoid,
    "sigmoid_logits": lambda x: x,
}


def test_the_flips_of_samples_with_one_to_three_axes():
    assert list(list_flips("flips", 1)) == [(), (-1,)]
    assert list(list_flips("flips", 2)) == [(), (-1,), (-2,), (-1, -2)]
    assert len(list(list_flips("flips", 3))) == 8
    assert [list(list_flips("horizontal_flip", axes)) for axes in (1, 2, 3)] == [[(), (-1,)]] * 3


@pytest.mark.parametrize(
    ("ending", "channels"),
    [*((ending, 3) for ending in ENDINGS), *((ending, 1) for ending in ("logits", "sigmoid", "sigmoid_logits"))],
)
def test_probabilities_are_averaged_and_keep_their_form(ending, channels):
    def forward(batch):
        return ENDINGS[ending](scores(batch)[:, :channels])

    flips = [BATCH, BATCH.flip(-1), BATCH.flip(-2), BATCH.flip(-1, -2)]
    expected = torch.stack([probabilities(forward(batch), ending) for batch in flips]).mean(0)
    found = FlipAverage("flips", ending)(forward, BATCH)
    torch.testing.assert_close(probabilities(found, ending), expected)
    assert found.shape == (5, channels)


def test_probabilities_that_are_almost_zero_keep_their_logarithm():
    found = FlipAverage("flips", "log_softmax")(lambda batch: torch.tensor([[-300.0, 0.0]]), BATCH[:1])
    assert found.tolist() == [[-300.0, 0.0]]
    single = FlipAverage("flips", "logits")(lambda batch: torch.tensor([[90.0]]), BATCH[:1])
    assert single.item() == pytest.approx(90.0)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_outputs_with_positions_are_flipped_back(axes):
    batch = torch.randn(2, 1, *(5, 4, 3)[:axes])
    field = torch.randn(1, 1, *(5, 4, 3)[:axes])
    found = FlipAverage("flips")(lambda x: 2 * x + field, batch)
    flips = [flip for count in range(axes + 1) for flip in itertools.combinations(range(2, 2 + axes), count)]
    mean = torch.stack([field.flip(flip) if flip else field for flip in flips]).mean(0)
    torch.testing.assert_close(found, 2 * batch + mean)


def test_masks_have_the_mean_probability_of_each_pixel():
    def forward(batch):
        return torch.cat([batch[:, :1] * torch.arange(6), batch[:, 1:]], 1).log_softmax(1)

    found = FlipAverage("horizontal_flip", "log_softmax")(forward, BATCH)
    expected = (forward(BATCH).exp() + forward(BATCH.flip(-1)).exp().flip(-1)) / 2
    torch.testing.assert_close(found.exp(), expected)


def test_loss_metric_and_output_follow_from_the_same_mean():
    loss, target = LOSSES["CrossEntropy"](), torch.tensor([0, 1, 2, 0, 1])
    step = EvaluationStep(_Module(), loss, METRICS["accuracy"](), flips=flips_of("flips", loss, None))
    output = step(BATCH, target)
    flips = [BATCH, BATCH.flip(-1), BATCH.flip(-2), BATCH.flip(-1, -2)]
    mean = torch.stack([scores(batch).softmax(1) for batch in flips]).mean(0)
    found = step.result(torch.device("cpu"))
    assert found.loss == pytest.approx(-mean.gather(1, target[:, None]).log().mean().item(), rel=1e-5)
    assert found.value == pytest.approx((mean.argmax(1) == target).float().mean().item())
    torch.testing.assert_close(output.softmax(1), mean)


class _Module(torch.nn.Module):
    def forward(self, batch):
        return scores(batch)


def test_without_flips_nothing_averages():
    assert flips_of("none", LOSSES["NLL"](), None) is None
