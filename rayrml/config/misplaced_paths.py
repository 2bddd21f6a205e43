"""Relative paths that were meant relative to the configuration's file."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rayrml import storage
from rayrml.errors import Problem

_SECTION = "neural_network"
_INPUTS = (  # paths of what has to exist
    "layers",
    "layers.weights",
    "critic.layers",
    "metric_network",
    "data.input_path",
    "data.target_path",
    "data.test_input_path",
    "data.test_target_path",
    "data.final_test_input_path",
    "data.final_test_target_path",
    "checkpoints.load",
)


def with_hint(problem: Problem, values: Any, folder: str) -> Problem:
    """The problem, with a hint if it concerns a path that exists in `folder` but not in the current one."""
    place = re.sub(r"[.\[]\d+\]?$", "", problem.where).removeprefix(f"{_SECTION}.")
    if place not in _INPUTS or storage.is_uri(folder) or Path(folder or ".").resolve() == Path.cwd():
        return problem
    value = values
    for key in (_SECTION, *place.split(".")):
        value = value.get(key) if isinstance(value, Mapping) else None
    for path in value if isinstance(value, list) else [value]:
        if isinstance(path, str) and _is_misplaced(path, folder) and _is_meant(path, problem.message):
            beside = storage.join(folder, path)
            hint = f"'{beside}' exists beside the configuration, but paths are relative to the current folder"
            return dataclasses.replace(problem, message=f"{problem.message}. {hint}")
    return problem


def _is_misplaced(path: str, folder: str) -> bool:
    if not path or storage.is_uri(path) or path.startswith(("~", "/")):
        return False
    return not os.path.exists(path) and os.path.exists(storage.join(folder, path))  # noqa: PTH110 (any string)


def _is_meant(path: str, message: str) -> bool:
    """Whether a message is about a path, which it may name as it was given or as an absolute one."""
    return f"'{path}'" in message or f"'{storage.absolute(path)}'" in message
