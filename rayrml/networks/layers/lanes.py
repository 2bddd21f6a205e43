"""Ways for small sums of all workers, which need not wait for the large ones of gradients."""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.distributed

from rayrml.workers import Workers

# Files of memory that the processes of one machine share, and that no other machine sees.
_MEMORY = Path("/dev/shm")
# Its processors show what one of them writes to the others in the order in which it was written.
_ORDERED = ("x86_64", "AMD64")
_SLOT = 8192  # numbers of float64 that a worker can show at once
_LINE = 8  # numbers of int64 in a cache line: counters in lines of their own do not slow each other down
_KEEN_FOR = 0.02  # seconds
_REST = 0.0002  # seconds
_PATIENCE = 1800.0  # seconds, that of torch.distributed


class Lane(Protocol):
    """A way for small sums; all workers must do the same sums in the same order."""

    def sum(self, tensor: torch.Tensor) -> None:
        """Overwrite `tensor`, contiguous numbers of float64, with its sum over all workers."""
        ...


def open_lane(workers: Workers) -> Lane:
    """The fastest way there is between these workers; all of them must call it."""
    if workers.size == 1 or torch.distributed.get_backend() != "gloo":
        return _CommonLane(workers)  # GPUs do one exchange after the other in any case
    return _open_memory(workers) or _GroupLane()


class _CommonLane:
    """The way that all sums take."""

    def __init__(self, workers: Workers):
        self._workers = workers

    def sum(self, tensor: torch.Tensor) -> None:
        self._workers.sum(tensor)


class _GroupLane:
    """Connections of their own."""

    def __init__(self):
        group = torch.distributed.new_group(backend="gloo")
        self._group = group if isinstance(group, torch.distributed.ProcessGroup) else None

    def sum(self, tensor: torch.Tensor) -> None:
        torch.distributed.all_reduce(tensor, group=self._group)


class MemoryLane:
    """Memory that all workers share: each writes its numbers there, and adds up those of all.

    An exchange takes microseconds. Connections take a quarter of a millisecond on an idle machine, and several while
    processors are busy, as each exchange wakes two threads of each worker.

    Every worker has two slots, used in turn: whoever writes into a slot again has seen that all others began the sum
    in between, so that they have read what was there.

    Args:
        rank: number of this worker, from 0.
        size: number of workers.
        memory: of `memory_size(size)` bytes, zeros at first, the same in all workers.
        patience: seconds to wait for the other workers.
    """

    def __init__(self, rank: int, size: int, memory: mmap.mmap, patience: float = _PATIENCE):
        self._rank, self._patience = rank, patience
        self._counters = np.frombuffer(memory, np.int64, size * _LINE)[::_LINE]
        slots = np.frombuffer(memory, np.float64, size * 2 * _SLOT, offset=self._counters.size * _LINE * 8)
        self._slots = slots.reshape(2, size, _SLOT)
        self._num_sums = 0

    def sum(self, tensor: torch.Tensor) -> None:
        """Overwrite `tensor` with its sum over all workers; RuntimeError if one of them does not come."""
        values = tensor.view(-1).numpy()
        for start in range(0, len(values), _SLOT):
            self._sum(values[start : start + _SLOT])

    def _sum(self, values: np.ndarray) -> None:
        self._num_sums += 1
        slots = self._slots[self._num_sums % 2, :, : len(values)]
        slots[self._rank] = values
        self._counters[self._rank] = self._num_sums  # now the others may read
        self._wait()
        # In the order of the workers, so that all of them get the same bits.
        np.copyto(values, slots[0])
        for other in slots[1:]:
            values += other

    def _wait(self) -> None:
        began = time.monotonic()
        while self._counters.min() < self._num_sums:
            waited = time.monotonic() - began
            if waited > self._patience:
                raise RuntimeError(f"waited {self._patience:g} seconds for the other workers' batch statistics")
            # Keen at first, as waking up takes longer than most waits; other threads and processes get their turn.
            time.sleep(0 if waited < _KEEN_FOR else _REST)
            os.sched_yield()


def memory_size(size: int) -> int:
    """Bytes of memory that a `MemoryLane` of this many workers needs."""
    return size * 8 * (_LINE + 2 * _SLOT)


def _open_memory(workers: Workers) -> MemoryLane | None:
    """A lane through memory; None, in all workers, if they do not share any."""
    path: Path | None = None
    if workers.rank == 0 and platform.machine() in _ORDERED:
        path = _MEMORY / f"rayrml-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        if path is not None:
            stack.enter_context(_created(path, memory_size(workers.size)))
        path = workers.ask_first(lambda: path)
        memory = _map(path, memory_size(workers.size))
        in_all = all(workers.gather(memory is not None))
    return MemoryLane(workers.rank, workers.size, memory) if memory and in_all else None


@contextlib.contextmanager
def _created(path: Path, num_bytes: int) -> Iterator[None]:
    """A file within the block, if it can be had; its bytes exist as long as somebody maps them."""
    try:
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                os.posix_fallocate(file, 0, num_bytes)  # a full memory is found here, not by a signal at the first use
            finally:
                os.close(file)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _map(path: Path | None, num_bytes: int) -> mmap.mmap | None:
    """The file's memory; None if there is no such file, or it is too small."""
    if path is None:
        return None
    try:
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), num_bytes)
    except (OSError, ValueError):
        return None
