"""Many runs of a configuration on Ray Tune, each with different values; bad ones are stopped early."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from ray import tune as ray_tune
from ray.tune.schedulers import ASHAScheduler

from rayrml import extras, storage
from rayrml.cluster import connection, ray_client
from rayrml.cluster.allocation import Allocation
from rayrml.cluster.shared_files import refuse_unshared
from rayrml.config.figures import COLUMNS
from rayrml.config.reading import AnyConfiguration, list_network_files
from rayrml.config.variables import escape
from rayrml.config.worker_settings import hide_variables
from rayrml.cpus import count_cpus
from rayrml.errors import ConfigError, Problem, RayrmlError
from rayrml.formatting import format_path
from rayrml.reporting.console import Console
from rayrml.reporting.file_names import METRICS, TRIALS_FOLDER
from rayrml.reporting.history import Run
from rayrml.reporting.run_files import to_json, write_file
from rayrml.runs import earlier_run, result_summary
from rayrml.saving.run_lock import locked
from rayrml.training.interrupts import Interrupts
from rayrml.tuning import search
from rayrml.tuning.proposals import Algorithm, Proposals
from rayrml.tuning.search import Search
from rayrml.tuning.trial_configs import CONFIG, config_of, write_config
from rayrml.tuning.trial_worker import FAILED, PATIENCE, Parcel, in_words, resources, taken, trial
from rayrml.tuning.trials import BEST_CONFIG, BEST_MODEL, PLOT, TABLE, Status, Trial, Trials, brief, short_names

_REDUCTION = 3  # one of so many trials that reach a rung continues
_SAVE = "neural_network.checkpoints.save"
# Ray Tune's own files, output and signal handlers are not used here.
_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": f"{PATIENCE:.0f}",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclasses.dataclass(frozen=True)
class TuneResult:
    """The result of a search.

    Attributes:
        best_values: the values of the best trial, by the names of their spaces.
        best_metrics: the figures of its best epoch.
        best_config: path of the configuration with these values.
        best_model: path of the checkpoint of that epoch, None if there is none.
        rows: each trial, the best first: its number, status, values, history and, if it failed, the reason.
    """

    best_values: dict[str, Any]
    best_metrics: dict[str, float]
    best_config: str
    best_model: str | None
    rows: list[dict[str, Any]]


def tune(
    config: AnyConfiguration,
    *,
    num_trials: int = 20,
    at_once: int | None = None,
    algorithm: Algorithm = "random",
    search_seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    command: tuple[str, ...] | None = None,
) -> TuneResult:
    """Train with several sets of values for what a configuration leaves open, and keep the best.

    Args:
        config: path of a JSON, YAML or TOML file, or what such a file holds; with search spaces such as
            `{"uniform": [0, 1]}`.
        num_trials: number of sets of values.
        at_once: trials that run at the same time; by default as many as the cluster has room for.
        algorithm: how values are drawn.
        search_seed: seed of the values.
        overrides: values for dotted keys, which may be search spaces.
        resume: continue the search in `checkpoints.save`.
        quiet: print nothing.
        verbose: print Ray's own messages too.
        command: what the user typed to start this, so that the output can say what to type next.

    Raises:
        ConfigError: all mistakes in the configuration, with any of the values.
        DataError: files that are missing, or cannot be read or written.
        ClusterError: Ray cannot do what is requested.
        RayrmlError: all trials failed.
        KeyboardInterrupt: SIGINT or SIGTERM arrived; the results so far are in `checkpoints.save`.
    """
    searched = _searched(config, overrides or {}, algorithm, verbose=verbose)
    folder = _get_folder(searched)
    console = Console(quiet=quiet)
    with locked(folder, console.line):
        book = Trials(folder, searched.figure, searched.spaces)
        if resume:
            book.resume()
        room = earlier_run.MadeRoom() if resume else earlier_run.make_room_in(folder, searched.plan)
        draws = {"num_trials": num_trials, "algorithm": algorithm, "seed": search_seed}
        proposals = Proposals(book, searched, lambda one: write_config(searched, book, one), **draws)
        tuning = _Tuning(searched, book, proposals, console)
        tuning.announce(room)
        tuning.connect_and_run(at_once, command, verbose=verbose)
        return tuning.finish(command)


def _searched(
    config: AnyConfiguration,
    overrides: Mapping[str, Any],
    algorithm: Algorithm,
    *,
    verbose: bool,
) -> Search:
    """What to search for, checked before Ray starts."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if algorithm == "optuna" and (lacking := extras.missing("optuna")):
        raise ConfigError(Problem("--algorithm", lacking))
    if not verbose:
        connection.hide_messages()
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    searched = search.prepare(config, overrides)
    if searched is None:
        example = '"learning_rate": {"loguniform": [1e-4, 1e-1]}'
        raise ConfigError(Problem("neural_network", f"has no search space. Expected at least one, such as {example}"))
    if ray_client.is_needed(searched.plan.config.ray.address):
        message = "a search must run on the cluster itself. Use `ray job submit -- rayrml tune ...`"
        raise ConfigError(Problem("ray.address", message))
    return searched


def _get_folder(searched: Search) -> str:
    folder = searched.plan.config.neural_network.checkpoints.save
    if folder is None:
        raise ConfigError(Problem(_SAVE, "is missing. A search keeps its trials there"))
    return folder


class _Tuning:
    """One search, from its first trial to its last file."""

    def __init__(self, searched: Search, book: Trials, proposals: Proposals, console: Console):
        self._search = searched
        self._book = book
        self._proposals = proposals
        self._console = console
        self._num_trials = proposals.num_left + len(book.trials)

    def announce(self, room: earlier_run.MadeRoom) -> None:
        """Print what is searched for, and what became of an earlier search."""
        search.announce(self._console, self._search, Trials=self._num_trials)
        self._console.lines(room.lines)
        if self._book.trials:
            self._console.line(f"Resuming after {len(self._book.trials)} trials")
        self._console.line()

    def connect_and_run(self, at_once: int | None, command: tuple[str, ...] | None, *, verbose: bool) -> None:
        """Start or join Ray, and run the remaining trials in parallel."""
        try:
            connected = connection.connect(self._search.plan.config.ray, verbose=verbose, begin=self._console.begin)
            with Interrupts() as interrupts, connected as allocation, interrupts.during_run():
                self._run(allocation, at_once)
        except KeyboardInterrupt:
            self._interrupted(command)
            raise

    def _run(self, allocation: Allocation, at_once: int | None) -> None:
        if not self._proposals.num_left:
            return
        plan = self._search.plan
        if not allocation.one_machine:
            refuse_unshared(plan.sources)
        share, places = taken(allocation, plan.config, min(at_once or self._num_trials, self._proposals.num_left))
        threads = max(count_cpus() * allocation.num_nodes // places, 1)
        configs = storage.join(self._book.folder, TRIALS_FOLDER, "{number:03}", CONFIG)
        parcel = Parcel(configs, share, threads, self._search.listings)
        trainable = ray_tune.with_resources(ray_tune.with_parameters(trial, parcel=parcel), resources(share))
        self._console.line(f"{places} trial{'s' if places > 1 else ''} at a time, {in_words(share)}")
        with tempfile.TemporaryDirectory(prefix="rayrml-tune-", ignore_cleanup_errors=True) as folder:
            ray_tune.Tuner(
                trainable,
                tune_config=ray_tune.TuneConfig(
                    search_alg=self._proposals,
                    scheduler=self._scheduler(),
                    num_samples=self._proposals.num_left,
                    max_concurrent_trials=places,
                    reuse_actors=True,
                    trial_dirname_creator=lambda one: f"trial_{one.trial_id}",
                ),
                run_config=ray_tune.RunConfig(
                    name="search",
                    storage_path=folder,  # trials store nothing there, so other machines need no access
                    callbacks=[_Listener(self)],
                    failure_config=ray_tune.FailureConfig(max_failures=plan.config.ray.max_failures),
                    verbose=0,
                ),
            ).fit()

    def _interrupted(self, command: tuple[str, ...] | None) -> None:
        """Write the results so far after an interruption, and print how to resume."""
        book = self._book
        book.trials = {one.number: one for one in book.finished}
        book.save()
        if (best := book.best()) is not None:
            self._write(best)
        self._console.line(
            f"Interrupted after {len(book.trials)} of {self._num_trials} trials. {result_summary.resuming(command)}"
        )

    def finish(self, command: tuple[str, ...] | None) -> TuneResult:
        """Write and show the results. Raises RayrmlError if all trials failed."""
        book, console = self._book, self._console
        best = book.best()
        if best is None:
            reasons = dict.fromkeys(one.reason for one in book.trials.values())
            raise RayrmlError(f"all {len(book.trials)} trials failed", *reasons)
        result = self._write(best)
        headings, rows = book.rows()
        console.section("Results", {})
        console.table(rows, headings)
        console.line()
        console.line(f"Best trial: {best.number} of {len(rows)} ({best.text})")
        saved = {"trials": TABLE, "plot": PLOT, "best configuration": BEST_CONFIG, "best model": BEST_MODEL}
        for what, name in saved.items():
            if storage.exists(path := storage.join(book.folder, name)):
                console.line(f"Saved {what}: {format_path(path)}")
        if command is not None and (model := result.best_model) is not None:
            predicting = result_summary.predicting(command, model, self._search.plan.config.neural_network)
            result_summary.show_next(console, [] if predicting is None else [predicting])
        console.line("All done (return value = 0).")
        return result

    def reported(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Record that a trial has finished an epoch, or why it failed."""
        one = self._book.trials[self._proposals.numbers[trial_id]]
        if FAILED in result:
            one.reason = str(result[FAILED])
        elif "epoch" in result:
            # A trial that has lost its machine starts again.
            one.history = [epoch for epoch in one.history if epoch["epoch"] < result["epoch"]]
            known = (*COLUMNS, self._book.figure)
            one.history.append({name: result[name] for name in known if name in result})

    def ended(self, trial_id: str, reason: str = "") -> None:
        """Record that a trial has ended."""
        one = self._book.trials[self._proposals.numbers[trial_id]]
        whole = storage.exists(storage.join(self._book.path(one.number), METRICS))
        status: Status = "failed" if one.reason or reason else "done" if whole else "stopped"
        self._book.over(one, status, one.reason or reason)
        over = len(self._book.finished)
        self._console.line(f"Trial {one.number} ({over} of {self._num_trials} done): {one.text} | {self._outcome(one)}")

    def _write(self, best: Trial) -> TuneResult:
        """Write the plot, the best configuration and the best model."""
        from rayrml.reporting import plots

        book = self._book
        config = config_of(self._search, best)
        values = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for section, layers, _ in list_network_files(config, values):
            section["layers"] = storage.absolute(layers)
        path = storage.join(book.folder, BEST_CONFIG)
        write_file(path, to_json(escape(hide_variables(values))))
        kept = book.model()
        model = None if kept is None else storage.join(book.folder, BEST_MODEL)
        if kept is not None and model is not None:
            write_file(model, storage.read(kept))
        curves = [
            (Run(f"trial {one.number}", one.history), _drawn(one.values)) for one in book.ordered() if one.history
        ]
        write_file(storage.join(book.folder, PLOT), plots.render(plots.draw_trials(curves, book.figure))[0])
        rows = [dataclasses.asdict(one) for one in book.ordered()]
        return TuneResult(dict(best.values), dict(best.best(book.figure) or {}), path, model, rows)

    def _scheduler(self) -> Any:
        """The scheduler that stops trials worse than others after as many epochs; None if there is only one epoch."""
        epochs = self._search.num_epochs
        if epochs < 2:
            return None
        # It must not end trials in their last epoch, whose results they still have to write.
        return ASHAScheduler(
            time_attr="epoch",
            metric=self._book.figure,
            mode="max" if self._search.largest else "min",
            max_t=epochs + 1,
            grace_period=max(1, epochs // 4),
            reduction_factor=_REDUCTION,
        )

    def _outcome(self, one: Trial) -> str:
        best = one.best(self._book.figure)
        if one.status == "failed":
            return f"failed: {one.reason}"
        if best is None:
            return "no figure"
        leads = " (best so far)" if self._book.best() is one else ""
        ended = "stopped after" if one.status == "stopped" else "after"
        epochs = f"{len(one.history)} epoch{'s' if len(one.history) > 1 else ''}"
        return f"{self._book.figure} {best[self._book.figure]:.4f} {ended} {epochs}{leads}"


class _Listener(ray_tune.Callback):
    """Receives the progress of trials from Ray Tune."""

    def __init__(self, tuning: _Tuning):
        self._tuning = tuning

    def __getstate__(self) -> dict[str, Any]:
        """The state that Ray Tune saves and never reads again: nothing."""
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._tuning.reported(trial.trial_id, result)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._tuning.ended(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        error = trial.get_error()
        text = str(getattr(error, "cause", None) or error or "its process ended").strip()
        self._tuning.ended(trial.trial_id, text.splitlines()[-1] if text else "its process ended")


def _drawn(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the plot: numbers as they are, everything else as text."""
    names = short_names(list(values))
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in values.values()]
    pairs = zip(names, values.values(), numbers, strict=True)
    return {name: value if number else brief(value) for name, value, number in pairs}
