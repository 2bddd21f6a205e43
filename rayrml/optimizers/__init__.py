"""The table of optimizers; each chapter's rows stand at the foot of its file."""

from rayrml.optimizers import gradient, layerwise, second_order
from rayrml.optimizers.second_order import needs_closure, refuse_clipping

OPTIMIZERS = {**gradient.OPTIMIZERS, **layerwise.OPTIMIZERS, **second_order.OPTIMIZERS}

__all__ = ["OPTIMIZERS", "needs_closure", "refuse_clipping"]
