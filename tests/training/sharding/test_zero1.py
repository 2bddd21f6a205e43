"""The optimizer's state divided among workers: the same steps, with a part of the memory."""

import functools

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.planning.preparation import prepare
from rayrml.training.sharding import StateSharding
from rayrml.training.step import TrainingStep
from tests.networks.layers.test_shared_statistics import residual

ELEMENTWISE = {"SGD": {"momentum": 0.9}, "Adam": {}, "AdamW": {"weight_decay": 0.1}, "RMSprop": {}, "Adagrad": {}}
LAYERWISE = {"LARS": {"momentum": 0.9}, "LAMB": {}}


def trained(workers, name, settings, *, sharded):
    """Weights after some steps, the numbers in this worker's state, and the gathered state."""
    torch.manual_seed(0)
    net = build_network(residual()).train()
    parameters = list(net.parameters())
    optimizer = OPTIMIZERS[name](parameters, learning_rate=0.05, **settings)
    sharding = StateSharding(net, workers) if sharded else None
    if sharding is not None:
        sharding.adapt(optimizer)
    step = TrainingStep(net, LOSSES["NLL"](), optimizer, workers=workers, gradient_clip=1.0, sharding=sharding)
    random = torch.Generator().manual_seed(2)
    x, labels = torch.randn(6, 2, 8, 8, generator=random), torch.randint(0, 3, (6,), generator=random)
    for _ in range(4):
        step(x[workers.rank :: workers.size], labels[workers.rank :: workers.size], 6)
    kept = sum(v.numel() for s in optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor))
    gathered = optimizer.state_dict() if sharding is None else sharding.gather_state(optimizer)
    return torch.cat([p.detach().flatten() for p in parameters]).numpy(), kept, _flat(gathered)


def _flat(state):
    """The numbers of a state by parameter and key, None for workers that have none."""
    return state and {
        (number, key): np.asarray(value)
        for number, values in state["state"].items()
        for key, value in values.items()
        if value is not None
    }


def each(workers, *, sharded):
    return [trained(workers, *row, sharded=sharded) for row in (ELEMENTWISE | LAYERWISE).items()]


def test_steps_and_gathered_states_are_those_of_whole_optimizers(on_workers):
    whole, divided = (on_workers(functools.partial(each, sharded=sharded), 2, 3) for sharded in (False, True))
    for size in (2, 3):
        for row in range(len(ELEMENTWISE | LAYERWISE)):
            weights, kept, state = whole[size][0][row]
            parts = [divided[size][rank][row] for rank in range(size)]
            assert all(np.array_equal(part[0], weights) for part in parts)
            assert [part[2] for part in parts[1:]] == [{}] * (size - 1)
            assert parts[0][2].keys() == state.keys()
            assert all(np.array_equal(parts[0][2][key], state[key]) for key in state)
            assert sum(part[1] for part in parts) == kept
            assert max(part[1] for part in parts) < 0.7 * kept


def test_an_optimizer_with_one_state_for_all_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    nn = {"layers": [], "data": {"input_path": str(tmp_path)}, "optimizer": {"type": "Hessian"}}
    with pytest.raises(ConfigError, match=r"ray\.sharding: Hessian keeps one state for all weights together"):
        prepare({"neural_network": nn, "ray": {"sharding": "zero1"}})
