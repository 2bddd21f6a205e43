"""How much of Ray's logical resources a cluster has, or can have at most."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

ACCELERATOR_PREFIX = "accelerator_type:"  # of the resource that names the type of a node's GPUs


@dataclasses.dataclass(frozen=True)
class Capacity:
    """The resources that a cluster has, or can have at most.

    Attributes:
        total: amount of each of Ray's logical resources, over all nodes.
        nodes: the resources of each node, or of one node of each type that may be added.
    """

    total: Mapping[str, float]
    nodes: Sequence[Mapping[str, float]]

    def suffices(self, needed: Mapping[str, float]) -> bool:
        """Whether there is enough of each resource, on whichever nodes."""
        return all(self.total.get(name, 0.0) >= count for name, count in needed.items())


def add_up(nodes: Sequence[Mapping[str, float]]) -> Capacity:
    """The total capacity of nodes with these resources."""
    names = dict.fromkeys(name for node in nodes for name in node)
    return Capacity({name: sum(node.get(name, 0.0) for node in nodes) for name in names}, nodes)
