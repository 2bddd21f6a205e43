"""Which samples an epoch of training consists of, in which order and with which random numbers; none is read here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from rayrml.config.sections import NeuralNetwork
from rayrml.data import kept_arrays
from rayrml.data.draws import mix_seed
from rayrml.data.places import deal_places
from rayrml.data.sampling import Balanced, Picks
from rayrml.data.shards import ResidentShard, Shard, StreamedShard
from rayrml.data.sources import Group, Source
from rayrml.errors import ConfigError, Problem
from rayrml.training.feed import Feed, Part
from rayrml.workers import Workers

TRAINING, TEST, TRANSFORMS, FINAL_TEST = 0, 1, 2, 3  # seeds of random draws that must not coincide


def transforms_seed(seed: int, epoch: int) -> int:
    """The seed of the samples' random numbers in an epoch of training."""
    return mix_seed(seed, TRANSFORMS, epoch)


def keeps_samples(config: NeuralNetwork, source: Source, kind: int) -> bool:
    """Whether samples are decoded once and kept; those of the final test are read once, when they are needed."""
    return config.data.preload and not source.random and kind != FINAL_TEST


def seed_groups(source: Source, seed: tuple[int, ...]) -> list[tuple[Group, tuple[int, ...]]]:
    """The samples of each shape, each with a seed of its own; with one shape, it is that of the samples."""
    groups = source.groups()
    seeds = [(*seed, number) for number in range(len(groups))] if len(groups) > 1 else [seed]
    return list(zip(groups, seeds, strict=True))


def deal_out(group: Group, seed: Sequence[int], *, shuffles: bool, balances: bool) -> np.ndarray:
    """The samples of a group in the order in which they are dealt out to workers that keep them."""
    order = group.indices.copy()
    if shuffles:
        # Files are listed by class: without shuffling, a worker would hold only some of the classes.
        np.random.default_rng(mix_seed(*seed)).shuffle(order)
    # Samples of a class are drawn alike, so each worker should have as many of them.
    return order[np.argsort(labels_of(group)[order], kind="stable")] if balances else order


def labels_of(group: Group) -> np.ndarray:
    """(n,) the class of each sample of the group's source. Raises ConfigError if there are no classes."""
    labels = group.source.samples.labels
    if labels is None:
        message = "draws each class equally often, but the samples have no classes"
        raise ConfigError(Problem("neural_network.data.sampling", message))
    return labels


def list_batches(config: NeuralNetwork, source: Source, epoch: int) -> Iterator[tuple[Source, Picks]]:
    """The samples of each batch of an epoch that one worker trains on, with a source that knows their shape.

    Samples that cannot be used, and are skipped in training, are among them.
    """
    seed = (config.seed, TRAINING)
    keeps = keeps_samples(config, source, TRAINING) and not kept_arrays.count_bytes(source)
    pairs = seed_groups(source, seed)
    parts = tuple(_number_part(config, *pair, keeps=keeps) for pair in pairs)
    for batch, *_ in Feed(source, parts, seed).global_batches(config.data.batch_size, epoch):
        group = next(group for group, _ in pairs if batch.positions[0] in group.indices)
        yield group.source, Picks(batch.positions, batch.uses)


def _number_part(config: NeuralNetwork, group: Group, seed: tuple[int, ...], *, keeps: bool) -> Part:
    """A part whose samples are their numbers."""
    balances = config.data.sampling == "balanced"
    order = deal_out(group, seed, shuffles=True, balances=balances) if keeps else group.indices
    places = deal_places(len(order), config.data.batch_size) if keeps else None
    balanced = None
    if balances:
        balanced = Balanced(order, labels_of(group)[order], seed=seed, workers=Workers(), places=places)
    shard: Shard
    if keeps:
        shard = ResidentShard(torch.from_numpy(order), None, order, places=places, seed=seed, balanced=balanced)
    else:
        shard = StreamedShard(_read_numbers, order, workers=Workers(), seed=seed, balanced=balanced)
    used = np.ones(len(order), bool)
    return Part(group.source, shard, torch.device("cpu"), Workers(), used, kept=keeps, balanced=balanced)


def _read_numbers(picks: Picks, epoch: int | None) -> Iterator[tuple[np.ndarray, ...]]:
    yield picks.samples, np.ones(len(picks.samples), bool)
