"""The values that the trials of a search get: drawn at random in advance, or by Optuna based on earlier trials."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ray.tune.search import Searcher

from rayrml.config import search_spaces
from rayrml.config.search_spaces import Space
from rayrml.tuning.search import Search
from rayrml.tuning.trials import Trial, Trials

Algorithm = Literal["random", "optuna"]


class Proposals(Searcher):
    """Gives Ray Tune the numbers of the trials that are not finished yet.

    Args:
        book: the trials so far; trials that begin are added.
        search: what is searched for.
        num_trials: in total, including those that are finished.
        begin: called with each trial before it begins.
        algorithm: how values are drawn.
        seed: seed of the draws.
    """

    def __init__(
        self,
        book: Trials,
        search: Search,
        begin: Callable[[Trial], None],
        *,
        num_trials: int,
        algorithm: Algorithm,
        seed: int,
    ):
        super().__init__(metric=book.figure, mode="max" if search.largest else "min")
        self.numbers: dict[str, int] = {}
        self._book = book
        self._spaces = {space.name: space for space in search.spaces}
        self._begin = begin
        self._optuna: Any = None
        if algorithm == "optuna":
            self._left = list(range(1, num_trials + 1))
            self._optuna = _optuna(book, search, seed)
            self._values: list[dict[str, Any]] = []
        else:
            self._values = search_spaces.draw(search.spaces, num_trials, seed)
            self._left = list(range(1, len(self._values) + 1))
        self._left = [number for number in self._left if number not in book.trials]

    @property
    def num_left(self) -> int:
        """Trials that have not begun."""
        return len(self._left)

    def suggest(self, trial_id: str) -> Any:
        """The configuration that Ray Tune passes to a trial: its number."""
        if not self._left:
            return Searcher.FINISHED
        number = self._left[0]
        if self._optuna is None:
            values = self._values[number - 1]
        else:
            proposed = self._optuna.suggest(trial_id)
            if not isinstance(proposed, dict):
                return proposed
            values = {name: _decoded(space, proposed[name]) for name, space in self._spaces.items()}
        del self._left[0]
        self.numbers[trial_id] = number
        trial = self._book.trials[number] = Trial(number, values)
        self._begin(trial)
        return {"number": number}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Called by Ray Tune when a trial has finished an epoch."""
        if self._optuna is not None and self.metric in result:
            self._optuna.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called by Ray Tune when a trial has ended."""
        if self._optuna is not None:
            known = result is not None and self.metric in result and not error
            self._optuna.on_trial_complete(trial_id, result if known else None, error=not known)

    def __getstate__(self) -> dict[str, Any]:
        """The state that Ray Tune saves and never reads again: nothing."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Called by Ray Tune to save state, which is never read again; the search has its own files."""
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        """Called by Ray Tune, like `save`."""


def _optuna(book: Trials, search: Search, seed: int) -> Any:
    """Optuna's sampler, which knows the results of finished trials."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
    kinds = optuna.distributions
    distributions: dict[str, Any] = {}
    for space in search.spaces:
        if space.kind == "choice":
            distributions[space.name] = kinds.CategoricalDistribution(list(range(len(space.values))))
        elif space.kind == "randint":
            distributions[space.name] = kinds.IntDistribution(*space.values)
        else:
            distributions[space.name] = kinds.FloatDistribution(*space.values, log=space.kind == "loguniform")
    known = [(trial, best) for trial in book.trials.values() if (best := trial.best(book.figure)) is not None]
    points = [{space.name: _encoded(space, trial.values[space.name]) for space in search.spaces} for trial, _ in known]
    return OptunaSearch(
        distributions,
        metric=book.figure,
        mode="max" if search.largest else "min",
        points_to_evaluate=points or None,
        evaluated_rewards=[best[book.figure] for _, best in known] or None,
        seed=seed,
    )


def _encoded(space: Space, value: Any) -> Any:
    """A value as Optuna represents it: choices by their indices, because they may be any JSON."""
    return list(space.values).index(value) if space.kind == "choice" else value


def _decoded(space: Space, value: Any) -> Any:
    return json.loads(json.dumps(space.values[value])) if space.kind == "choice" else value
