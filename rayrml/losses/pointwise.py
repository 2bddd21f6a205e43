"""Losses that are a mean over samples or pixels."""

from __future__ import annotations

from torch.nn import functional

from rayrml.losses.loss import Loss


def nll() -> Loss:
    """Negative log-likelihood of the true class, given log-probabilities (N, C) or (N, C, *spatial)."""
    return Loss(functional.nll_loss, targets="labels", metric="accuracy")


LOSSES = {"NLL": nll}
