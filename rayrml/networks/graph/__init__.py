"""From Keras JSON of any version to an ordered, acyclic list of layer calls, independent of torch and layer options."""

from __future__ import annotations

from typing import Any

from rayrml.config.json_files import find_unusable
from rayrml.errors import ConfigError
from rayrml.networks.graph.flattening import flatten
from rayrml.networks.graph.keras_json import INPUT, read_model
from rayrml.networks.graph.nodes import Graph, KerasPath, LayerSpec, Node

__all__ = ["INPUT", "Graph", "KerasPath", "LayerSpec", "Node", "read_graph"]


def read_graph(layers: dict[str, Any] | list[Any], path: str = "layers") -> Graph:
    """The graph of parsed Keras JSON: a Sequential, a functional model, or a bare list of layers.

    Raises:
        ConfigError: every mistake in the structure, each with its place below `path`.
    """
    problems = find_unusable(layers, path)
    if problems:
        raise ConfigError(*problems)
    model = read_model(layers, path, problems)
    if problems:
        raise ConfigError(*problems)
    return flatten(model)
