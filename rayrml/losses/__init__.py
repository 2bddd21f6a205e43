"""The table of losses; each chapter's rows stand at the foot of its file."""

from rayrml.losses import pointwise
from rayrml.losses.loss import Loss

LOSSES = {**pointwise.LOSSES}

__all__ = ["LOSSES", "Loss"]
