"""The machines of a cluster: what they have, what may come, and how something is put on one of them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.exceptions
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_HEAD = "node:__internal_head__"  # a resource of the head alone
_PATIENCE = 30.0  # seconds for the head's answer


@dataclasses.dataclass(frozen=True)
class Capacity:
    """What a cluster has, or can have at most.

    Attributes:
        total: of each of Ray's logical resources, over all nodes.
        nodes: the resources of the nodes, or of one of each kind that may come.
    """

    total: Mapping[str, float]
    nodes: Sequence[Mapping[str, float]]

    def suffices(self, needed: Mapping[str, float]) -> bool:
        """Whether there is so much of each resource, wherever it may be."""
        return all(self.total.get(name, 0.0) >= count for name, count in needed.items())


def capacity_of(nodes: Sequence[Mapping[str, float]]) -> Capacity:
    """What nodes with these resources have together."""
    names = dict.fromkeys(name for node in nodes for name in node)
    return Capacity({name: sum(node.get(name, 0.0) for node in nodes) for name in names}, nodes)


def on_node(node_id: str | None = None) -> NodeAffinitySchedulingStrategy:
    """Where an actor or a task runs that belongs to the machine of that id, this process's own if it is None."""
    return NodeAffinitySchedulingStrategy(node_id or ray.get_runtime_context().get_node_id(), soft=False)


def resources() -> list[Mapping[str, float]]:
    """Ray's logical resources of each machine that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def accelerators() -> list[str]:
    """The types of GPUs and the like that there are, as Ray names them."""
    begin = "accelerator_type:"
    return sorted({name.removeprefix(begin) for node in resources() for name in node if name.startswith(begin)})


def limit() -> Capacity | None:
    """What the cluster can have at most, None if it does not grow by itself, or does not say."""
    with contextlib.suppress(ImportError, AttributeError):  # another Ray may be built otherwise
        state: Any = importlib.import_module("ray._private.state").state
        if (known := state.get_max_resources_from_cluster_config()) is not None:
            return Capacity(known, [known])
    config = _autoscaling_config()
    return None if config is None else limit_of(config)


def limit_of(config: Mapping[str, Any]) -> Capacity | None:
    """What a cluster can have at most by its file for Ray's cluster launcher.

    None if that does not say what each type of node has.
    """
    types: Mapping[str, Mapping[str, Any]] = config.get("available_node_types") or {}
    head = str(config.get("head_node_type"))
    most = int(config.get("max_workers", 2))  # Ray's own default
    found: dict[str, float] = dict(types[head].get("resources") or {}) if head in types else {}
    workers = [
        (node.get("resources") or {}, min(int(node.get("max_workers", most)), most))
        for name, node in types.items()
        if name != head
    ]
    if not all(resources for resources, _ in workers):
        return None
    for name in {name for resources, _ in workers for name in resources}:
        left = most
        for amount, count in sorted(((r.get(name, 0.0), count) for r, count in workers), reverse=True):
            found[name] = found.get(name, 0.0) + amount * min(count, left)
            left -= min(count, left)
    return Capacity(found, [resources for resources, _ in workers])


def keep_services_on_head() -> None:
    """Let the actors that Ray Data shares between all runs live on the head.

    It starts them where it is used first, and they stay when the run has ended: on a worker's node, they would keep it
    from being given back.
    """
    task: Any = ray.remote(_start_services)
    for head in heads():
        task.options(num_cpus=0, scheduling_strategy=on_node(head)).remote()


def _start_services() -> None:
    for module, function in _SERVICES:
        with contextlib.suppress(ImportError, AttributeError):  # another Ray may be built otherwise
            getattr(importlib.import_module(f"ray.data._internal.{module}"), function)()


def heads() -> list[str]:
    """The ids of the nodes that Ray's own services run on: one."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and _HEAD in node["Resources"]]


def _autoscaling_config() -> Mapping[str, Any] | None:
    """What Ray's autoscaler on the head works by, None if there is none."""
    head_ids = heads()
    context = ray.get_runtime_context()
    port = context.gcs_address.rpartition(":")[2]
    if context.get_node_id() in head_ids:
        return _read_config(port)
    task: Any = ray.remote(_read_config)
    with contextlib.suppress(ray.exceptions.RayError):  # it is busy, or cannot be reached
        for head in head_ids:
            return ray.get(task.options(num_cpus=0, scheduling_strategy=on_node(head)).remote(port), timeout=_PATIENCE)
    return None


def _read_config(port: str) -> Mapping[str, Any] | None:
    """The file that the autoscaler of the cluster at this port of this machine was given."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, yaml.YAMLError):
            options = _options(process.cmdline())
            if "autoscaling-config" in options and options.get("gcs-address", "").endswith(f":{port}"):
                path = Path(process.cwd(), Path(options["autoscaling-config"]).expanduser())
                config = yaml.safe_load(path.read_text())
                return config if isinstance(config, Mapping) else None
    return None


def _options(command: Sequence[str]) -> dict[str, str]:
    return dict(word[2:].split("=", 1) for word in command if word.startswith("--") and "=" in word)


_SERVICES = (
    ("cluster_autoscaler.default_autoscaling_coordinator", "get_or_create_autoscaling_coordinator"),
    ("stats", "get_or_create_stats_actor"),
    ("usage.actor", "get_or_create_usage_collection_actor"),
)
