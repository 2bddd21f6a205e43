"""From a layer's JSON to a table row with validated arguments, and from there to a layer with weights."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import torch

from rayrml.config import names, tables
from rayrml.errors import ConfigError, Problem
from rayrml.networks.layers import initializers, regularizers
from rayrml.networks.layers.layer import Layer, Weight
from rayrml.networks.layers.layout import Shape, keras_shape
from rayrml.networks.layers.table import TABLE
from rayrml.networks.layers.versions import settled
from rayrml.networks.layers.wrappers import BY_STEP, INNER
from rayrml.tensors import channels_last

# Keys that every Keras layer may have and no torch layer needs: its shapes are known, its numbers are floats.
_COMMON = {
    "name", "trainable", "dtype", "autocast", "batch_input_shape", "batch_shape", "input_shape", "input_dtype",
    "input_dim", "data_format", "seed", "ragged", "sparse", "optional", "quantization_config",
}  # fmt: skip
_WEIGHTS = {
    "kernel", "bias", "depthwise", "pointwise", "gamma", "beta", "moving_mean", "moving_variance", "alpha",
}  # fmt: skip
_ACTIVITY = "activity_regularizer"


@dataclasses.dataclass(frozen=True, slots=True)
class LayerChoice:
    """A validated layer, ready to be built: the table row, its arguments, and the JSON's options for its weights."""

    row: tables.Choice
    weight_options: Mapping[str, Any]
    channels_first: bool

    @property
    def innermost(self) -> LayerChoice:
        """The choice of the layer that others are around."""
        inner = self.row.arguments.get(INNER)
        return inner.innermost if isinstance(inner, LayerChoice) else self

    def by_step(self) -> LayerChoice:
        """The same layer inside TimeDistributed."""
        return _by_step(self, None)

    def expect_inputs(self, number: int) -> None:
        """Check that the layer takes `number` inputs.

        Raises:
            ConfigError: it does not.
        """
        kinds = {p.kind for p in inspect.signature(self.innermost.row.builder).parameters.values()}
        if number != 1 and inspect.Parameter.VAR_POSITIONAL not in kinds:
            raise ConfigError(Problem("", f"expected one input, got {number}"))
        if number < 1:
            raise ConfigError(Problem("", "expected at least one input"))

    def build(self, *shapes: Shape) -> Layer:
        """The layer for inputs of `shapes`; its weights have shapes, but no memory until they are initialized.

        Raises:
            ConfigError: the layer cannot take such inputs.
        """
        layer = self.row.build(*(map(keras_shape, shapes) if self.channels_first else shapes))
        if self.channels_first:
            layer.take_channels_first()
        penalty = regularizers.penalty(self.weight_options.get(_ACTIVITY), _ACTIVITY)
        if penalty is not None:
            layer.penalize_activity(penalty)
        return layer

    def initialize(self, layer: Layer) -> None:
        """Give the weights of a built layer their initial values, drawn from torch's global generator.

        Raises:
            ConfigError: the JSON asks for impossible values.
        """
        for weight in layer.weights:
            _initialize(layer, weight, self.weight_options)


def choose_layer(class_name: str, config: Mapping[str, Any], keras_version: str = "2") -> LayerChoice:
    """The row named `class_name`, with the arguments in `config` interpreted as `keras_version` does.

    Raises:
        ConfigError: an unknown class, and every key that the layer does not accept or that is not supported.
    """
    name = names.find(TABLE, class_name, "")
    own, weights = _split(settled(config, keras_version))
    problems = [
        Problem(key, "not supported. Expected null")
        for key, value in weights.items()
        if value is not None and key.endswith("constraint")
    ]
    layout = config.get("data_format")
    if layout not in (None, "channels_last", "channels_first"):
        problems.append(Problem("data_format", f"expected 'channels_last' or 'channels_first', got {layout!r}"))
    try:
        arguments = tables.validate(tables.make_model(TABLE[name]), own, "", f"{name} takes")
    except ConfigError as error:
        raise ConfigError(*problems, *error.problems) from None
    if problems:
        raise ConfigError(*problems)
    if INNER in arguments:
        inner = _choose_inner(arguments[INNER], keras_version)
        return _by_step(inner, weights.get(_ACTIVITY))
    return LayerChoice(tables.Choice(name, TABLE[name], arguments), weights, layout == "channels_first")


def _by_step(inner: LayerChoice, activity: Any) -> LayerChoice:
    """TimeDistributed around a layer, with the `activity_regularizer` of its own."""
    choice = tables.Choice(BY_STEP, TABLE[BY_STEP], {INNER: inner})
    return LayerChoice(choice, {**inner.weight_options, _ACTIVITY: activity}, False)


def _choose_inner(section: Any, keras_version: str) -> LayerChoice:
    """The choice of a layer inside another one. Raises ConfigError if it is none."""
    if not isinstance(section, Mapping) or not isinstance(section.get("config", {}), Mapping):
        raise ConfigError(Problem(INNER, "expected an object with the keys 'class_name' and 'config'"))
    class_name, config = section.get("class_name"), section.get("config", {})
    try:
        return choose_layer(str(class_name), config, keras_version)
    except ConfigError as error:
        where = [f"{INNER}.config.{p.where}" if p.where else f"{INNER}.class_name" for p in error.problems]
        raise ConfigError(*map(Problem, where, (p.message for p in error.problems))) from None


def _initialize(layer: Layer, weight: Weight, options: Mapping[str, Any]) -> None:
    """Draw the weight's initial value and record its penalty, according to the JSON's `options`."""
    key = f"{weight.option}_initializer"
    value = initializers.draw(options.get(key) or weight.initializer, weight.shape, key)
    # A kernel in channels-last memory format makes torch compute images and volumes in that format too, regardless of
    # the input's layout, which takes a third to two thirds of the time, on CPUs and GPUs.
    held = torch.empty(weight.held, memory_format=channels_last(len(weight.held))).copy_(weight.to_torch(value))
    setattr(layer, weight.attribute, torch.nn.Parameter(held) if weight.trainable else held)
    key = f"{weight.option}_regularizer"
    if (penalty := regularizers.penalty(options.get(key), key)) is not None:
        layer.penalties[weight.attribute] = penalty


def _split(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The layer's own keys, and those of its weights; keys that all layers may have are left out."""
    own: dict[str, Any] = {}
    weights: dict[str, Any] = {}
    for key, value in config.items():
        stem, _, kind = key.rpartition("_")
        if key == _ACTIVITY or (stem in _WEIGHTS and kind in ("initializer", "regularizer", "constraint")):
            weights[key] = value
        elif key not in _COMMON:
            own[key] = value
    return own, weights
