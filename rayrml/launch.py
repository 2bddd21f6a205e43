"""How a run begins: Ray starts while torch is imported and the configuration is looked at, each of which takes seconds.

Neither torch nor Ray is imported before it is needed, and nothing slow before the configuration is known to be JSON of
the right form.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rayrml.config import override, parse
from rayrml.interrupts import Interrupts
from rayrml.json_values import read_json

if TYPE_CHECKING:
    from rayrml.plan import Plan
    from rayrml.runner import RunResult


def run(
    config: str | Path | Mapping[str, Any],
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
    parsed, mistakes = parse(override(read_json(config) if isinstance(config, str | Path) else config, wanted))
    if parsed is None or mistakes:
        _refuse(config, wanted)
    from rayrml import client, cluster

    if client.applies(parsed.ray.address):
        return client.run(parsed, run, resume=resume, quiet=quiet, verbose=verbose)
    if not verbose:
        cluster.quiet()  # before anything of Ray is imported that reads it then
    say = _say_nothing if quiet else _say
    say(f"Connecting to the cluster at {parsed.ray.address}" if parsed.ray.address else "Starting Ray")
    preparing = _Preparing(config, wanted, on_mistake)
    connected = cluster.connected(parsed.ray, verbose=verbose)
    with Interrupts() as interrupts, connected as allocation, interrupts.during_run():
        plan = preparing.result()
        say(f"Ray, the network and the lists of the data are there after {preparing.seconds:.1f} seconds")
        from rayrml.runner import execute

        return execute(plan, allocation, interrupts, resume=resume, quiet=quiet, command=command)


def _refuse(config: str | Path | Mapping[str, Any], overrides: Mapping[str, Any]) -> NoReturn:
    """Raise ConfigError with all mistakes of a configuration that has some."""
    from rayrml.plan import prepare

    prepare(config, overrides)
    raise RuntimeError("a configuration was refused and then accepted")


def _say(text: str) -> None:
    """Print a line as the run's log does, which is not there yet."""
    sys.stdout.write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}\n")
    sys.stdout.flush()


def _say_nothing(text: str) -> None:
    pass


class _Preparing:
    """The preparation of a plan in a thread of its own.

    It is not Ray that starts in another thread: the system ends Ray's processes with the thread that started them.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        overrides: Mapping[str, Any],
        on_mistake: Callable[[BaseException], None] | None,
    ):
        self._began = time.monotonic()
        self._config = config
        self._overrides = overrides
        self._on_mistake = on_mistake
        self._plan: Plan | None = None
        self._error: BaseException | None = None
        self._done = threading.Event()
        threading.Thread(target=self._prepare, daemon=True).start()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def result(self) -> Plan:
        """The plan, when it is ready. Raises what its preparation raised."""
        self._done.wait()
        if self._plan is None:
            raise self._error or RuntimeError("nothing was prepared")
        return self._plan

    def _prepare(self) -> None:
        try:
            from rayrml.plan import prepare

            self._plan = prepare(self._config, self._overrides)
        except BaseException as error:  # handed to the thread that waits
            self._error = error
            if self._on_mistake is not None:
                self._on_mistake(error)
        self._done.set()
        if self._plan is not None and self._plan.training is not None:
            from rayrml.training import warm_up

            warm_up()  # Ray is still starting
