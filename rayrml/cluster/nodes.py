"""The nodes of a cluster: what they have, what may come, and how something is put on one of them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayrml.cluster import ray_internals
from rayrml.cluster.ray_internals import ACCELERATOR_PREFIX, HEAD_RESOURCE

_PATIENCE = 30.0  # seconds for the head's answer
_DEFAULT_MAX_WORKERS = 2  # Ray's own, in a launcher's file


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


def add_up(nodes: Sequence[Mapping[str, float]]) -> Capacity:
    """What nodes with these resources have together."""
    names = dict.fromkeys(name for node in nodes for name in node)
    return Capacity({name: sum(node.get(name, 0.0) for node in nodes) for name in names}, nodes)


def pin_to_node(node_id: str | None = None) -> NodeAffinitySchedulingStrategy:
    """The strategy for an actor or a task that must run on the node of that id, this process's own if it is None."""
    return NodeAffinitySchedulingStrategy(node_id or ray.get_runtime_context().get_node_id(), soft=False)


def node_resources() -> list[Mapping[str, float]]:
    """Ray's logical resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def accelerator_types() -> list[str]:
    """The types of GPUs and the like that there are, as Ray names them."""
    names = {name for node in node_resources() for name in node if name.startswith(ACCELERATOR_PREFIX)}
    return sorted(name.removeprefix(ACCELERATOR_PREFIX) for name in names)


def maximum_capacity() -> Capacity | None:
    """What the cluster can have at most, None if it does not grow by itself, or does not say."""
    reported = ray_internals.reported_maximum()
    if reported is not None:
        return Capacity(reported, [reported])
    launcher_file = _launcher_file()
    return None if launcher_file is None else launcher_capacity(launcher_file)


def launcher_capacity(launcher_file: Mapping[str, Any]) -> Capacity | None:
    """What a cluster can have at most by its file for Ray's cluster launcher.

    None if that does not say what each type of node has.
    """
    types: Mapping[str, Mapping[str, Any]] = launcher_file.get("available_node_types") or {}
    head = str(launcher_file.get("head_node_type"))
    max_workers = int(launcher_file.get("max_workers", _DEFAULT_MAX_WORKERS))
    workers = [
        (node.get("resources") or {}, min(int(node.get("max_workers", max_workers)), max_workers))
        for name, node in types.items()
        if name != head
    ]
    if not all(resources for resources, _ in workers):
        return None
    total: dict[str, float] = dict(types[head].get("resources") or {}) if head in types else {}
    for name in {name for resources, _ in workers for name in resources}:
        left = max_workers
        for amount, count in sorted(((r.get(name, 0.0), count) for r, count in workers), reverse=True):
            total[name] = total.get(name, 0.0) + amount * min(count, left)
            left -= min(count, left)
    return Capacity(total, [resources for resources, _ in workers])


def keep_services_on_head() -> None:
    """Let the actors that Ray Data shares between all runs live on the head.

    On a worker's node, where Ray Data would start them, they would keep the node from being given back.
    """
    task: Any = ray.remote(ray_internals.start_data_services)
    for head in head_ids():
        task.options(num_cpus=0, scheduling_strategy=pin_to_node(head)).remote()


def head_ids() -> list[str]:
    """The ids of the nodes that Ray's own services run on: one."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD_RESOURCE in node["Resources"]]


def _launcher_file() -> Mapping[str, Any] | None:
    """The file that Ray's autoscaler on the head works by, None if there is none."""
    heads = head_ids()
    context = ray.get_runtime_context()
    port = context.gcs_address.rpartition(":")[2]
    if context.get_node_id() in heads:
        return ray_internals.read_launcher_file(port)
    task: Any = ray.remote(ray_internals.read_launcher_file)
    with contextlib.suppress(ray.exceptions.RayError):  # it is busy, or cannot be reached
        for head in heads:
            answer = task.options(num_cpus=0, scheduling_strategy=pin_to_node(head)).remote(port)
            return ray.get(answer, timeout=_PATIENCE)
    return None
