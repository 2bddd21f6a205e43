import itertools

import pytest
import torch

from rayrml.config.tables import choose
from rayrml.optimizers import OPTIMIZERS, count_state, needs_closure, try_step

SETTINGS = ({"momentum": 0.9}, {"amsgrad": True}, {"centered": True}, {"weight_decay": 0.1})


def variants(name):
    """All combinations of the settings that the row has."""
    known = choose(OPTIMIZERS, {"type": name}, "optimizer").settings
    usable = [setting for setting in SETTINGS if setting.keys() <= known.keys()]
    combined = (c for count in range(len(usable) + 1) for c in itertools.combinations(usable, count))
    return [{key: value for setting in settings for key, value in setting.items()} for settings in combined]


@pytest.mark.parametrize("name, settings", [(name, settings) for name in OPTIMIZERS for settings in variants(name)])
def test_the_state_of_an_optimizer_is_as_large_as_it_says(name, settings):
    choice = choose(OPTIMIZERS, {"type": name, **settings}, "optimizer")
    optimizer = try_step(choice.build)
    (weights,) = optimizer.param_groups[0]["params"]
    if needs_closure(optimizer):
        kept = 2 * optimizer.param_groups[0]["history_size"]  # steps, and changes of the gradient
    else:
        tensors = [value for value in optimizer.state[weights].values() if isinstance(value, torch.Tensor)]
        kept = sum(tensor.numel() for tensor in tensors) // weights.numel()
    assert count_state(name, choice.settings) == kept
