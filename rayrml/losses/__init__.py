"""The loss table; each chapter's rows are at the end of its file."""

from rayrml.losses import adversarial, classification, detection, overlap, pde, pointwise
from rayrml.losses.loss import Loss

LOSSES = {
    **classification.LOSSES,
    **pointwise.LOSSES,
    **overlap.LOSSES,
    **pde.LOSSES,
    **detection.LOSSES,
    **adversarial.LOSSES,
}

__all__ = ["LOSSES", "Loss"]
