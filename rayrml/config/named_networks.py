"""Sections `layers` that name a network, such as `{"network": "resnet50"}`, instead of listing its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayrml import storage

KEY = "network"


def is_named(layers: Any) -> bool:
    """Whether the value of `layers` names a network."""
    return isinstance(layers, Mapping) and KEY in layers


def with_absolute_weights(layers: Any) -> Any:
    """The value of `layers`; if it names a network and a file of weights, the file has its absolute path."""
    path = layers.get("weights") if is_named(layers) else None
    return {**layers, "weights": storage.absolute(path)} if isinstance(path, str) else layers
