"""The names of an epoch's figures in configurations, files and tables; the metric's name follows them."""

import math
from collections.abc import Mapping

TRAIN_LOSS, TEST_LOSS = LOSSES = ("train_loss", "test_loss")
OF_TRAINING = ("epoch", TRAIN_LOSS, "learning_rate", "seconds")
COLUMNS = (*OF_TRAINING, TEST_LOSS)
WASSERSTEIN, TEST_WASSERSTEIN = "wasserstein", "test_wasserstein"  # of generated samples, as a critic sees them
GENERATOR_LOSS = "generator_loss"  # beside the training loss, which is the critic's
_TERMS = (WASSERSTEIN, "gradient_penalty")  # those of losses that are not named like losses
_DISTANCES = ("swd", "frechet")
_SPELLINGS = {"swd": "SWD", "map": "mAP", "map50": "mAP50", "average_precision": "AP", "average_precision_50": "AP50"}


def is_term(name: str) -> bool:
    """Whether a figure is one of the terms of which the training loss consists."""
    return (name.endswith("_loss") and name not in LOSSES) or name in _TERMS


def spell(name: str) -> str:
    """A figure's name as people write it in a text."""
    return _SPELLINGS.get(name, name)


def title(name: str) -> str:
    """The same as a heading."""
    return _SPELLINGS.get(name, name.replace("_", " ").capitalize())


def loss_of(figures: Mapping[str, float], *, tested: bool) -> float:
    """The loss by which an epoch is judged: of the test samples if it is `tested`, and not a number without a test."""
    return figures.get(TEST_LOSS, math.nan) if tested else figures.get(TRAIN_LOSS, math.nan)


def is_cost(name: str) -> bool:
    """Whether lower values of a figure are better: losses and errors are named so, distances are listed."""
    return name.endswith(("loss", "error")) or name in _DISTANCES
