"""Translates values that mean different things in different versions of Keras into unambiguous ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def settled(config: Mapping[str, Any], keras_version: str) -> dict[str, Any]:
    """A layer's configuration, written by `keras_version` (such as 2.3.1, 2.3.0-tf or 3), in this package's terms."""
    version = tuple(int(number) for number in re.findall(r"\d+", keras_version)[:2])
    settled = dict(config)
    if version >= (3,):
        settled = {key: _HARD_SIGMOID if value == "hard_sigmoid" else value for key, value in config.items()}
    # Before TensorFlow 2, and up to the last standalone Keras, images were resized from corner to corner.
    if (
        version < (2, 4)
        and len(version) > 1
        and "-tf" not in keras_version
        and config.get("interpolation") == "bilinear"
    ):
        settled["interpolation"] = "bilinear_from_corners"
    return settled


_HARD_SIGMOID = "hard_sigmoid_keras_3"
