"""A lock on the folder of a run: two runs at a time would mix their checkpoints and figures.

The lock is a file that says who holds it. On the holder's machine its process tells whether it still runs; elsewhere
the file does, which the holder rewrites every few seconds. So the lock of a killed run keeps nobody out for long, on
one machine not at all. It is no `flock`: processes that Ray starts inherit open files, and would keep that lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from rayrml import storage
from rayrml.errors import DataError, Problem, explaining

LOCK_NAME = ".run.lock"
_SECONDS_BETWEEN_BEATS = 10.0
_SECONDS_OF_SILENCE = 25.0  # after which a holder on another machine is taken for dead
_CLOCK_SECONDS = 2.0  # by which the time at which a process started may seem to differ
_held: set[str] = set()  # by runs of this process


@contextlib.contextmanager
def locked(folder: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a folder during the block; `say` is told of a wait for another machine.

    Raises:
        DataError: another run holds it, or the file cannot be written.
    """
    path = storage.join(folder, LOCK_NAME)
    _wait_for(path, folder, say)
    holder = _describe_self()
    over = threading.Event()
    with explaining(path, "cannot be written"):
        storage.write(path, _encode(holder, 0))
    if (now := _read(path)) is not None and now.get("run") != holder["run"]:
        raise _taken(folder, now)  # both saw the folder free, and the other one was last
    _held.add(holder["run"])
    beating = threading.Thread(target=_beat, args=(path, holder, over), daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
        _held.discard(holder["run"])
        with contextlib.suppress(OSError):  # the next run sees that this process is gone
            storage.remove(path)


def is_locked(folder: str) -> bool:
    """Whether a run is writing to the folder, as far as its lock tells."""
    path = storage.join(folder, LOCK_NAME)
    holder = _read(path)
    if holder is None:
        return False
    if holder.get("machine") == _machine():
        return _lives(holder)
    return time.time() - storage.files(folder).get(LOCK_NAME, 0.0) < _SECONDS_OF_SILENCE


def _wait_for(path: str, folder: str, say: Callable[[str], None]) -> None:
    """Return once nobody holds the lock. Raises DataError if somebody does."""
    holder = _read(path)
    if holder is None:
        return
    if holder.get("machine") == _machine():
        if _lives(holder):
            raise _taken(folder, holder)
        return
    say(f"Waiting to see whether {_name(holder)} still uses {folder}")
    end = time.monotonic() + _SECONDS_OF_SILENCE
    while time.monotonic() < end:
        time.sleep(1.0)
        now = _read(path)
        if now is None:
            return
        if now != holder:
            raise _taken(folder, now)


def _beat(path: str, holder: dict[str, Any], over: threading.Event) -> None:
    """Rewrite the file until the run is over: whoever watches it sees that the run is alive."""
    beats = 0
    while not over.wait(_SECONDS_BETWEEN_BEATS):
        beats += 1
        with contextlib.suppress(OSError):  # a full disk ends the run elsewhere, with its reason
            storage.write(path, _encode(holder, beats))


def _encode(holder: dict[str, Any], beats: int) -> bytes:
    return json.dumps({**holder, "beats": beats}).encode()


def _read(path: str) -> dict[str, Any] | None:
    """What the file says of its holder; None if there is none, or nothing that a run has written."""
    try:
        holder = json.loads(storage.read(path))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) and isinstance(holder.get("process"), int) else None


def _describe_self() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "run": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "machine": _machine(),
        "process": process.pid,
        "started": process.create_time(),
    }


def _machine() -> str:
    """Where process ids mean the same: the host's current boot, and the namespace of processes of its containers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # other systems than Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


def _lives(holder: dict[str, Any]) -> bool:
    """Whether the process that wrote the lock on this machine runs, and not another one of the same number."""
    if holder["process"] == os.getpid():
        return holder.get("run") in _held
    try:
        process = psutil.Process(holder["process"])
        same = abs(process.create_time() - holder.get("started", 0.0)) < _CLOCK_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, TypeError):
        return False


def _name(holder: dict[str, Any]) -> str:
    return f"the run of process {holder['process']} on {holder.get('host', 'another machine')}"


def _taken(folder: str, holder: dict[str, Any]) -> DataError:
    message = f"{_name(holder)} is writing to this folder. Expected another one, or the end of that run"
    return DataError(Problem(folder, message))
