"""The layer table; each chapter's rows are at the end of its file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from rayrml.config import tables
from rayrml.networks.layers import (
    activations,
    convolution,
    core,
    merging,
    normalization,
    operations,
    pooling,
    preprocessing,
    regularization,
    reshaping,
    residual,
    wrappers,
)
from rayrml.networks.layers.layer import Layer

CHAPTERS = (
    core,
    convolution,
    pooling,
    normalization,
    regularization,
    residual,
    reshaping,
    merging,
    activations,
    preprocessing,
    operations,
    wrappers,
)
TABLE: dict[str, Callable[..., Layer]] = {name: row for chapter in CHAPTERS for name, row in chapter.LAYERS.items()}


def describe_chapters() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each chapter's title with its rows: the names of a row's classes and what the layer computes."""
    for chapter in CHAPTERS:
        rows: dict[Any, list[str]] = {}
        for name, builder in chapter.LAYERS.items():
            rows.setdefault(tables.unwrap(builder), []).append(name)
        title = (inspect.getdoc(chapter) or "").rstrip(".")
        yield title, [(", ".join(names), (inspect.getdoc(kind) or "").split("\n")[0]) for kind, names in rows.items()]
