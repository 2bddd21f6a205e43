"""Steps with growing learning rates."""

import itertools

import pytest
import torch

from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.training.rate_range import RateRange, suggest_rate
from rayrml.training.rate_test import GrowingRate
from rayrml.training.step import TrainingStep
from tests.conftest import dense_network


def step_of(name, rate, **arguments):
    torch.manual_seed(0)
    network = build_network(dense_network(10))
    optimizer = OPTIMIZERS[name](list(network.parameters()), learning_rate=rate, **arguments)
    return network.train(), TrainingStep(network, LOSSES["NLL"](), optimizer)


def batches(digits, seed, size=32):
    images, labels = (torch.from_numpy(part[::12]) for part in digits["training"])
    generator = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(len(images), generator=generator).split(size):
            yield images[rows, None].float() / 255, labels[rows].long()


def train(digits, name, rate, **arguments):
    """The mean loss of the last of 80 steps."""
    _, step = step_of(name, rate, **arguments)
    losses = [step(*batch, 32).loss.item() for batch in itertools.islice(batches(digits, 2), 80)]
    return sum(losses[-10:]) / 10


@pytest.mark.parametrize(("name", "arguments"), [("Adam", {}), ("SGD", {"momentum": 0.9})])
def test_the_suggested_rate_trains_better_than_a_tenth_and_ten_times_of_it(digits, name, arguments):
    rates = RateRange(1e-6, 10.0, 120)
    growing = GrowingRate(step_of(name, 1.0, **arguments)[1], rates)
    losses = []
    for batch in batches(digits, 1):
        trained = growing(*batch, 32)
        losses.append(trained.loss.item())
        if trained.wishes.stop:
            break
    assert len(losses) <= 120
    found = suggest_rate([rates.rate(step) for step in range(len(losses))], losses)
    suggested, smaller, larger = (train(digits, name, found * factor, **arguments) for factor in (1, 0.1, 10))
    assert suggested < smaller
    assert suggested < larger
    assert suggested < 1.0


def test_groups_of_parameters_keep_the_proportions_of_their_rates(digits):
    _, step = step_of("SGD", 0.1)
    (group,) = step.optimizer.param_groups
    step.optimizer.add_param_group({"params": [group["params"].pop()], "lr": 0.01})
    growing = GrowingRate(step, RateRange(1e-4, 1e-2, 3))
    seen = []
    for batch in itertools.islice(batches(digits, 1), 3):
        stop = growing(*batch, 32).wishes.stop
        seen.append([group["lr"] for group in step.optimizer.param_groups])
    assert seen == [pytest.approx([rate, rate / 10]) for rate in (1e-4, 1e-3, 1e-2)]
    assert stop
