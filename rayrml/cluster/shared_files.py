"""Checks before a run that all machines of a cluster see the same files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import ray
import ray.exceptions

from rayrml import storage
from rayrml.cluster.nodes import pin_to_node
from rayrml.errors import DataError, Problem

_PATIENCE = 60.0  # seconds to wait for the replies of all machines; a machine too busy to reply is not checked


class Located(Protocol):
    """Samples in files."""

    @property
    def landmarks(self) -> Sequence[str]:
        """Paths of some of the files: a machine that has these has the others, too."""
        ...


def refuse_unshared(sources: Iterable[Located]) -> None:
    """Raise DataError if a machine that may decode samples does not have their files."""
    paths = {path for source in sources for path in source.landmarks if not storage.is_uri(path)}
    missing = _missing_files(sorted(paths))
    message = "is missing on {}. Expected a folder that all machines share, or an object store (s3://...)"
    if missing:
        raise DataError(*(Problem(path, message.format(", ".join(sorted(missing[path])))) for path in sorted(missing)))


def _missing_files(paths: list[str]) -> dict[str, set[str]]:
    """The addresses of the machines that lack a file, for each file that is missing somewhere."""
    if not paths:
        return {}
    task: Any = ray.remote(_absent_files)
    address_of = {
        task.options(num_cpus=0, scheduling_strategy=pin_to_node(node["NodeID"])).remote(paths): node[
            "NodeManagerAddress"
        ]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0.0)
    }
    missing: dict[str, set[str]] = {}
    answers, _ = ray.wait(list(address_of), num_returns=len(address_of), timeout=_PATIENCE) if address_of else ([], [])
    for answer in answers:
        with contextlib.suppress(ray.exceptions.RayError):  # the machine was lost in the meantime
            for path in ray.get(answer):
                missing.setdefault(path, set()).add(address_of[answer])
    return missing


def _absent_files(paths: list[str]) -> list[str]:
    return [path for path in paths if not os.path.exists(path)]  # noqa: PTH110 (strings)
