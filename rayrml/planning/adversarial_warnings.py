"""Sentences on what is probably wrong with a generator and its critic, and how often each is updated."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rayrml.config.cluster import Ray
from rayrml.config.sections import NeuralNetwork
from rayrml.data.datasets import Datasets
from rayrml.data.reader_keys import SAMPLES
from rayrml.formatting import shorten
from rayrml.losses import Loss
from rayrml.losses.adversarial import AdversarialLoss
from rayrml.networks.layers.normalization import BatchNormalization
from rayrml.networks.layers.wrappers import unwrapped
from rayrml.networks.network import Network
from rayrml.planning.critic import CriticPlan
from rayrml.planning.network_check import warn_of_batch_norm
from rayrml.planning.scaling_check import warn_of_scaling
from rayrml.planning.settings import Settings

_FEWEST_UPDATES = 100  # of a generator that has learnt something
_CURE = "Use more epochs, a smaller batch_size, or fewer critic_steps"


def count_updates(nn: NeuralNetwork, loss: Loss | None, datasets: Datasets) -> tuple[int, int]:
    """How often the critic and the generator are updated in a training; the critic once for each batch."""
    if datasets.training is None or not isinstance(loss, AdversarialLoss):
        return 0, 0
    of_critic = datasets.training.count_batches(nn.data.batch_size) * nn.num_epochs
    return of_critic, of_critic // loss.critic_steps


def warn_of_generation(
    critic: CriticPlan, generator: Network, datasets: Datasets, given: tuple[Settings, Ray]
) -> Iterator[str]:
    """Each sentence.

    Args:
        critic: the second network.
        generator: the first one, with its initial or loaded weights.
        datasets: the samples.
        given: what the configuration says.
    """
    settings, ray = given
    loss: Loss | None = settings.loss.build() if settings.loss is not None else None
    yield from critic.notes
    yield from _warn_of_few_samples(settings.nn, datasets)
    yield from warn_of_scaling(critic.network, datasets, settings.types)
    if datasets.training is None or not isinstance(loss, AdversarialLoss):
        return
    yield from (f"critic: {sentence}" for sentence in warn_of_batch_norm(critic.network))
    yield from _warn_of_normalized_critic(critic.network, loss, ray)
    of_critic, of_generator = count_updates(settings.nn, loss, datasets)
    if not of_generator:
        message = f"the generator is never updated in this training: critic_steps is {loss.critic_steps}"
        yield f"{message}, and the critic is updated {of_critic} times. {_CURE}"
    elif of_generator < _FEWEST_UPDATES:
        message = f"the generator is updated {of_generator} times in this training, once after each {loss.critic_steps}"
        few = f"it learns little in fewer than {_FEWEST_UPDATES}"
        yield f"{message} of the critic's {of_critic} updates; {few}. {_CURE}"
    yield from _warn_of_slow_statistics(generator, of_generator)


def _warn_of_normalized_critic(critic: Network, loss: AdversarialLoss, ray: Ray) -> Iterator[str]:
    """A sentence on batch normalization beside a penalty of each sample's own gradient."""
    names = [name for name, layer in _list_batch_norm(critic).items() if layer.mode is None]
    if not names or not loss.gradient_penalty:
        return
    alone = ray.num_workers == 1 or ray.batch_norm == "local"
    parts = "" if alone else ". Of several workers, each normalizes its part of a batch by itself in the critic"
    yield (
        f"the critic has batch normalization ({shorten(names)}) beside a gradient penalty, which is of each sample by "
        f"itself, while normalized scores depend on all of a batch. LayerNormalization takes its place{parts}"
    )


def _warn_of_few_samples(nn: NeuralNetwork, datasets: Datasets) -> Iterator[str]:
    """A sentence on generated samples that are compared with some of the test images, perhaps of a single class."""
    count, real = nn.data.num_test_examples, 0 if datasets.test is None else len(datasets.test.samples)
    if count is not None and count < real:
        message = f"{SAMPLES}: an evaluation generates {count} samples, which SWD compares with the first {count} of"
        cure = "which may be of one class alone, in folders of classes. Leave the key out to compare with all of them"
        yield f"{message} {real} test images, {cure}"


def _warn_of_slow_statistics(generator: Network, num_updates: int) -> Iterator[str]:
    """A sentence on running statistics that lag behind the weights until the end of a training."""
    slow = {
        name: layer.momentum
        for name, layer in _list_batch_norm(generator).items()
        if layer.mode is None and layer.momentum < 1 and num_updates < 3 / (1 - layer.momentum)
    }
    if slow:
        momentum = max(slow.values())
        needed = math.ceil(round(3 / (1 - momentum), 6))
        yield (
            f"batch normalization of the generator ({shorten(list(slow))}) has a momentum of {momentum:g}: its running "
            f"statistics, by which samples are made in evaluation, need {needed} updates, "
            f"but the generator gets {num_updates}: samples may be far worse than in training. Use a smaller momentum, "
            "or more epochs"
        )


def _list_batch_norm(network: Network) -> dict[str, BatchNormalization]:
    layers = {name: unwrapped(layer) for name, layer in network.layers().items()}
    return {name: layer for name, layer in layers.items() if isinstance(layer, BatchNormalization)}
