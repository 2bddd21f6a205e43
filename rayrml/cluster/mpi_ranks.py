"""The processes that `mpirun` or `srun` starts of one command: the first one does the run, the others wait for it.

A run needs one process, which has Ray start its workers. The processes of one machine meet at a socket without a file,
in Linux's abstract namespace: nothing is left of it when its owner ends, however that happens. The other machines have
no part in the run; what was started there ends with 0.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping, Sequence

LOST = 1  # the exit code of the others if the first process was killed
_SIGNALLED = 128  # plus the number of the signal: the exit code of a process that one has ended
_SECONDS_TO_MEET = 20.0  # processes that are started together may import Python at different speeds
_SECONDS_BETWEEN_TRIES = 0.1
_SECONDS_FOR_LATE_ONES = 5.0
_OF_A_RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # its processes inherit the variables of the `srun` that started Ray
_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # Slurm's numbers of batch scripts and of shells of `salloc` follow
_CREDENTIALS = struct.Struct("3i")  # process, user, group

# Rank, number of ranks, rank on the machine, and number of ranks on the machine.
_VARIABLES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("PMIX_RANK", "PMIX_SIZE", "PMIX_LOCAL_RANK", "PMIX_LOCAL_SIZE"),
)
_SLURM_VARIABLES = (
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", ""),
)


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The processes that were started of one command, seen from one of them.

    Attributes:
        launcher: `mpirun` or `srun`.
        rank: which of them this process is, from 0.
        count: how many there are.
        local_rank: which of those on this machine this process is; None if not known.
        local_count: how many of them are on this machine; None if not known.
        variable: the environment variable that tells the rank.
    """

    launcher: str
    rank: int
    count: int
    local_rank: int | None
    local_count: int | None
    variable: str


def find_ranks(environment: Mapping[str, str], arguments: Sequence[str]) -> Ranks | None:
    """The processes that this one belongs to; None if it was started alone.

    Slurm sets its variables also for what is no copy of a command: in a job's script, in the shell of an allocation,
    and for programs that start Ray on several machines and the command on one, which is told Ray's address.
    """
    if _OF_A_RAY_JOB in environment:
        return None
    by_mpi = _read_first(environment, _VARIABLES, "mpirun")
    by_slurm = _read_first(environment, _SLURM_VARIABLES, "srun") if _is_slurm_step(environment) else None
    if by_slurm is None or (by_mpi is not None and (by_mpi.rank, by_mpi.count) != (by_slurm.rank, by_slurm.count)):
        return by_mpi
    has_address = bool(environment.get("RAY_ADDRESS")) or any(a.startswith("--address") for a in arguments)
    return None if by_slurm.count == 1 or has_address else by_slurm


def _is_slurm_step(environment: Mapping[str, str]) -> bool:
    step = environment.get("SLURM_STEP_ID", "")
    return step.isdecimal() and int(step) < _FIRST_SPECIAL_STEP


def _read_first(
    environment: Mapping[str, str], rows: Sequence[tuple[str, str, str, str]], launcher: str
) -> Ranks | None:
    """The ranks by the first row whose rank and count are set and go together."""
    for row in rows:
        texts = [environment.get(name, "") for name in row]
        rank, count, *local = (int(text) if text.isdecimal() else None for text in texts)
        if rank is not None and count is not None and rank < count:
            return Ranks(launcher, rank, count, local[0], local[1], row[0])
    return None


class Leader:
    """The first process: it tells the others on this machine with which code the run ends."""

    def __init__(self, ranks: Ranks, environment: MutableMapping[str, str]):
        self._late = (ranks.local_count or 1) - 1
        self._waiting: list[socket.socket] = []
        self._changed = threading.Condition()
        self._ended = False
        launcher = _find_launcher(ranks.variable)
        _release_cpus(ranks, launcher)
        # What this process starts is no rank.
        for name in {name for row in (*_VARIABLES, *_SLURM_VARIABLES) for name in row[:2]}:
            environment.pop(name, None)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._server.bind(_address(launcher))
        except OSError:  # no such addresses on this system: the others end by themselves
            self._server.close()
            self._late = 0
            return
        self._server.listen(ranks.count)
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self, code: int) -> None:
        """Pass on the exit code; wait a little for processes that have only just started."""
        with self._changed:
            if self._ended:
                return
            self._ended = True
            self._changed.wait_for(lambda: len(self._waiting) >= self._late, _SECONDS_FOR_LATE_ONES)
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # ends the thread
            self._server.close()
            for connection in self._waiting:
                with contextlib.suppress(OSError):  # that process is gone
                    connection.sendall(bytes([code & 0xFF]))
                connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the run is over
            while True:
                connection, _ = self._server.accept()
                with self._changed:
                    self._waiting.append(connection)
                    self._changed.notify_all()


def follow(ranks: Ranks) -> int:
    """Wait for the first process of this machine and return its exit code; 0 if it is on another machine.

    Signals do not end the wait: `mpirun` sends them to all processes, and ends the first one if another one fails
    before the run has saved its state.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: signals.append(number))
    connection = _meet(_address(_find_launcher(ranks.variable)), signals)
    if connection is None:
        if not ranks.local_rank and not signals:
            sys.stdout.write(
                f"This is process {ranks.rank + 1} of {ranks.count} that {ranks.launcher} has started, and it has "
                "nothing to do: the first one does the whole run, on its machine\n"
            )
        return _SIGNALLED + signals[0] if signals else 0
    with connection:
        answer = b""
        with contextlib.suppress(OSError):  # the first process was killed
            answer = connection.recv(1)
    return answer[0] if answer else _SIGNALLED + signals[0] if signals else LOST


def _meet(address: str, signals: Sequence[int]) -> socket.socket | None:
    """A connection to the first process; None if it does not appear on this machine, or a signal comes first."""
    end = time.monotonic() + _SECONDS_TO_MEET
    while time.monotonic() < end and not signals:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(address)
            _, user, _ = _CREDENTIALS.unpack(
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            if user == os.getuid():
                return connection
        except OSError:  # not there yet
            pass
        except BaseException:
            connection.close()
            raise
        connection.close()
        time.sleep(_SECONDS_BETWEEN_TRIES)
    return None


def _address(launcher: int) -> str:
    return f"\0rayrml-ranks-{os.getuid()}-{launcher}"


def _find_launcher(variable: str) -> int:
    """The process that has started the ranks of this machine: the nearest one above this that is no rank itself.

    Between them may be a shell, or the start of a container.
    """
    import psutil  # only here: other commands start without it

    process = os.getppid()
    with contextlib.suppress(psutil.Error):  # Slurm's process belongs to root
        while (parent := psutil.Process(process)).pid > 1 and variable in parent.environ():
            process = parent.ppid()
    return process


def _release_cpus(ranks: Ranks, launcher: int) -> None:
    """Allow this process the CPUs of all: each rank is bound to its own, but the run is this process and Ray's."""
    import psutil

    # Without permission, or on a system without affinity, the CPUs stay as they are.
    with contextlib.suppress(OSError, AttributeError, psutil.Error):
        if ranks.launcher == "mpirun":
            os.sched_setaffinity(0, os.sched_getaffinity(launcher))
            return
        allowed = os.sched_getaffinity(0)
        for process in psutil.Process(launcher).children(recursive=True):
            with contextlib.suppress(OSError):  # ended meanwhile
                allowed |= os.sched_getaffinity(process.pid)
        os.sched_setaffinity(0, allowed)
