"""Weights, gradients and the optimizer's state divided among workers: the same training, with a part of the memory."""

import functools

import numpy as np
import pytest
import torch

from rayrml.config.tables import choose
from rayrml.errors import ConfigError
from rayrml.inference.evaluation import EvaluationStep
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.planning.preparation import prepare
from rayrml.saving.checkpoints import Checkpoint, load_into
from rayrml.training.loss_scaling import LossScaler
from rayrml.training.optimizer_state import list_in_order, restore_state
from rayrml.training.parameter_groups import build_optimizer
from rayrml.training.sharding import Sharding
from rayrml.training.sharding.fsdp import FullSharding
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

    def __init__(self, workers, case, *, least=None, accumulate=1, compression="none", **options):
        network, self.samples, (loss, arguments), (name, settings), more = CASES[case]
        more = {**more, **options}
        torch.manual_seed(0)
        self.net = build_network(network()).train()
        if more.pop("checkpointed", False):
            self.net.checkpoint_activations()
        self.workers = workers
        divided = Sharding if least is None else functools.partial(FullSharding, least=least)
        self.sharding = divided(self.net, workers, compression=compression)
        self.choice = choose(OPTIMIZERS, {"type": name, "learning_rate": 0.05, **settings}, "optimizer")
        self.optimizer = self.built()
        if more.pop("scaled", False):
            more["scaler"] = LossScaler(torch.device("cpu"))
        self.average = WeightAverage(self.net, 0.9, self.sharding)
        built = LOSSES[loss](**arguments)
        more = {"accumulate": accumulate, **more, "sharding": self.sharding}
        self.step = TrainingStep(self.net, built, self.optimizer, workers=workers, **more)

    def own_parameters(self):
        return [self.sharding.own(parameter) for parameter in self.step.parameters]

    def state_size(self):
        values = (value for state in self.optimizer.state.values() for value in state.values())
        return sum(value.numel() for value in values if value.ndim)

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


@pytest.mark.parametrize("least", [1, 40])  # weights of layers that are gathered alone
def test_any_number_of_workers_trains_the_same(on_workers, alone, least):
    for results in on_workers(functools.partial(trained, cases=list(CASES), least=least), 2, 3).values():
        for case, (figures, kept) in alone.items():
            assert all(result[case][0] == results[0][case][0] for result in results)
            assert results[0][case][0] == pytest.approx(figures, rel=1e-4), case
            expect_close(results[0][case][1], kept)


def pieces(workers):
    """The numbers that this worker keeps of each kind, next to those of the whole training."""
    one, whole = Training(workers, "Adam", least=40), Training(Workers(), "Adam")
    for each in (one, whole):
        each.steps([0])
    return [
        [sum(p.numel() for p in t.own_parameters()), sum(p.grad.numel() for p in t.own_parameters()), t.state_size()]
        for t in (one, whole)
    ]


def test_each_worker_keeps_its_share(on_workers):
    for size, results in on_workers(pieces, 2, 3).items():
        whole = np.array(results[0][1])
        shares = np.array([own for own, _ in results])
        assert np.array_equal(shares.sum(0), whole)
        assert (shares.max(0) < 1.5 * whole / size).all()


def evaluated(workers):
    """Outputs of as many batches as a worker has, between steps of training, and figures of these steps."""
    one = Training(workers, "SGD", least=40)
    outputs, figures = [], []
    for number in range(2):
        one.net.eval()
        step = EvaluationStep(one.net, None, None, workers=workers)
        with one.average.applied(), one.sharding.whole():
            outputs += [step(one.batch(0)[0], None).numpy() for _ in range(workers.rank)]
        one.net.train()
        figures += one.steps([2 * number, 2 * number + 1])
    return outputs, figures


def test_workers_evaluate_at_their_own_pace(on_workers, alone):
    one = Training(Workers(), "SGD")
    expected = []
    for number in range(2):
        with one.average.applied(), torch.no_grad():
            expected.append(one.net.eval()(one.batch(0)[0]).numpy())
        one.net.train()
        one.steps([2 * number, 2 * number + 1])
    for results in on_workers(evaluated, 2, 3).values():
        for rank, (outputs, figures) in enumerate(results):
            wanted = [output for output in expected for _ in range(rank)]
            assert len(outputs) == len(wanted)
            for mine, theirs in zip(outputs, wanted, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
            assert figures == pytest.approx(alone["SGD"][0], rel=1e-4)


def resumed(workers, kept, least, numbers):
    """The state after some steps, which continue those of another training if there is one."""
    one = Training(workers, "Adam", least=least)
    if kept is not None:
        names = [name for name in kept if name in one.net.state_dict()]
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in kept.items()}
        load_into(one.net, {name: tensors[name] for name in names}, "", part=one.sharding.part)
        order = list_in_order(one.optimizer, one.sharding.names())
        keys = ("step", "exp_avg", "exp_avg_sq")
        states = {number: {key: tensors[f"{name} {key}"] for key in keys} for number, name in enumerate(order)}
        state = Checkpoint(1, {}, [], None, (), optimizer={"state": states}, optimizer_type="Adam", parameters=order)
        restore_state(one.optimizer, one.choice, one.net, state, names=one.sharding.names(), part=one.sharding.part)
        averages = {name: tensors[f"average of {name}"] for name in order}
        one.average.restore(averages, {"steps": numbers[0]})
    one.steps(numbers)
    return one.kept()


def test_a_training_goes_on_with_any_number_of_workers(on_workers, alone):
    """Two workers begin, one goes on with whole weights, three divide them again."""
    run = functools.partial
    kept = on_workers(run(resumed, kept=None, least=1, numbers=[0, 1]), 2)[2][0]
    kept = resumed(Workers(), kept, None, [2])
    kept = on_workers(run(resumed, kept=kept, least=40, numbers=[3]), 3)[3][0]
    expect_close(kept, alone["Adam"][1])


OPTIONS = {
    "bf16": {"autocast": torch.bfloat16},
    "local statistics": {"global_batch_norm": False},
    "compression": {},
}


def other(workers, least):
    found = {}
    for name, options in OPTIONS.items():
        compression = "bf16" if name == "compression" else "none"
        one = Training(workers, "SGD", least=least, compression=compression, **options)
        found[name] = one.steps(range(STEPS)), one.kept()
    return found


def test_other_arithmetic_is_that_of_whole_weights(on_workers):
    whole, divided = (on_workers(functools.partial(other, least=least), 2, 3) for least in (None, 40))
    for size, results in whole.items():
        for name, (figures, kept) in results[0].items():
            found = divided[size][0][name]
            exact = name == "local statistics"
            assert found[0] == pytest.approx(figures, rel=1e-4 if exact else 0.1), name
            if exact:
                expect_close(found[1], kept)


def undefined_at_zero(workers, least):
    """A training whose network has no value for zeros, such as those of a worker without a sample."""
    one = Training(workers, "AdamW", least=least)
    layer = next(iter(one.net.layers().values()))
    layer.register_forward_hook(lambda _, __, output: output / output.norm())
    with torch.no_grad():
        one.sharding.own(layer.bias).zero_()
    return one.steps(range(STEPS))


def test_a_worker_without_samples_adds_zeros_whatever_it_computes(on_workers):
    works = [functools.partial(undefined_at_zero, least=least) for least in (None, 40)]
    whole, divided = (on_workers(work, 3)[3][0] for work in works)
    assert np.isfinite(whole).all()
    assert divided == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"compile": True}, "fsdp does not go with compile"),
        ({"debug": True, "debug_interval": 1}, "fsdp does not go with debug_interval"),
        ({"optimizer": {"type": "Hessian"}}, "Hessian keeps one state for all weights together"),
    ],
)
def test_what_needs_whole_weights_is_refused(tmp_path, section, message):
    (tmp_path / "a").mkdir()
    nn = {"layers": [], "data": {"input_path": str(tmp_path)}, "optimizer": {"type": "SGD"}, **section}
    with pytest.raises(ConfigError, match=rf"ray\.sharding: {message}"):
        prepare({"neural_network": nn, "ray": {"sharding": "fsdp"}})
