"""Where a run's results come from: its whole configuration, and the software and machines that it ran on."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from rayrml.cluster.allocation import Allocation
from rayrml.cluster.nodes import accelerator_types
from rayrml.config.named_networks import is_named
from rayrml.config.worker_settings import hide_variables
from rayrml.data import slicers, transforms
from rayrml.data.reader_keys import BOXES
from rayrml.data.sources import Source
from rayrml.metrics import name_classes
from rayrml.planning.plan import Plan
from rayrml.planning.updates import list_settings
from rayrml.version import __version__

_LIBRARIES = ("torch", "ray", "numpy")


def resolved(plan: Plan, allocation: Allocation, moved: Mapping[str, str]) -> dict[str, Any]:
    """A configuration that repeats the training: with all defaults, absolute paths, the network and the workers.

    It contains the network itself, because the network's file may change, or be deleted with the job that brought it.
    What was loaded from a file that has `moved` since then has its new path.
    """
    values = plan.config.model_dump(mode="json", by_alias=True, exclude={"schema_"})
    nn = values["neural_network"]
    del nn["layers"]
    if plan.critic is not None:
        nn["critic"] = {"layers": plan.critic.layers, "optimizer": list_settings(*plan.critic.updates[:3])}
    data = plan.config.neural_network.data
    for key in ("transforms", "input_transforms", "target_transforms"):
        nn["data"][key] = [transform.section for transform in transforms.parse_transforms(getattr(data, key), key)]
    nn["data"]["slicers"] = [slicer.settings for slicer in slicers.parse_slicers(data.slicers, "slicers")]
    if plan.optimizer is not None:
        nn["optimizer"] = list_settings(plan.optimizer, plan.options, plan.schedule)
    if plan.loss is not None:
        nn["loss"] = {"function": plan.loss.name, **plan.loss.settings}
    if data.targets == BOXES:
        nn["data"]["classes"] = list(plan.classes)  # those that were found, in the order of the outputs
    del nn["checkpoints"]["exist"]  # whoever repeats the training decides again
    nn["checkpoints"]["load"] = moved.get(nn["checkpoints"]["load"], nn["checkpoints"]["load"])
    named = plan.config.neural_network.layers
    # Weights of a file belong to the network's name: another last layer would not take them.
    starts = is_named(named) and plan.loaded is not None and not nn["checkpoints"]["load"]
    nn["layers"] = named if starts else plan.layers  # last, because it is the longest
    values["ray"] |= {"num_workers": allocation.num_workers, "use_gpu": allocation.use_gpu}
    return hide_variables(values)


def environment(plan: Plan, allocation: Allocation) -> dict[str, Any]:
    """Versions and machines; no environment variables, which may be secret."""
    return {
        "rayrml": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        "platform": platform.platform(),
        "devices": {"type": "GPU" if allocation.use_gpu else "CPU", "accelerators": accelerator_types()},
        "machines": allocation.num_nodes,
        "workers": allocation.num_workers,
        "seed": plan.config.neural_network.seed,
    }


def describe_data(plan: Plan) -> dict[str, Any]:
    """The training and test samples: where they are, how many of which class, and the arrays that they become."""
    roles = {"training": plan.training, "test": plan.test, "final_test": plan.final_test}
    return {role: _describe_source(plan, source) for role, source in roles.items() if source is not None}


def _describe_source(plan: Plan, source: Source) -> dict[str, Any]:
    samples = source.samples
    found: dict[str, Any] = {"path": samples.root, "samples": len(samples), "shape": list(source.shape)}
    if samples.labels is not None and len(samples.labels):
        counts = np.bincount(samples.labels)
        found["classes"] = dict(zip(name_classes(plan.classes, len(counts)), counts.tolist(), strict=True))
    return found
