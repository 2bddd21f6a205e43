"""Whether the machines of a cluster see the same files: told before a run begins, not in its middle."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Any

import ray
import ray.exceptions

from rayrml import storage
from rayrml.cluster.nodes import on_node
from rayrml.data.discovery import Samples
from rayrml.data.pipeline import Source
from rayrml.errors import DataError, Problem

_PATIENCE = 60.0  # seconds for an answer of all machines; who is too busy to answer is not asked again


def refuse_unshared(sources: Iterable[Source]) -> None:
    """Raise DataError if a machine that may decode samples does not have their files."""
    paths = {path for source in sources for side in source.sides.values() for path in _some_files(side.samples)}
    missing = _missing(sorted(paths))
    message = "machines without it: {}. Expected a folder that all machines share, or an object store (s3://...)"
    if missing:
        raise DataError(*(Problem(path, message.format(", ".join(sorted(missing[path])))) for path in sorted(missing)))


def _some_files(samples: Samples) -> list[str]:
    """The first and the last file: whoever has these has the others."""
    if not samples.root and samples.places is None:
        return []
    paths = [samples.path(i) for i in (0, len(samples) - 1)]
    return [path for path in paths if path and not storage.is_uri(path)]


def _missing(paths: list[str]) -> dict[str, set[str]]:
    """The addresses of the machines that lack a file, for each of the files that some lack."""
    task: Any = ray.remote(_absent)
    asked = {
        task.options(num_cpus=0, scheduling_strategy=on_node(node["NodeID"])).remote(paths): node["NodeManagerAddress"]
        for node in ray.nodes()
        if paths and node["Alive"] and node["Resources"].get("CPU", 0.0)
    }
    missing: dict[str, set[str]] = {}
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE) if asked else ([], [])
    for answer in ready:
        with contextlib.suppress(ray.exceptions.RayError):  # a machine that has just gone
            for path in ray.get(answer):
                missing.setdefault(path, set()).add(asked[answer])
    return missing


def _absent(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.path.exists(path)]  # noqa: PTH110 (strings)
