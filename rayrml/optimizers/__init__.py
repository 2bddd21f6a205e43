"""The optimizer table; each chapter's rows are at the end of its file."""

from rayrml.optimizers import gradient, layerwise, second_order
from rayrml.optimizers.rates import base_rate, set_rate
from rayrml.optimizers.second_order import needs_closure, refuse_clipping
from rayrml.optimizers.state_size import count_state
from rayrml.optimizers.trial_step import try_step

OPTIMIZERS = {**gradient.OPTIMIZERS, **layerwise.OPTIMIZERS, **second_order.OPTIMIZERS}

__all__ = ["OPTIMIZERS", "base_rate", "count_state", "needs_closure", "refuse_clipping", "set_rate", "try_step"]
