"""How far generated samples are from real ones to a classifier: by its features, and by the classes that it sees.

Source: arXiv 1706.08500, equation 6, for the Frechet distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Variety(NamedTuple):
    """Which classes a classifier sees in samples.

    Attributes:
        entropy: of the shares of the classes, in natural units: at most the logarithm of their number.
        sure: the mean of each sample's largest probability.
        shares: (K,) of the samples that are most probably of each class.
    """

    entropy: float
    sure: float
    shares: np.ndarray


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float | None:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) for the means m and covariances S of features.

    None if it is undefined: a covariance needs two samples, and finite numbers.

    Args:
        one: (n, F) the features of samples; sums are taken in their order.
        other: (m, F) those of others.
    """
    if min(len(one), len(other)) < 2 or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None
    (mean, covariance), (other_mean, other_covariance) = _moments(one), _moments(other)
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # S1^(1/2) S2 S1^(1/2) has the eigenvalues of S1 S2, and is symmetric.
    values = np.linalg.eigvalsh(root @ other_covariance @ root)
    shared = np.sqrt(np.maximum(values, 0)).sum()
    distance = np.square(mean - other_mean).sum() + np.trace(covariance) + np.trace(other_covariance) - 2 * shared
    return float(distance)


def measure_variety(probabilities: np.ndarray) -> Variety | None:
    """The classes that a classifier sees; None if there are no samples, or numbers that are not finite.

    Args:
        probabilities: (n, K) of the classes of each sample; of a single column, those of class 1 of two.
    """
    if not len(probabilities) or not np.isfinite(probabilities).all():
        return None
    values = np.asarray(probabilities, np.float64)
    if values.shape[1] == 1:
        values = np.concatenate([1 - values, values], axis=1)
    shares = np.bincount(values.argmax(1), minlength=values.shape[1]) / len(values)
    seen = shares[shares > 0]
    return Variety(float((seen * np.log(1 / seen)).sum()), float(values.max(1).mean()), shares)


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(features, np.float64)
    mean = values.mean(0)
    centered = values - mean
    return mean, centered.T @ centered / (len(values) - 1)
