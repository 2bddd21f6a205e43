"""The names of an epoch's figures in configurations, files and tables; the metric's name follows them."""

import math
from collections.abc import Mapping

TRAIN_LOSS, TEST_LOSS = LOSSES = ("train_loss", "test_loss")
OF_TRAINING = ("epoch", TRAIN_LOSS, "learning_rate", "seconds")
COLUMNS = (*OF_TRAINING, TEST_LOSS)


def loss_of(figures: Mapping[str, float], *, tested: bool) -> float:
    """The loss by which an epoch is judged: of the test samples if it is `tested`, and not a number without a test."""
    return figures.get(TEST_LOSS, math.nan) if tested else figures.get(TRAIN_LOSS, math.nan)


def is_cost(name: str) -> bool:
    """Whether lower values of a figure are better: losses and errors are named so."""
    return name.endswith(("loss", "error"))
