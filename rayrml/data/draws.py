"""Random numbers that belong to samples: the same ones for any number of workers, any batches, and after a restart."""

from __future__ import annotations

import dataclasses
import functools
import zlib

import numpy as np

# Successive numbers of SplitMix64. Source: Steele, Lea and Flood, OOPSLA 2014, figure 16.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_ONE, _LAST = np.uint64(1), np.uint64(31)
_MOST_OF_A_SAMPLE = np.uint64(2**32)  # numbers; how far samples are apart in the sequence
_UNUSED = np.uint64(64 - 24)  # a float32 has 24 digits
_SMALLEST = np.float32(2.0**-24)


@dataclasses.dataclass(frozen=True)
class Draws:
    """The random numbers in [0, 1) of some samples.

    Attributes:
        seed: determines the numbers, together with the samples' positions; that of an epoch.
        positions: (n,) which samples they are; None for the first ones.
    """

    seed: int
    positions: np.ndarray | None = None

    def of(self, name: str, use: int = 0) -> Draws:
        """Other numbers of the same samples, for one use of what has this name."""
        return Draws(_seed_of(self.seed, name, use), self.positions)

    def at(self, number: int) -> Draws:
        """Those of one of the samples."""
        return Draws(self.seed, self.positions_of(number + 1)[number : number + 1])

    def positions_of(self, num_samples: int) -> np.ndarray:
        """(num_samples,) which samples they are."""
        return np.arange(num_samples) if self.positions is None else self.positions

    def uniform(self, num_samples: int, number: int) -> np.ndarray:
        """The first `number` numbers of each sample, (num_samples, number) float32."""
        places = self.positions_of(num_samples).astype(np.uint64) * _MOST_OF_A_SAMPLE + _start(self.seed)
        bits = _scramble(places[:, None] + np.arange(number, dtype=np.uint64))
        bits >>= _UNUSED
        numbers = bits.astype(np.float32)
        numbers *= _SMALLEST
        return numbers

    def normal(self, num_samples: int, number: int) -> np.ndarray:
        """The first `number` normal numbers of each sample, (num_samples, number) float32, of mean 0 and variance 1.

        Source: Box and Muller, Annals of Mathematical Statistics 29 (1958).
        """
        num_pairs = (number + 1) // 2
        pairs = self.uniform(num_samples, 2 * num_pairs).reshape(num_samples, num_pairs, 2)
        # Contiguous, so that a number has the same bits in an array of any size.
        lengths, angles = np.ascontiguousarray(np.moveaxis(pairs, 2, 0), dtype=np.float64)
        lengths, angles = np.sqrt(-2 * np.log1p(-lengths)), 2 * np.pi * angles
        normal = np.stack([lengths * np.cos(angles), lengths * np.sin(angles)], 2)
        return normal.reshape(num_samples, 2 * num_pairs)[:, :number].astype(np.float32)


def mix_seed(*numbers: int) -> int:
    """One seed from several numbers; similar ones (seed 0 of epoch 1, seed 1 of epoch 0) give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


@functools.lru_cache(maxsize=256)
def _seed_of(seed: int, name: str, use: int) -> int:
    numbers = np.random.SeedSequence((seed, zlib.crc32(name.encode()), use)).generate_state(1, np.uint64)
    return int(numbers[0] >> _ONE)


@functools.lru_cache(maxsize=256)
def _start(seed: int) -> np.uint64:
    """Where the numbers of a seed begin in the sequence; similar seeds begin far from each other."""
    return _scramble(np.array([seed], np.uint64))[0]


def _scramble(places: np.ndarray) -> np.ndarray:
    """The numbers of 64 bits at these places of the sequence, in the same array."""
    places += _ONE
    places *= _STEP
    for shift, factor in _MIX:
        places ^= places >> shift
        places *= factor
    places ^= places >> _LAST
    return places
