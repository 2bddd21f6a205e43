"""Activation checkpointing: the same training with less memory."""

import functools

import pytest
import torch

from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.planning import memory_estimate
from rayrml.training.step import TrainingStep
from rayrml.workers import Workers
from tests.keras_networks import Layers, resnet50
from tests.networks.layers.test_shared_statistics import differences, residual, volumes

SIZE = 8


def unet():
    """Skip connections across all segments, dropout, a layer called twice, and an output that is also used inside."""
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, SIZE, SIZE, 2])
    skips = []
    for filters in (4, 8):
        x = layers.add("Conv2D", x, filters=filters, kernel_size=3, padding="same", activation="relu")
        x = layers.add("BatchNormalization", x, axis=3)
        x = layers.add("Dropout", x, rate=0.3)
        x = layers.add("ActivityRegularization", x, l2=0.01)
        skips.append(x)
        x = layers.add("MaxPooling2D", x)
    for skip in skips[::-1]:
        x = layers.add("Concatenate", layers.add("UpSampling2D", x), skip)
        x = layers.add("Conv2D", x, filters=4, kernel_size=3, padding="same", activation="relu")
    x = layers.add("Dense", layers.add("GlobalAveragePooling2D", x), units=3)
    return layers.model(layers.add("Activation", x, activation="log_softmax"))


def trained(workers, description, checkpointed, *, steps=3):
    """Losses, weights and running statistics after some steps."""
    torch.manual_seed(0)
    net = build_network(description).double().train()
    if checkpointed is not False:
        net.checkpoint_activations(None if checkpointed is True else checkpointed)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    step = TrainingStep(net, LOSSES["NLL"](), optimizer, workers=workers, sample_shape=net.input_shapes[0])
    random = torch.Generator().manual_seed(2)
    x = torch.randn(5, *net.input_shapes[0], dtype=torch.float64, generator=random)
    labels = torch.randint(0, 3, (5,), generator=random)
    own = slice(workers.rank, None, workers.size)
    losses = torch.stack([step(x[own], labels[own], 5).loss for _ in range(steps)])
    return losses.numpy(), torch.cat([v.double().flatten() for v in net.state_dict().values()]).numpy()


@pytest.mark.parametrize("description", [unet(), residual(), volumes(), resnet50(32, width=4, num_classes=3)])
def test_training_is_the_same(description):
    """Dropout draws the same numbers again, and running statistics take each batch once."""
    plain = trained(Workers(), description, False)
    names = list(build_network(description).layers())
    for checkpointed in (True, names, names[1:4], names[:1] + names[-3:-1]):
        assert max(differences(trained(Workers(), description, checkpointed), plain)) < 1e-12


def test_workers_exchange_the_same(on_workers):
    plain = trained(Workers(), residual(), False)
    for results in on_workers(functools.partial(trained, description=residual(), checkpointed=True), 2, 3).values():
        assert max(differences(results[-1], plain)) < 1e-6


def needed(net, batch_size=4):
    shape = net.input_shapes[0]
    return memory_estimate.of_training(net, LOSSES["NLL"](), batch_size, inputs=shape, targets=(), pixels=False)


@pytest.mark.parametrize("description", [unet(), resnet50(64, width=16)])
def test_it_saves_memory(description):
    net = build_network(description)
    before = needed(net)
    net.checkpoint_activations()
    assert needed(net) < (0.5 if len(net.layers()) > 50 else 0.95) * before


def test_layers_that_are_chosen_save_what_they_hold():
    """Three activations in a row, each of which would keep a tensor."""
    layers = Layers()
    x = layers.add("InputLayer", batch_input_shape=[None, 64, 64, 4])
    x = layers.add("Conv2D", x, filters=4, kernel_size=1)
    chosen = []
    for activation in ("softplus", "swish", "gelu", "tanh"):
        x = layers.add("Activation", x, activation=activation)
        chosen.append(x)
    x = layers.add("Dense", layers.add("GlobalAveragePooling2D", x), units=3, activation="log_softmax")
    net = build_network(layers.model(x))
    before = needed(net)
    net.checkpoint_activations(chosen[:-1])
    assert needed(net) < before


def test_a_part_of_a_network_is_cut_like_a_whole_one():
    """Recomputing all of it at once would take as much memory as keeping it."""
    net = build_network(resnet50(64, width=16))
    whole, names = needed(net), list(net.layers())
    net.checkpoint_activations(names[: len(names) * 3 // 4])
    part = needed(net)
    net.checkpoint_activations()
    assert needed(net) <= part < 0.7 * whole


def test_evaluations_are_not_cut():
    net = build_network(unet()).eval()
    net.checkpoint_activations()
    with torch.no_grad():
        net(torch.zeros(2, 2, SIZE, SIZE))
