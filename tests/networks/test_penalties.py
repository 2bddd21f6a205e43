"""Regularized outputs, in training on several workers."""

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.planning.preparation import prepare
from rayrml.training.step import TrainingStep
from rayrml.workers import Workers
from tests.conftest import training_config

LAYERS = [
    {"class_name": "Dense", "config": {"name": "a", "units": 6, "activation": "tanh", "activity_regularizer": "l2"}},
    {"class_name": "ActivityRegularization", "config": {"name": "b", "l1": 0.3}},
    {"class_name": "Dense", "config": {"name": "c", "units": 3}},
]


def trained(workers):
    """The losses of two steps on 11 samples, dealt out to the workers, and the weights after them."""
    torch.manual_seed(0)
    network = build_network(LAYERS, (4,))
    inputs, labels = torch.randn(11, 4), torch.arange(11) % 3
    mine = slice(workers.rank, None, workers.size)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    step = TrainingStep(network.train(), LOSSES["CrossEntropy"](), optimizer, workers=workers)
    losses = [step(inputs[mine], labels[mine], 11).loss.item() for _ in range(2)]
    return losses, [weight.detach().numpy().copy() for weight in network.parameters()]


def test_any_number_of_workers_trains_alike(on_workers):
    losses, weights = trained(Workers())
    for results in on_workers(trained, 2, 3).values():
        for others, own in results:
            assert others == pytest.approx(losses, rel=1e-6)
            for weight, expected in zip(own, weights, strict=True):
                np.testing.assert_allclose(weight, expected, atol=1e-6)


def test_losses_that_weight_samples_are_refused(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (3, 5, 7), 2)
    write_digits(tmp_path / "testing", "testing", (3, 5, 7), 1)
    config = training_config(tmp_path, tmp_path / "out")
    config["neural_network"]["layers"][1]["config"]["activity_regularizer"] = "l2"
    prepare(config)
    config["neural_network"]["loss"]["weight"] = [1, 2, 3]
    with pytest.raises(ConfigError, match=r"neural_network.loss: NLL .* divides by the weights of the samples"):
        prepare(config)
