"""Weights, gradients and the optimizer's state divided among workers: the same training, with a part of the memory."""

import functools

import numpy as np
import pytest
import torch

from rayrml.config.tables import choose
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.training.loss_scaling import LossScaler
from rayrml.training.optimizer_state import list_in_order
from rayrml.training.parameter_groups import build_optimizer
from rayrml.training.sharding import FullSharding, Sharding
from rayrml.training.step import TrainingStep
from rayrml.training.weight_average import WeightAverage
from rayrml.workers import Workers
from tests.keras_networks import Layers
from tests.networks.layers.test_shared_statistics import residual

STEPS = 4
SAMPLES = (6, 1, 5, 6)  # of each batch: with three workers, two have no sample in the second one
L2 = {"class_name": "L2", "config": {"l2": 0.01}}


def images():
    """Without weights that change nothing: their gradient is rounding alone, which some optimizers enlarge."""
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, 8, 8, 2])
    x = layers.add("Conv2D", x, filters=5, kernel_size=3, use_bias=False)
    x = layers.add("Activation", layers.add("BatchNormalization", x, axis=[3]), activation="tanh")
    x = layers.add("Flatten", layers.add("DepthwiseConv2D", x, kernel_size=3, strides=2))
    return layers.model(layers.add("Dense", x, units=3, activation="log_softmax"))


def volumes():
    """A small 3-D U-Net: a branch around its middle, transposed convolutions, one output channel, regularizers."""
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, 4, 4, 4, 2])
    x = down = layers.add("Conv3D", x, filters=5, kernel_size=3, padding="same", use_bias=False, kernel_regularizer=L2)
    x = layers.add("BatchNormalization", x, axis=[4])
    x = layers.add("Activation", x, activation="relu")
    x = layers.add("MaxPooling3D", x, pool_size=2)
    x = layers.add("Conv3D", x, filters=6, kernel_size=1, activity_regularizer=L2, bias_regularizer=L2)
    x = layers.add("Conv3DTranspose", x, filters=4, kernel_size=2, strides=2)
    x = layers.add("Concatenate", x, down, axis=-1)
    return layers.model(layers.add("Conv3D", x, filters=1, kernel_size=1, activation="sigmoid"))


def called_twice():
    """One layer that is called twice, and one that trains nothing."""
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, 4, 4, 4, 2])
    x = layers.add("Conv3D", x, filters=3, kernel_size=1, trainable=False)
    x = layers.add("Conv3D", x, filters=3, kernel_size=3, padding="same", activation="tanh")
    twice = x
    x = layers.add("BatchNormalization", x, axis=[4], trainable=False)
    layers[2]["inbound_nodes"].append([[x, 0, 0, {}]])
    both = [[twice, 0, 0, {}], [twice, 1, 0, {}]]
    layers.append({"class_name": "Add", "name": "add", "config": {"name": "add"}, "inbound_nodes": [both]})
    return layers.model(layers.add("Conv3D", "add", filters=1, kernel_size=1, activation="sigmoid"))


IMAGES = ((2, 8, 8), lambda shape, random: torch.randint(0, 3, shape[:1], generator=random))
VOLUMES = ((2, 4, 4, 4), lambda shape, random: torch.rand(shape[0], 1, *shape[2:], generator=random))
WEIGHTED = {"weight": (1.0, 2.0, 5.0), "ignore_index": 1}
# Network, samples, loss, optimizer, and what else is particular.
CASES = {
    "SGD": (residual, IMAGES, ("NLL", {}), ("SGD", {"momentum": 0.9, "weight_decay": 0.01}), {}),
    "Adam": (volumes, VOLUMES, ("MSE", {}), ("Adam", {}), {"gradient_clip": 0.05}),
    "AdamW": (called_twice, VOLUMES, ("MSE", {}), ("AdamW", {"weight_decay": 0.1}), {}),
    "RMSprop": (images, IMAGES, ("NLL", WEIGHTED), ("RMSprop", {}), {"gradient_clip": 0.5}),
    "Adagrad": (images, IMAGES, ("NLL", {}), ("Adagrad", {}), {"accumulate": 2}),
    "LARS": (volumes, VOLUMES, ("MSE", {}), ("LARS", {"momentum": 0.9, "eta": 0.1}), {}),
    "LAMB": (images, IMAGES, ("NLL", {}), ("LAMB", {}), {}),
    "activation checkpointing": (volumes, VOLUMES, ("MSE", {}), ("SGD", {}), {"checkpointed": True}),
    "loss scaling": (volumes, VOLUMES, ("MSE", {}), ("Adam", {}), {"scaled": True}),
}


class Training:
    """A network in training, the weights of all layers gathered alone or together, and what is known of it."""

    def __init__(self, workers, case, *, least=None, accumulate=1, **options):
        network, self.samples, (loss, arguments), (name, settings), more = CASES[case]
        more = {**more, **options}
        torch.manual_seed(0)
        self.net = build_network(network()).train()
        if more.pop("checkpointed", False):
            self.net.checkpoint_activations()
        self.workers = workers
        self.sharding = Sharding(self.net, workers) if least is None else FullSharding(self.net, workers, least=least)
        self.choice = choose(OPTIMIZERS, {"type": name, "learning_rate": 0.05, **settings}, "optimizer")
        self.optimizer = self.built()
        if more.pop("scaled", False):
            more["scaler"] = LossScaler(torch.device("cpu"))
        self.average = WeightAverage(self.net, 0.9, self.sharding)
        built = LOSSES[loss](**arguments)
        more = {"accumulate": accumulate, **more, "sharding": self.sharding}
        self.step = TrainingStep(self.net, built, self.optimizer, workers=workers, **more)

    def built(self):
        optimizer = build_optimizer(self.choice, self.net, rates={}, decay_all=True, own=self.sharding.own)
        self.sharding.adapt(optimizer)
        return optimizer

    def batch(self, number):
        shape, targets = self.samples
        random, count = torch.Generator().manual_seed(number), SAMPLES[number]
        x = torch.randn(count, *shape, generator=random)
        return x, targets(x.shape, random)

    def steps(self, numbers):
        """Losses and gradient norms of steps."""
        figures, begin = [], 0
        for number in numbers:
            x, y = self.batch(number)
            own = slice((self.workers.rank - begin) % self.workers.size, None, self.workers.size)
            done = self.step(x[own], y[own], len(x), begin=begin)
            self.average.update()
            begin += len(x)
            figures += [done.loss.item(), done.gradient_norm.item()]
        return figures

    def kept(self):
        """The whole weights, averages and optimizer's state, as arrays by name."""
        names = self.sharding.names()
        weights = {**self.net.state_dict(), **self.sharding.gather({n: p.detach() for p, n in names.items()})}
        averages = self.sharding.gather(self.average.weights())
        state = self.sharding.gather_state(self.optimizer)
        if self.workers.rank:
            return None
        order = list_in_order(self.optimizer, names)
        states = {
            f"{order[number]} {key}": value
            for number, values in state["state"].items()
            for key, value in values.items()
            if value is not None
        }
        averages = {f"average of {name}": value for name, value in averages.items()}
        return {name: np.asarray(value) for name, value in {**weights, **averages, **states}.items()}


def trained(workers, cases, least=None):
    """case -> figures, and what is kept in the end."""
    return {case: ((one := Training(workers, case, least=least)).steps(range(STEPS)), one.kept()) for case in cases}


@pytest.fixture(scope="module")
def alone():
    return trained(Workers(), CASES)


def expect_close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("least", [1, 40, 10**9])
def test_any_number_of_workers_trains_the_same(on_workers, alone, least):
    for results in on_workers(functools.partial(trained, cases=list(CASES), least=least), 2, 3).values():
        for case, (figures, kept) in alone.items():
            assert all(result[case][0] == results[0][case][0] for result in results)
            assert results[0][case][0] == pytest.approx(figures, rel=1e-4), case
            expect_close(results[0][case][1], kept)
