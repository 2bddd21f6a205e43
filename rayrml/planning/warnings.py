"""Sentences on what is probably wrong with the network, the samples, or how the one learns from the other."""

from __future__ import annotations

from collections.abc import Iterator

from rayrml.config.cluster import Ray
from rayrml.data.datasets import Datasets
from rayrml.networks.families import Family
from rayrml.networks.network import Network
from rayrml.planning.application import GAN
from rayrml.planning.box_check import warn_of_anchors, warn_of_boxes
from rayrml.planning.class_balance import warn_of_imbalance
from rayrml.planning.network_check import (
    warn_of_batch_norm,
    warn_of_ending,
    warn_of_initial_statistics,
    warn_of_small_parts,
)
from rayrml.planning.pixel_ranges import warn_of_pixels
from rayrml.planning.scaling_check import warn_of_scaling
from rayrml.planning.settings import Settings
from rayrml.planning.shared_samples import warn_of_shared
from rayrml.planning.starting_weights import warn_of_classes
from rayrml.planning.training_boxes import TrainingBoxes
from rayrml.planning.updates import Updates, warn_of_decay, warn_of_unfreezing
from rayrml.saving.checkpoints import Checkpoint


def list_warnings(
    network: Network,
    datasets: Datasets,
    given: tuple[Settings, Ray],
    *,
    boxes: TrainingBoxes,
    updates: Updates,
    named: Family | None,
    checkpoint: Checkpoint | None,
) -> Iterator[str]:
    """Each sentence.

    Args:
        network: with its initial or loaded weights.
        datasets: the samples.
        given: what the configuration says.
        boxes: those of training.
        updates: how weights are updated.
        named: the network's family, None if it has its own file.
        checkpoint: the one whose weights are loaded, None without one.
    """
    settings, ray = given
    yield from warn_of_classes(network, checkpoint, datasets)
    yield from warn_of_anchors(boxes, settings, checkpoint.loss if checkpoint else {})
    yield from warn_of_ending(network, settings.loss)
    if settings.nn.app != GAN:  # whose network takes random numbers
        yield from warn_of_scaling(network, datasets, settings.types)
    yield from warn_of_pixels(named, settings)
    yield from warn_of_shared(datasets, divided=settings.data.test_share is not None)
    if datasets.training is not None:
        yield from warn_of_batch_norm(network)
        accumulate, batch_size = updates.options.accumulate, settings.data.batch_size
        yield from warn_of_small_parts(network, batch_size, accumulate, ray)
        num_steps = datasets.training.count_batches(batch_size) * accumulate * settings.nn.num_epochs
        if settings.nn.app != GAN:
            yield from warn_of_initial_statistics(network, num_steps)
    yield from warn_of_decay(updates)
    yield from warn_of_unfreezing(network, updates.unfreezing, settings.nn.num_epochs)
    yield from warn_of_imbalance(datasets, settings.loss, settings.data.sampling)
    yield from warn_of_boxes(boxes, settings.loss)
