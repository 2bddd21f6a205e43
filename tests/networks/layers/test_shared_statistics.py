"""Batch normalization over workers: the same training for any number of them."""

import functools

import numpy as np
import pytest
import torch

from rayrml.losses import LOSSES
from rayrml.networks.layers.normalization import share_statistics
from rayrml.networks.layers.shared_statistics import SharedStatistics
from rayrml.networks.network import build_network
from rayrml.training.step import TrainingStep
from rayrml.workers import Workers
from tests.keras_networks import Layers, resnet50

SIZE = 8


def residual(*, trainable=True, affine=True, synchronized=None, **options):
    """Convolutions and batch normalization with a branch, a layer that is called twice, and dense layers."""
    layers = Layers()
    norm = {"center": affine, "scale": affine, "momentum": 0.8, "synchronized": synchronized, **options}
    x = layers.add("InputLayer", batch_input_shape=[None, SIZE, SIZE, 2])
    x = layers.add("BatchNormalization", x, axis=3, **norm)  # its input has no gradient
    x = layers.add("Conv2D", x, filters=4, kernel_size=3, padding="same", trainable=trainable)
    x = layers.add("BatchNormalization", x, axis=3, trainable=trainable, **norm)
    y = layers.add("Conv2D", layers.add("Activation", x, activation="relu"), filters=4, kernel_size=1)
    y = layers.add("BatchNormalization", y, axis=3, **norm)
    x = layers.add("Add", x, y)
    x = layers.add("GlobalAveragePooling2D", x)
    x = layers.add("Dense", x, units=6)
    x = layers.add("BatchNormalization", x, axis=-1, **norm)
    return layers.model(layers.add("Dense", x, units=3, activation="log_softmax"))


def nested():
    inner = {"class_name": "Model", "config": residual()["config"], "name": "inner"}
    outer = Layers()
    x = outer.add("InputLayer", batch_input_shape=[None, SIZE, SIZE, 2])
    outer.append({**inner, "inbound_nodes": [[[x, 0, 0, {}]]]})
    y = outer.add("BatchNormalization", "inner", axis=-1)
    return outer.model(outer.add("Activation", y, activation="log_softmax"))


def volumes():
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, 3, 4, 5, 2])
    x = layers.add("Conv3D", x, filters=4, kernel_size=2)
    x = layers.add("BatchNormalization", x, axis=[4])
    x = layers.add("InstanceNormalization", x, track_running_stats=True, affine=True)
    x = layers.add("Flatten", x)
    return layers.model(layers.add("Dense", x, units=3, activation="log_softmax"))


CASES = {
    "residual": residual(),
    "frozen layers": residual(trainable=False),
    "nothing to train in it": residual(affine=False),
    "of Keras 3": residual(synchronized=False),
    "nested": nested(),
    "volumes": volumes(),
    "narrow ResNet50": resnet50(32, width=4, num_classes=3),
}


def trained(workers, network, *, kind=torch.float64, num_samples=11, batch_size=4, **options):
    """Gradients of the first step, and weights with running statistics after an epoch with a ragged end."""
    torch.manual_seed(0)
    net = build_network(network).to(kind).train()
    for buffer in net.buffers():
        buffer.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    shape = net.input_shapes[0]
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    loss = options.pop("loss", LOSSES["NLL"]())
    step = TrainingStep(net, loss, optimizer, workers=workers, sample_shape=shape, **options)
    random = torch.Generator().manual_seed(2)
    x = 3 + 2 * torch.randn(num_samples, *shape, dtype=kind, generator=random)
    labels = torch.randint(0, 3, (num_samples,), generator=random)
    gradients, losses = [], []
    for begin in range(0, num_samples, batch_size):
        part = slice(begin + (workers.rank - begin) % workers.size, min(begin + batch_size, num_samples), workers.size)
        count = min(batch_size, num_samples - begin)
        losses.append(step(x[part], labels[part], count, begin=begin).loss.item())
        if not gradients:
            gradients = [p.grad.flatten().clone() for p in net.parameters() if p.grad is not None]
    # As numpy arrays, which processes can send each other when they end.
    return tuple(
        values.double().numpy()
        for values in (
            torch.cat(gradients),
            torch.cat([v.flatten() for v in net.state_dict().values()]),
            torch.tensor(losses),
        )
    )


def each(workers, cases, **options):
    return [trained(workers, network, **options) for network in cases]


def differences(one, other):
    return [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(one, other, strict=True)]


def agree(one, other):
    """Whether gradients and weights are the same; losses are float32 in any case."""
    gradients, weights, losses = differences(one, other)
    return gradients < 1e-9 and weights < 1e-9 and losses < 1e-6


def test_any_number_of_workers_computes_the_same(on_workers):
    """In float64, so that only a wrong formula can differ; the last batch has 3 samples, or fewer than workers."""
    for options in ({}, {"num_samples": 9}, {"num_samples": 1, "batch_size": 1}):
        # A single sample has one value a channel in the last layers of the ResNet: nothing but rounding.
        cases = {name: case for name, case in CASES.items() if not options or "ResNet" not in name}
        work = functools.partial(each, cases=list(cases.values()), **options)
        alone = work(Workers())
        for results in on_workers(work, 2, 3).values():
            for of_worker in results:
                for name, found, expected in zip(cases, of_worker, alone, strict=True):
                    assert agree(found, expected), (name, options)


def test_in_float32_gradients_agree_to_rounding(on_workers):
    """Gradients to 1e-6 of the largest, weights after an epoch to 1e-4."""
    work = functools.partial(each, cases=[residual(), volumes()], kind=torch.float32)
    alone = work(Workers())
    for results in on_workers(work, 2, 3).values():
        for found, expected in zip(results[0], alone, strict=True):
            gradients, weights, losses = differences(found, expected)
            assert gradients < 1e-6 and weights < 1e-4 and losses < 1e-5


WEIGHTED = LOSSES["NLL"](weight=(1.0, 5.0, 0.5))


@pytest.mark.parametrize("accumulate", [2, 3, 100])
def test_micro_batches_are_the_same_for_any_number_of_workers(on_workers, accumulate):
    work = functools.partial(each, cases=[residual(), volumes()], accumulate=accumulate, loss=WEIGHTED)
    alone = work(Workers())
    for results in on_workers(work, 2, 3).values():
        for found, expected in zip(results[-1], alone, strict=True):
            assert agree(found, expected)


def test_without_batch_normalization_micro_batches_change_nothing():
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, SIZE, SIZE, 2])
    x = layers.add("Flatten", layers.add("Conv2D", x, filters=3, kernel_size=3, kernel_regularizer="l2"))
    network = layers.model(layers.add("Dense", x, units=3, activation="log_softmax"))
    whole = trained(Workers(), network, loss=WEIGHTED)
    for accumulate in (2, 3, 4, 50):
        # The weights of classes are float32.
        assert max(differences(trained(Workers(), network, loss=WEIGHTED, accumulate=accumulate), whole)) < 1e-6


def test_16_bits_give_nearly_the_same(on_workers):
    work = functools.partial(each, cases=[residual()], kind=torch.float32, autocast=torch.bfloat16)
    (alone,) = work(Workers())
    (found,), _ = on_workers(work, 2)[2]
    assert found[0] @ alone[0] > 0.99 * np.linalg.norm(found[0]) * np.linalg.norm(alone[0])
    assert differences(found, alone)[2] < 0.02


def test_parts_can_be_normalized_on_their_own(on_workers):
    """Then only layers that ask for the statistics of all workers have them."""
    work = functools.partial(each, cases=[residual(), residual(synchronized=True)], global_batch_norm=False)
    exact = trained(Workers(), residual(synchronized=True))
    local, synchronized = on_workers(work, 2)[2][0]
    assert differences(local, trained(Workers(), residual()))[1] > 1e-3
    assert agree(synchronized, exact)


def test_an_evaluation_exchanges_nothing():
    """Workers evaluate at their own pace: an exchange would wait for ever."""
    network = build_network(residual())
    shared = share_statistics(network, Workers(0, 2), everywhere=True)
    assert shared is not None and not shared.active
    network.train()(torch.zeros(2, 2, SIZE, SIZE))


def test_a_gradient_of_its_gradient_is_refused():
    """It would lack what the statistics of the batch contribute."""
    shared = SharedStatistics(Workers())
    x, weight = torch.rand(4, 3, 2, requires_grad=True), torch.ones(3, requires_grad=True)
    with shared.step(counts=True):
        y = shared.normalize(x, weight, torch.zeros(3), epsilon=1e-3)[0]
        (gradient,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiate twice"):
            gradient.square().sum().backward()


def test_one_worker_has_nothing_to_add_up():
    assert share_statistics(build_network(residual()), Workers(), everywhere=True) is None
