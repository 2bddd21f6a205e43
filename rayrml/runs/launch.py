"""How a run starts: if it needs Ray, that starts while torch is imported and the configuration is checked.

Neither torch nor Ray is imported before it is needed, and nothing slow before the configuration is known to be JSON of
the right form.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from rayrml.config.cluster import Ray
from rayrml.config.reading import AnyConfiguration, Document, parse_ray, read_configuration
from rayrml.errors import ConfigError
from rayrml.training.interrupts import Interrupts

if TYPE_CHECKING:
    from rayrml.cluster.allocation import Allocation
    from rayrml.planning.plan import Plan
    from rayrml.reporting.console import Console
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
    predecessor_log: bool = False,
    report: bool = False,
    on_mistake: Callable[[BaseException], None] | None = None,
    command: tuple[str, ...] | None = None,
) -> RunResult:
    """Train, evaluate or predict according to a configuration.

    Args:
        config: path of a JSON, YAML or TOML file, or the contents of such a file.
        num_workers: number of workers, or (min, max); overrides the configuration's.
        overrides: values for dotted keys, such as `{"data.batch_size": 32, "ray.use_gpu": False}`.
        resume: continue after the last epoch that is saved in `checkpoints.save` (or `ray.storage_path`).
        quiet: print nothing.
        verbose: show Ray's own messages.
        predecessor_log: print a line for each batch, in the form for programs that read the log.
        report: of an evaluation, also write the figures of each class, a table and plots into `data.test_output_path`.
        on_mistake: called at once, in another thread, with an error that is raised only after Ray has started.
        command: the words of the command that started the run, which then ends by suggesting the next command.

    Raises:
        ConfigError: mistakes in the configuration or the network file; all of them.
        DataError: files are missing or cannot be read.
        ClusterError: Ray cannot provide what was requested.
        DivergenceError: the loss is no longer finite.
        KeyboardInterrupt: SIGINT or SIGTERM was received; the state of the training is saved in `checkpoints.save`.
    """
    wanted = {**({} if num_workers is None else {"ray.num_workers": num_workers}), **(overrides or {})}
    document = read_configuration(config, wanted)
    if document.parsed[1]:
        from rayrml.planning.preparation import prepare

        prepare(document)  # finds all other mistakes, too
    how: dict[str, Any] = {"resume": resume, "quiet": quiet, "verbose": verbose}
    how |= {"predecessor_log": predecessor_log, "report": report}
    options = _Options(**how, on_mistake=on_mistake, command=command)
    return _run(document.checked().ray, lambda: document, options)


def run_found(
    find: Callable[[], Document],
    overrides: Mapping[str, Any],
    *,
    quiet: bool = False,
    verbose: bool = False,
    report: bool = False,
    on_mistake: Callable[[BaseException], None] | None = None,
    console: Console | None = None,
) -> RunResult:
    """Like `run`, with a configuration from `find`, which is called once, in another thread, while Ray starts.

    It is shown on `console`, by default a new one.

    The configuration includes the `overrides`, and its section `ray` comes from them alone.

    Raises:
        RayrmlError: what `find` and `run` raise.
    """
    try:
        ray = parse_ray(overrides)
    except ConfigError:
        return run(find(), quiet=quiet, verbose=verbose, report=report)  # reports all mistakes
    options = _Options(quiet=quiet, verbose=verbose, report=report, on_mistake=on_mistake, console=console)
    return _run(ray, find, options)


def run_otherwise(
    document: Document,
    carry_out: Callable[[Plan, Allocation, Interrupts, Console], Any],
    *,
    quiet: bool = False,
    verbose: bool = False,
    on_mistake: Callable[[BaseException], None] | None = None,
) -> Any:
    """Like `run`, with something else than the plan's run; returns what it returns.

    Raises:
        ConfigError, DataError, ClusterError: as `run`, and what `carry_out` raises.
    """
    if document.parsed[1]:
        from rayrml.planning.preparation import prepare

        prepare(document)  # finds all other mistakes, too
    options = _Options(quiet=quiet, verbose=verbose, on_mistake=on_mistake, carry_out=carry_out)
    return _run(document.checked().ray, lambda: document, options)


@dataclasses.dataclass(frozen=True)
class _Options:
    """How to run a configuration; see `run`. With `carry_out`, that is done with the plan instead of its run."""

    resume: bool = False
    quiet: bool = False
    verbose: bool = False
    predecessor_log: bool = False
    report: bool = False
    on_mistake: Callable[[BaseException], None] | None = None
    command: tuple[str, ...] | None = None
    console: Console | None = None
    carry_out: Callable[[Plan, Allocation, Interrupts, Console], Any] | None = None


def _run(ray: Ray, find: Callable[[], Document], options: _Options) -> RunResult:
    """Run the configuration that `find` returns, here or through Ray's client."""
    from rayrml.cluster import ray_client

    if ray_client.is_needed(ray.address):
        names = ("resume", "quiet", "verbose", "predecessor_log", "report")
        how = {name: getattr(options, name) for name in names}
        return ray_client.run(find().checked(), run, **how)
    from rayrml.reporting.console import Console

    how: dict[str, Any] = {
        "quiet": options.quiet,
        "verbose": options.verbose,
        "every_batch": options.predecessor_log,
    }
    console = options.console or Console(**how)
    try:
        return _carry_out(ray, find, options, console)
    finally:
        console.stop_waiting()


def _carry_out(ray: Ray, find: Callable[[], Document], options: _Options, console: Console) -> RunResult:
    """Start Ray, if it is needed, while the plan is made from what `find` returns, and execute the plan."""
    # Ray forks while the plan is made, and h5py fails if it is being imported at that time.
    from rayrml.cluster import connection, late_start
    from rayrml.storage import hdf5_reading  # noqa: F401

    if not options.verbose:
        connection.hide_messages()  # before parts of Ray are imported that read the settings on import
    console.begin("Preparing the run")
    leave = _leaving(console, options.on_mistake)
    preparing = _Preparing(find, leave)
    interrupts = Interrupts(tell=_announcing(console), leave=leave)
    how: dict[str, Any] = {"verbose": options.verbose, "say": console.line, "begin": console.begin}
    connected = connection.connect(ray, **how, late=True)
    ends_at_once = _leaving_a_start(leave)
    with contextlib.closing(preparing), interrupts, connected as allocation, ends_at_once, interrupts.during_run():
        plan = preparing.result()
        console.stop_waiting()
        offer = late_start.find_offer()
        ray_too = "Ray, " if offer is None or offer.is_up else ""
        console.line(f"Ready in {preparing.seconds:.1f} s ({ray_too}network, file lists)")
        from rayrml.runs.runner import execute

        interrupts.clean_up()
        if options.carry_out is not None:
            return options.carry_out(plan, allocation, interrupts, console)
        how = {"resume": options.resume, "report": options.report, "command": options.command}
        return execute(plan, allocation, interrupts, console=console, **how)


Leave = Callable[[BaseException], None]


def _leaving(console: Console, on_mistake: Leave | None) -> Leave | None:
    """What ends the process with an error while Ray starts; None if that must not happen."""
    if on_mistake is None:
        return None

    def leave(error: BaseException) -> None:
        console.stop_waiting()
        on_mistake(error)

    return leave


@contextlib.contextmanager
def _leaving_a_start(leave: Leave | None) -> Iterator[None]:
    """A block whose error ends the process by `leave` if Ray is still starting, and with it that Ray.

    To wait for a Ray that nobody needs any more, and then for its end, would take many seconds.
    """
    from rayrml.cluster import late_start

    try:
        yield
    except BaseException as error:
        offer = late_start.find_offer()
        if leave is not None and offer is not None and offer.is_starting:
            leave(error)
        raise


def _announcing(console: Console) -> Callable[[], None]:
    """What tells people at a terminal at once that a signal was received: the run takes a moment to end."""

    def tell() -> None:
        if console.is_live:
            # Not by the console: the signal may have come while it was printing.
            os.write(1, b"\r\x1b[KInterrupted: ending the run\r\n")

    return tell


class _Preparing:
    """Prepares a plan in its own thread.

    A Ray that is needed at once does not start in such a thread: the system ends its processes with the thread.
    """

    def __init__(self, find: Callable[[], Document], on_mistake: Callable[[BaseException], None] | None):
        self._began = time.monotonic()
        self._find = find
        self._on_mistake = on_mistake
        self._plan: Future[Plan] = Future()
        # A daemon: an error elsewhere ends the process without waiting for the thread.
        self._thread = threading.Thread(target=self._prepare, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Seconds since the preparation began."""
        return time.monotonic() - self._began

    def result(self) -> Plan:
        """Wait for the plan and return it. Raises what its preparation raised."""
        return self._plan.result()

    def close(self) -> None:
        """Wait a limited time for the thread: Python aborts if it exits while torch is being imported."""
        self._thread.join(_SECONDS_TO_END)

    def _prepare(self) -> None:
        try:
            from rayrml.planning.preparation import prepare

            plan = prepare(self._find())
        except BaseException as error:  # passed to the waiting thread
            if self._on_mistake is not None:
                self._on_mistake(error)
            self._plan.set_exception(error)
            return
        self._plan.set_result(plan)
        _warm_up(plan)


def _warm_up(plan: Plan) -> None:
    """Import what the run needs next, while something else is waited for."""
    from rayrml.cluster import late_start

    if plan.training is not None:
        from rayrml.training.in_driver import warm_up

        warm_up()
    if late_start.find_offer() is not None:
        return  # this process trains or predicts by itself
    if plan.is_inference:
        from rayrml.inference import actors  # noqa: F401
    else:
        from rayrml.training import trainer  # noqa: F401
