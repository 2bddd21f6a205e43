"""The optimizer table; each chapter's rows are at the end of its file."""

from rayrml.optimizers import gradient, layerwise, second_order
from rayrml.optimizers.second_order import needs_closure, refuse_clipping
from rayrml.optimizers.state_size import count_state
from rayrml.optimizers.trial_step import try_step

OPTIMIZERS = {**gradient.OPTIMIZERS, **layerwise.OPTIMIZERS, **second_order.OPTIMIZERS}

__all__ = ["OPTIMIZERS", "count_state", "needs_closure", "refuse_clipping", "try_step"]
