"""A plan for programs: what `rayrml check --json` writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayrml.data.sources import Source
from rayrml.memory import available_memory
from rayrml.networks.network import Network
from rayrml.planning import checks
from rayrml.planning.adversarial_warnings import count_updates
from rayrml.planning.critic import CriticPlan
from rayrml.planning.plan import Plan
from rayrml.planning.updates import list_settings


def describe(plan: Plan) -> dict[str, Any]:
    """The network, the data, the warnings and the memory of a valid configuration, in JSON's types."""
    asked = plan.config.ray.num_workers
    workers = (asked[0] if isinstance(asked, tuple) else asked) or 1
    loss = plan.loss
    observed = [text for source in plan.sources for text in plan.observations[source.name].warnings]
    return {
        "valid": True,
        "network": _network(plan.network),
        **({} if plan.critic is None else {"critic": _critic(plan, plan.critic)}),
        "optimizer": list_settings(plan.optimizer, plan.options, plan.schedule),
        "loss": None if loss is None else {"function": loss.name, **loss.settings},
        "metric": plan.metric,
        "datasets": {source.name: _dataset(plan, source) for source in plan.sources},
        "left_out": [{"path": entry.path, "reason": entry.reason} for entry in plan.folders.left_out],
        "warnings": [*plan.folders.notes, *plan.warnings, *observed],
        "memory": _memory(plan, workers),
    }


def _critic(plan: Plan, critic: CriticPlan) -> dict[str, Any]:
    """The second network of a generator, and how often both are updated."""
    loss = None if plan.loss is None else plan.loss.build()
    of_critic, of_generator = count_updates(plan.config.neural_network, loss, plan.datasets)
    return {
        **_network(critic.network),
        "optimizer": list_settings(*critic.updates[:3]),
        "updates": of_critic,
        "updates_of_generator": of_generator,
    }


def _network(network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "num_parameters": network.num_parameters - network.num_running_statistics,
        "num_trainable_parameters": network.num_trainable_parameters,
        "layers": [
            {
                "name": row.name,
                "class": row.class_name,
                "output_shape": row.output_shape,
                "weights": row.num_parameters,
            }
            for row in network.summary()
        ],
    }


def _dataset(plan: Plan, source: Source) -> dict[str, Any]:
    """The samples of one dataset, and how many of each class there are if it has classes."""
    data, samples = plan.config.neural_network.data, source.samples
    batch_size = data.batch_size if source is plan.training else data.test_batch_size
    found: dict[str, Any] = {
        "type": data.inputs,
        "location": samples.root or None,
        "num_samples": len(samples),
        "shapes": [group.source.shape for group in source.groups()],
        "batch_size": batch_size,
        "num_batches": source.count_batches(batch_size),
    }
    if samples.labels is not None:
        counts = np.bincount(samples.labels, minlength=len(plan.classes)).tolist()
        found["classes"] = dict(zip(plan.classes, counts, strict=True))
    return found


def _memory(plan: Plan, workers: int) -> dict[str, Any]:
    """Bytes that each worker is expected to need, by purpose, and what this machine has left."""
    parts = checks.memory_parts(plan, workers)
    return {"worker": parts, "total": workers * sum(parts.values()), "available": available_memory()}
