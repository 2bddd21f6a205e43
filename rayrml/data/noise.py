"""The random numbers from which a generator makes samples, and by which those are mixed with real ones.

In training they follow from a sample's place in its global batch, in evaluation and inference from its number alone. So
they are the same for any number of workers, any batches, and after a restart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from rayrml.data.draws import Draws, mix_seed
from rayrml.workers import Workers

STEPS, SAMPLES = 4, 5  # the first numbers of seeds after the run's own; `training.sample_order` has the others
_EVEN = 8  # numbers that a CPU adds up at once
Use = Literal["critic", "generator"]


def places_in_batch(count: int, begin: int, workers: Workers) -> np.ndarray:
    """(count,) the places in their global batch of this worker's samples, which are dealt out to the workers in turn.

    Args:
        count: how many samples of the global batch are this worker's.
        begin: how many samples were dealt out before this global batch.
        workers: the workers; no two of them have the same place, even if the batch lacks some of its samples.
    """
    return (workers.rank - begin) % workers.size + workers.size * np.arange(count)


def draws_of_step(seed: int, epoch: int, step: int, places: np.ndarray) -> Draws:
    """The random numbers of samples in a step of training, for `draw_inputs` and `draw_mix`.

    Args:
        seed: the run's.
        epoch: from 1.
        step: which global batch of the epoch it is.
        places: (n,) of the samples in that batch; see `places_in_batch`.
    """
    return Draws(mix_seed(seed, STEPS, epoch, step), places)


def draw_inputs(draws: Draws, shape: Sequence[int], use: Use) -> np.ndarray:
    """(n, *shape) float32 normal numbers, a generator's inputs in a step: others to train a critic than for itself."""
    return _shaped(draws.of(use), shape)


def draw_mix(draws: Draws) -> np.ndarray:
    """(n,) float32 uniform in [0, 1), how much of each mixture of a real and a generated sample is real."""
    return draws.of("mix").uniform(_count(draws), 1)[:, 0]


def batches_of_samples(num_samples: int, batch_size: int, workers: Workers) -> list[np.ndarray]:
    """The numbers of the samples in each of this worker's batches, which are dealt out to the workers as a whole.

    The outputs of a network have other last bits in a batch of another size. So a batch has the same samples for any
    number of workers, and all batches have one size. It is a multiple of 8 if possible, so that most numbers of threads
    make no difference either. The last batch has numbers from `num_samples` on, whose outputs are to be left out.

    Args:
        num_samples: how many samples all workers make together.
        batch_size: the most samples in a batch.
        workers: the workers that share the batches.
    """
    size = batch_size // _EVEN * _EVEN or batch_size
    starts = range(workers.rank * size, num_samples, workers.size * size)
    return [np.arange(start, start + size) for start in starts]


def name_samples(num_samples: int) -> list[str]:
    """What the samples are called, in the order of their numbers."""
    return [f"sample_{number:06}" for number in range(num_samples)]


def inputs_of_samples(seed: int, numbers: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(n, *shape) float32 normal numbers, a generator's inputs for the samples of these `numbers` (n,), from 0."""
    return _shaped(Draws(mix_seed(seed, SAMPLES), numbers), shape)


def _shaped(draws: Draws, shape: Sequence[int]) -> np.ndarray:
    count = _count(draws)
    return draws.normal(count, math.prod(shape)).reshape(count, *shape)


def _count(draws: Draws) -> int:
    return 0 if draws.positions is None else len(draws.positions)
