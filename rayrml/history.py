"""The figures of a run's epochs: by which one epochs are compared, and which epoch is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rayrml.messages import OF_TRAINING

Figures = Mapping[str, float]


def judged_by(figures: Figures) -> str:
    """The figure by which epochs are compared: the metric, else the loss over the test samples, else in training."""
    metrics = [name for name in figures if name not in (*OF_TRAINING, "test_loss")]
    return metrics[0] if metrics else "test_loss" if "test_loss" in figures else "train_loss"


def cost(figures: Figures, name: str) -> float:
    """What is less the better an epoch is: a loss itself, and the negative of anything else."""
    return figures[name] if name.endswith("loss") else -figures[name]


def best(history: Sequence[Figures]) -> Figures:
    """The figures of the best epoch, the first of several that are as good."""
    name = judged_by(history[-1])
    return min((figures for figures in history if name in figures), key=lambda figures: cost(figures, name))
