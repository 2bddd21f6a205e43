"""Sentences on what is probably wrong with a generator and its critic, and how often each is updated."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rayrml.config.sections import NeuralNetwork, Ray
from rayrml.data.datasets import Datasets
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
    yield from warn_of_scaling(critic.network, datasets, settings.types)
    if datasets.training is None or not isinstance(loss, AdversarialLoss):
        return
    yield from (f"critic: {sentence}" for sentence in warn_of_batch_norm(critic.network))
    yield from _warn_of_normalized_critic(critic.network, loss, ray)
    of_critic, of_generator = count_updates(settings.nn, loss, datasets)
    if of_generator < _FEWEST_UPDATES:
        message = f"the generator is updated {of_generator} times in this training, once after each {loss.critic_steps}"
        cure = "Use more epochs, a smaller batch_size, or fewer critic_steps"
        yield f"{message} of the critic's {of_critic} updates; it learns little in fewer than {_FEWEST_UPDATES}. {cure}"
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
