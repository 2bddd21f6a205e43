"""The nodes of a cluster: their resources, the cluster's maximum, and how to place something on a node."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayrml.cluster import late_start, ray_internals
from rayrml.cluster.capacity import ACCELERATOR_PREFIX, Capacity
from rayrml.cluster.ray_internals import HEAD_RESOURCE

_PATIENCE = 30.0  # seconds to wait for the head's reply
_DEFAULT_MAX_WORKERS = 2  # Ray's default in a launcher file


def pin_to_node(node_id: str | None = None) -> NodeAffinitySchedulingStrategy:
    """The strategy for an actor or task that must run on the node with that id, or on this process's node if None."""
    return NodeAffinitySchedulingStrategy(node_id or ray.get_runtime_context().get_node_id(), soft=False)


def list_nodes() -> list[Mapping[str, Any]]:
    """The nodes as `ray.nodes` tells them; of a Ray that has not started yet, this machine as its only one."""
    offer = late_start.find_offer()
    return ray.nodes() if offer is None or offer.is_up else [{"Alive": True, "Resources": offer.resources}]


def node_resources() -> list[Mapping[str, float]]:
    """Ray's logical resources of each node that is alive."""
    return [node["Resources"] for node in list_nodes() if node["Alive"]]


def accelerator_types() -> list[str]:
    """The types of the cluster's GPUs and other accelerators, as Ray names them."""
    names = {name for node in node_resources() for name in node if name.startswith(ACCELERATOR_PREFIX)}
    return sorted(name.removeprefix(ACCELERATOR_PREFIX) for name in names)


def maximum_capacity() -> Capacity | None:
    """The most that the cluster can have, None if it does not grow by itself or does not report its maximum."""
    reported = ray_internals.reported_maximum()
    if reported is not None:
        return Capacity(reported, [reported])
    launcher_file = _launcher_file()
    return None if launcher_file is None else launcher_capacity(launcher_file)


def launcher_capacity(launcher_file: Mapping[str, Any]) -> Capacity | None:
    """The most that a cluster can have according to its file for Ray's cluster launcher.

    None if that does not specify the resources of each node type.
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
    """Start the actors that Ray Data shares between all runs on the head.

    On a worker node, where Ray Data would start them, they would prevent the node from being released.
    """
    task: Any = ray.remote(ray_internals.start_data_services)
    for head in head_ids():
        task.options(num_cpus=0, scheduling_strategy=pin_to_node(head)).remote()


def head_ids() -> list[str]:
    """The ids of the nodes that Ray's own services run on; there is only one."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD_RESOURCE in node["Resources"]]


def _launcher_file() -> Mapping[str, Any] | None:
    """The launcher file of Ray's autoscaler on the head, None if there is none."""
    heads = head_ids()
    context = ray.get_runtime_context()
    port = context.gcs_address.rpartition(":")[2]
    if context.get_node_id() in heads:
        return ray_internals.read_launcher_file(port)
    task: Any = ray.remote(ray_internals.read_launcher_file)
    with contextlib.suppress(ray.exceptions.RayError):  # the head is busy, or cannot be reached
        for head in heads:
            answer = task.options(num_cpus=0, scheduling_strategy=pin_to_node(head)).remote(port)
            return ray.get(answer, timeout=_PATIENCE)
    return None
