"""How a run begins: Ray starts while torch is imported and the configuration is looked at, each of which takes seconds.

Neither torch nor Ray is imported before it is needed, and nothing slow before the configuration is known to be JSON of
the right form.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from rayrml.config.reading import AnyConfiguration, Document, parse_ray, read_configuration
from rayrml.config.sections import Ray
from rayrml.errors import ConfigError
from rayrml.formatting import stamped
from rayrml.training.interrupts import Interrupts

if TYPE_CHECKING:
    from rayrml.planning.plan import Plan
    from rayrml.runs.runner import RunResult

_SECONDS_TO_END = 10.0


def run(
    config: AnyConfiguration,
    *,
    num_workers: int | tuple[int, int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    on_mistake: Callable[[BaseException], None] | None = None,
    command: tuple[str, ...] | None = None,
) -> RunResult:
    """Train, evaluate or predict as a configuration says.

    Args:
        config: path of a JSON file, or what such a file holds.
        num_workers: how many workers, or (min, max); beats the configuration's.
        overrides: values for dotted keys, such as `{"data.batch_size": 32, "ray.use_gpu": False}`.
        resume: go on after the last epoch that is kept in `checkpoints.save` (or `ray.storage_path`).
        quiet: print nothing.
        verbose: let Ray print what it likes to.
        on_mistake: called at once with what is raised later, when Ray has started; in another thread.
        command: the words that were typed for this, so that the run can end with what to type next.

    Raises:
        ConfigError: mistakes in the configuration or the network file; all of them.
        DataError: files that are missing or cannot be read.
        ClusterError: Ray cannot do what is asked for.
        DivergenceError: the loss is not a finite number any more.
        KeyboardInterrupt: SIGINT or SIGTERM came; what training had come to is in `checkpoints.save`.
    """
    wanted = {**({} if num_workers is None else {"ray.num_workers": num_workers}), **(overrides or {})}
    document = read_configuration(config, wanted)
    if document.parsed[1]:
        from rayrml.planning.plan import prepare

        prepare(document)  # which finds all other mistakes, too
    options = _Options(resume=resume, quiet=quiet, verbose=verbose, on_mistake=on_mistake, command=command)
    return _run(document.checked().ray, lambda: document, options)


def run_found(
    find: Callable[[], Document],
    overrides: Mapping[str, Any],
    *,
    quiet: bool = False,
    verbose: bool = False,
    on_mistake: Callable[[BaseException], None] | None = None,
) -> RunResult:
    """Do as `run` with a configuration that has yet to be found, by `find`, once; in another thread while Ray starts.

    What is found has no section `ray` but what the `overrides`, which are in it, say of it.

    Raises:
        RayrmlError: what `find` and `run` raise.
    """
    try:
        ray = parse_ray(overrides)
    except ConfigError:
        return run(find(), quiet=quiet, verbose=verbose)  # which tells all mistakes
    return _run(ray, find, _Options(quiet=quiet, verbose=verbose, on_mistake=on_mistake))


@dataclasses.dataclass(frozen=True)
class _Options:
    """How to do what a configuration says; see `run`."""

    resume: bool = False
    quiet: bool = False
    verbose: bool = False
    on_mistake: Callable[[BaseException], None] | None = None
    command: tuple[str, ...] | None = None


def _run(ray: Ray, find: Callable[[], Document], options: _Options) -> RunResult:
    """Carry out the configuration that `find` gives, here or through Ray's client."""
    from rayrml.cluster import ray_client

    if ray_client.is_needed(ray.address):
        how = {"resume": options.resume, "quiet": options.quiet, "verbose": options.verbose}
        return ray_client.run(find().checked(), run, **how)
    return _carry_out(ray, find, options)


def _carry_out(ray: Ray, find: Callable[[], Document], options: _Options) -> RunResult:
    """Start Ray while the plan is made of the configuration that `find` gives, and carry it out."""
    # Ray forks while the plan is made, and h5py fails if its import is under way then.
    from rayrml.cluster import connection
    from rayrml.storage import hdf5_reading  # noqa: F401

    if not options.verbose:
        connection.hide_messages()  # before anything of Ray is imported that reads it then
    say = _say_nothing if options.quiet else _say
    say(f"Connecting to the cluster at {ray.address}" if ray.address else "Starting Ray")
    preparing = _Preparing(find, options.on_mistake)
    connected = connection.connect(ray, verbose=options.verbose)
    with contextlib.closing(preparing), Interrupts() as interrupts, connected as allocation, interrupts.during_run():
        plan = preparing.result()
        say(f"Ready in {preparing.seconds:.1f} s (Ray, network, file lists)")
        from rayrml.runs.runner import execute

        command = options.command
        return execute(plan, allocation, interrupts, resume=options.resume, quiet=options.quiet, command=command)


def _say(text: str) -> None:
    """Print a line as the run's console does, which is not there yet."""
    sys.stdout.write(f"{stamped(text)}\n")
    sys.stdout.flush()


def _say_nothing(text: str) -> None:
    pass


class _Preparing:
    """The preparation of a plan in a thread of its own.

    Ray cannot be what starts in another thread: the system ends Ray's processes with the thread that started them.
    """

    def __init__(self, find: Callable[[], Document], on_mistake: Callable[[BaseException], None] | None):
        self._began = time.monotonic()
        self._find = find
        self._on_mistake = on_mistake
        self._plan: Future[Plan] = Future()
        # A daemon: a mistake elsewhere ends the process without waiting for it.
        self._thread = threading.Thread(target=self._prepare, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def result(self) -> Plan:
        """The plan, when it is ready. Raises what its preparation raised."""
        return self._plan.result()

    def close(self) -> None:
        """Wait for the end of the thread, within reason: Python aborts if it ends while torch is being imported."""
        self._thread.join(_SECONDS_TO_END)

    def _prepare(self) -> None:
        try:
            from rayrml.planning.plan import prepare

            plan = prepare(self._find())
        except BaseException as error:  # handed to the thread that waits
            if self._on_mistake is not None:
                self._on_mistake(error)
            self._plan.set_exception(error)
            return
        self._plan.set_result(plan)
        if plan.training is not None:
            from rayrml.training.trainer import warm_up

            warm_up()  # Ray is still starting
