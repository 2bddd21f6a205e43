"""Patterns that choose layers by their names, with those of the models around them."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from rayrml.config.names import suggest
from rayrml.networks.graph import INPUT, LayerSpec
from rayrml.networks.network import Network


def find_layers(network: Network, pattern: str, *, frozen: bool = False) -> tuple[list[str], str | None]:
    """The names of the trained layers that a pattern chooses, and what is wrong with it: None unless there are none.

    With `frozen`, layers whose weights are frozen are among them.

    A pattern is a name in which `*` stands for any characters and `?` for one. It is compared with a layer's name, and
    with the names of the models around it and its own, joined by `/`: `encoder*` chooses all layers of a model
    `encoder`.
    """
    chosen, mistake = choose_layers(network, pattern)
    if mistake is not None:
        return [], mistake
    layers = network.layers()
    weighted = [name for name in chosen if next(layers[name].parameters(), None) is not None]
    trained = [name for name in weighted if frozen or any(p.requires_grad for p in layers[name].parameters())]
    if trained:
        return trained, None
    shown = f"'{chosen[0]}'{f' and {len(chosen) - 1} more' if len(chosen) > 1 else ''}"
    return [], f"chooses {shown}, {'where all weights are frozen' if weighted else 'which has no weights to train'}"


def choose_layers(network: Network, pattern: str) -> tuple[list[str], str | None]:
    """The names of all layers that a pattern chooses, trained or not, and what is wrong with it: None unless none."""
    specs = [layer for layer in network.graph.layers if layer.class_name != INPUT]
    chosen = [layer.name for layer in specs if any(_fits(name, pattern) for name in _list_names(layer))]
    if chosen:
        return chosen, None
    names = dict.fromkeys(name for layer in specs for name in _list_names(layer))
    return [], f"no layer is called so. {suggest(pattern, names, 'The layers are')}"


def _list_names(layer: LayerSpec) -> Iterator[str]:
    """A layer's name, and its own after those of all, some and none of the models around it."""
    yield layer.name
    for start in range(len(layer.keras_path)):
        yield "/".join(map(str, layer.keras_path[start:]))


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)
