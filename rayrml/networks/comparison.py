"""What differs between two networks whose weights have the same names and shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rayrml.networks.graph import INPUT, Graph, LayerSpec
from rayrml.networks.layers import LayerChoice, choose_layer, preprocessing, regularization

# Layers that pass their input on unless the network is in training.
_ONLY_IN_TRAINING = {*regularization.LAYERS, *(name for name in preprocessing.LAYERS if name.startswith("Random"))}
_OF_TRAINING = {"momentum"}  # settings that change no output of a trained network
_FOR_EACH_AXIS = {"kernel_size", "strides", "pool_size", "dilation_rate", "size"}  # one number stands for all axes
_REGULARIZER = "_regularizer"


@dataclasses.dataclass(frozen=True)
class Differences:
    """How a network differs from an earlier one with the same weights.

    Attributes:
        outputs: what changes the outputs: with the same weights, it is another network.
        training: what only changes how it is trained: dropout, regularization, frozen layers.
    """

    outputs: tuple[str, ...] = ()
    training: tuple[str, ...] = ()


def compare_networks(before: Graph, now: Graph, weighted: Collection[str]) -> Differences:
    """What differs between two networks.

    Args:
        before: the earlier network.
        now: the later one.
        weighted: the names of the layers with weights, which are the same in both. Names of others do not matter.

    Raises:
        ConfigError: a layer is not valid.
    """
    old, new = _Described(before), _Described(now)
    numbers: dict[Any, int] = {}
    same = old.list_outputs(weighted, numbers) == new.list_outputs(weighted, numbers)
    outputs = () if same else tuple(_changed(old, new)) or ("its layers are connected in another way",)
    return Differences(outputs, tuple(_changed_for_training(old, new, weighted)))


class _Described:
    """A graph, its layers by name, and what the JSON chooses for each layer except inputs."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.layers: dict[str, LayerSpec] = {layer.name: layer for layer in graph.layers if layer.class_name != INPUT}
        self.choices: dict[str, LayerChoice] = {
            name: choose_layer(layer.class_name, layer.config, graph.keras_version)
            for name, layer in self.layers.items()
        }

    def list_outputs(self, weighted: Collection[str], numbers: dict[Any, int]) -> list[int]:
        """A number for each output, which is the same for what is computed in the same way.

        `numbers` has those that were given so far, by what is computed.
        """
        values: list[int] = []
        for position, node in enumerate(self.graph.nodes):
            name, inputs = self.graph.layers[node.layer].name, tuple(values[i] for i in node.inputs)
            if name not in self.choices:
                key: Any = (INPUT, self.graph.inputs.index(position))
            elif self.choices[name].row.name in _ONLY_IN_TRAINING and not node.training:
                values.append(inputs[0])
                continue
            else:
                choice = self.choices[name]
                settings = repr(sorted(_settings(choice).items()))
                own = name if name in weighted else ""
                kind = (choice.row.name, choice.channels_first, self.layers[name].per_step)
                key = (own, kind, settings, node.training, inputs)
            values.append(numbers.setdefault(key, len(numbers)))
        return [values[i] for i in self.graph.outputs]


def _settings(choice: LayerChoice) -> dict[str, Any]:
    """A layer's settings that determine its outputs, with defaults, each in one of its spellings."""
    settings = {name: value for name, value in choice.row.settings.items() if name not in _OF_TRAINING}
    if "activation" in settings:
        named = settings["activation"] or "linear"
        settings["activation"] = named.lower() if isinstance(named, str) else named
    for name in _FOR_EACH_AXIS & settings.keys():
        sizes = settings[name]
        settings[name] = sizes[0] if isinstance(sizes, Sequence) and len(set(sizes)) == 1 else sizes
    return settings


def _changed(old: _Described, new: _Described) -> Iterator[str]:
    """What differs in layers that determine the outputs."""
    kept = [name for name, choice in new.choices.items() if choice.row.name not in _ONLY_IN_TRAINING]
    for name in kept:
        if name not in old.choices:
            yield f"'{name}' ({new.layers[name].class_name}) is new"
            continue
        one, other = old.choices[name], new.choices[name]
        if one.row.name != other.row.name:
            yield f"'{name}' was {_article(one.row.name)} and is now {_article(other.row.name)}"
        elif one.channels_first != other.channels_first:
            yield f"'{name}' has another data_format"
        elif old.layers[name].per_step != new.layers[name].per_step:
            yield f"'{name}' is inside another number of TimeDistributed"
        else:
            yield from _changed_settings(name, _settings(one), _settings(other))
    for name, choice in old.choices.items():
        if name not in new.choices and choice.row.name not in _ONLY_IN_TRAINING:
            yield f"'{name}' ({old.layers[name].class_name}) is gone"


def _changed_for_training(old: _Described, new: _Described, weighted: Collection[str]) -> Iterator[str]:
    """What differs in training alone."""
    for name, other in new.choices.items():
        one = old.choices.get(name)
        if one is None or one.row.name != other.row.name:
            if other.row.name in _ONLY_IN_TRAINING:
                yield f"'{name}' ({other.row.name}) is new"
            continue
        yield from _changed_settings(name, _for_training(one), _for_training(other))
        if name in weighted and old.layers[name].trainable != new.layers[name].trainable:
            yield f"'{name}' is now {'trained' if new.layers[name].trainable else 'frozen'}"
    yield from (
        f"'{name}' ({choice.row.name}) is gone"
        for name, choice in old.choices.items()
        if choice.row.name in _ONLY_IN_TRAINING and name not in new.choices
    )


def _for_training(choice: LayerChoice) -> dict[str, Any]:
    """A layer's settings that only training needs."""
    whole = choice.row.name in _ONLY_IN_TRAINING
    settings = {name: value for name, value in choice.row.settings.items() if whole or name in _OF_TRAINING}
    penalties = {name: value for name, value in choice.weight_options.items() if name.endswith(_REGULARIZER) and value}
    return {**settings, **penalties}


def _changed_settings(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*before, *now)):
        if before.get(key) != now.get(key):
            yield f"'{name}' had {key} {_shown(before.get(key))} and now has {_shown(now.get(key))}"


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _article(class_name: str) -> str:
    return f"{'an' if class_name[0] in 'AEIOU' else 'a'} {class_name}"
