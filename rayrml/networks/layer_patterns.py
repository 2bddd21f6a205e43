"""Patterns that choose layers by their names, with those of the models around them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from rayrml.config.names import suggest
from rayrml.formatting import shorten
from rayrml.networks.graph import INPUT, LayerSpec
from rayrml.networks.network import Network


def find_layers(network: Network, pattern: str, *, frozen: bool = False) -> tuple[list[str], str | None]:
    """The names of the trained layers that a pattern chooses, and what is wrong with it: None unless there are none.

    With `frozen`, layers whose weights are frozen are among them.

    A pattern is a name in which `*` stands for any characters and `?` for one. It chooses a layer by its own name, by
    that of a model around it, or by both, joined by `/`: `encoder` and `encoder/*` choose all layers of a model
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
    return chosen, None if chosen else f"no layer is called so. {_suggest(pattern, specs)}"


def _list_names(layer: LayerSpec) -> Iterator[str]:
    """A layer's name, its own and those of the models around it, and all of these that follow one another, joined."""
    yield layer.name
    path = list(map(str, layer.keras_path))
    for start, end in itertools.combinations(range(len(path) + 1), 2):
        yield "/".join(path[start:end])


def _suggest(pattern: str, layers: Sequence[LayerSpec]) -> str:
    """The name of a layer, or of a model around some, that may be meant; else some of the layers' names."""
    names = dict.fromkeys(name for layer in layers for name in _list_names(layer))
    near = suggest(pattern, names)
    return near if near.endswith("?") else f"The layers are {shorten([layer.name for layer in layers])}"


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)
