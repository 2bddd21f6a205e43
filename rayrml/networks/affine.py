"""Batch normalization that is trained although its network file gives it neither gamma nor beta.

Keras makes gamma if a layer has `scale` and beta if it has `center`. The predecessor of this package made both for each
layer that is not frozen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rayrml.networks.graph import Graph
from rayrml.networks.layers.normalization import LAYERS, BatchNormalization
from rayrml.networks.layers.wrappers import INNER

_NAMES = frozenset(name for name, row in LAYERS.items() if row is BatchNormalization)

_NESTED = ("config", "layers", INNER)  # where layers are


def with_affine_batch_norm(layers: Any) -> Any:
    """A copy of Keras JSON whose batch normalization has gamma and beta, except in frozen layers and models."""
    if isinstance(layers, list):
        return [with_affine_batch_norm(layer) for layer in layers]
    if not isinstance(layers, Mapping) or _is_frozen(layers):
        return layers
    copy = {key: with_affine_batch_norm(value) if key in _NESTED else value for key, value in layers.items()}
    if copy.get("class_name") in _NAMES and isinstance(copy.get("config"), dict):
        copy["config"] |= {"center": True, "scale": True}
    return copy


def list_without_affine(graph: Graph) -> Iterator[str]:
    """The layers of batch normalization that are not frozen, but have nothing to train."""
    for layer in graph.layers:
        class_name, config = _innermost(layer.class_name, layer.config)
        options = [config.get(option, True) for option in ("center", "scale")]
        if class_name in _NAMES and layer.trainable and not any(options):
            yield layer.name


def _innermost(class_name: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The class and the configuration of a layer, or of the one that it is around."""
    inner = config.get(INNER)
    if not isinstance(inner, Mapping) or not isinstance(own := inner.get("config", {}), Mapping):
        return class_name, config
    return _innermost(str(inner.get("class_name")), own)


def _is_frozen(entry: Mapping[str, Any]) -> bool:
    config = entry.get("config")
    return "class_name" in entry and isinstance(config, Mapping) and config.get("trainable") is False
