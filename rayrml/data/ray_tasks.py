"""Ray Data's part of a pipeline: decoding tasks in a known order, not too far ahead of the consumer.

Ray Data takes a second to import, so this module is imported once there are tasks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np
import ray.data

from rayrml.cluster import ray_internals
from rayrml.data.ahead import Ahead
from rayrml.data.task_sizes import BLOCK_BYTES, Portion, Window

_TASKS_OF_CPU = 4  # in flight at once
_SHARE_LEFT = 0.25  # of a window's samples, when the next one begins
_SECONDS_BETWEEN_LIMITS = 0.05  # Ray's default is one second; a batch of images is decoded in less


def tasks_of(rows: list[dict[str, Any]]) -> ray.data.Dataset:
    """A dataset with one task for each row."""
    ray_internals.set_seconds_between_limits(_SECONDS_BETWEEN_LIMITS)
    return ray.data.from_items(rows, override_num_blocks=len(rows))


def bounded(data: ray.data.Dataset, name: str, portion: Portion) -> ray.data.Dataset:
    """The same dataset with its name on the dashboard, and tasks that do not get far ahead of the consumer.

    Otherwise they would fill the memory of machines, and other processes would wait for their CPUs.
    """
    data.set_name(name)
    limits = {"cpu": float(_TASKS_OF_CPU * portion.num_cpus), "object_store_memory": portion.ahead_bytes}
    data.context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(**limits)
    data.context.target_max_block_size = BLOCK_BYTES  # otherwise blocks are merged up to 128 MB
    return data


def in_sequence(
    windows: Iterable[Window], dataset: Callable[[Window], ray.data.Dataset], *, share_left: float = _SHARE_LEFT
) -> Iterator[dict[str, np.ndarray]]:
    """The blocks of the datasets that are made of windows of tasks, each when it is its turn.

    A dataset begins when only this share of the samples of the one before is left, so that CPUs do not wait.
    """
    waiting = iter(windows)
    window = next(waiting, None)
    arriving: Iterator[dict[str, np.ndarray]] = iter(()) if window is None else _blocks_of(window, dataset)
    with contextlib.ExitStack() as stack:
        while window is not None:
            left, most_left = _count(window), share_left * _count(window)
            window, following = None, None
            for block in arriving:
                left -= len(block["place"])
                if following is None and left <= most_left and (window := next(waiting, None)) is not None:
                    following = stack.enter_context(contextlib.closing(Ahead(_blocks_of(window, dataset))))
                yield block
            if following is not None:
                arriving = following


def _count(window: Window) -> int:
    return window[-1][1] - window[0][0]


def _blocks_of(window: Window, dataset: Callable[[Window], ray.data.Dataset]) -> Iterator[dict[str, np.ndarray]]:
    yield from blocks(dataset(window))  # made when it is their turn


def blocks(data: ray.data.Dataset, ahead: int = 2) -> Iterator[dict[str, np.ndarray]]:
    """The blocks of a dataset, as arrays by column, each once; the next `ahead` blocks are prefetched."""
    yield from cast(
        "Iterator[dict[str, np.ndarray]]",
        data.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=ahead),
    )
