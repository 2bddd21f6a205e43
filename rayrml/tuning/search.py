"""A search before it begins: what is searched for, and whether each value is valid."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rayrml.config import search_spaces
from rayrml.config.figures import LOSSES, is_cost
from rayrml.config.json_files import format_value
from rayrml.config.mistakes import Findings
from rayrml.config.reading import AnyConfiguration, read_configuration
from rayrml.config.search_spaces import Space
from rayrml.data.listings import Listings, listing_once
from rayrml.errors import ConfigError, DataError, Problem
from rayrml.planning import preparation
from rayrml.planning.plan import Plan, TrainingPlan
from rayrml.reporting.console import Console

_LOSS = "neural_network.loss"


@dataclasses.dataclass(frozen=True)
class Search:
    """A valid configuration with search spaces.

    Attributes:
        raw: the configuration as it was given, with the spaces.
        spaces: what is searched for.
        plan: the plan with the first values.
        figure: what trials are ranked by: the metric, or a loss if there is none.
        num_epochs: the largest number of epochs of a trial.
        listings: what is in the folders of the data.
    """

    raw: Mapping[str, Any]
    spaces: Sequence[Space]
    plan: TrainingPlan
    figure: str
    num_epochs: int
    listings: Listings

    @property
    def compared(self) -> str:
        """How the best trial is chosen, in words."""
        return f"{'highest' if self.largest else 'lowest'} {self.figure} of any epoch"

    @property
    def largest(self) -> bool:
        """Whether a higher figure is better."""
        return not is_cost(self.figure)


def prepare(config: AnyConfiguration, overrides: Mapping[str, Any] | None = None) -> Search | None:
    """The search that a configuration describes, checked with each choice and both ends of each range.

    None if it has no search spaces.

    Raises:
        ConfigError, DataError: all mistakes, each with its line if the configuration is a file.
    """
    document = read_configuration(config, overrides)
    spaces, wrong = search_spaces.find_spaces(document.values)
    with document.locating_mistakes():
        if not spaces and not wrong:
            return None
        if wrong := [*document.mistakes, *wrong]:
            raise ConfigError(*wrong)
        findings = Findings()
        with listing_once() as listings:
            plans = list(_plans(document.values, spaces, findings))
        if findings:
            raise findings.error()
        training = [plan for plan in plans if isinstance(plan, TrainingPlan)]
        if len(training) < len(plans):
            raise ConfigError(Problem("neural_network.data", "nothing to train. A search needs input_path"))
        figure = _figure(training, spaces)
    num_epochs = max(plan.config.neural_network.num_epochs for plan in training)
    return Search(document.values, spaces, training[0], figure, num_epochs, listings)


def _plans(raw: Mapping[str, Any], found: Sequence[Space], findings: Findings) -> Iterator[Plan]:
    """The plans with the first values, and with each other value in turn; each mistake is reported once."""
    first: dict[str, Any] = {}
    told: set[Problem] = set()
    for values in search_spaces.list_examples(found):
        first = first or values
        changed = [name for name, value in values.items() if value != first[name]]
        try:
            yield preparation.prepare(search_spaces.fill(raw, values))
        except (ConfigError, DataError) as error:
            new = [problem for problem in error.problems if problem not in told]
            told.update(new)
            with_values = f" (with {changed[0]} = {format_value(values[changed[0]])})" if changed else ""
            problems = [dataclasses.replace(problem, message=problem.message + with_values) for problem in new]
            with findings.gathering():
                raise type(error)(*problems) from None


def _figure(plans: Sequence[TrainingPlan], found: Sequence[Space]) -> str:
    """The figure by which all trials can be compared. Raises ConfigError if their figures have different meanings."""
    figures = {_of_plan(plan): plan.loss.name for plan in plans}
    if len(figures) > 1:
        named = " and ".join(f"{loss} reports {figure}" for figure, loss in figures.items())
        message = f"trials cannot be compared: {named}. Set 'metric' to a figure that all of them report"
        raise ConfigError(Problem(_LOSS, message))
    (figure,) = figures
    if figure in LOSSES and any(space.where.startswith(_LOSS) for space in found):
        message = "trials with different losses cannot be compared by loss. Expected a metric on test samples"
        raise ConfigError(Problem(_LOSS, message))
    return figure


def _of_plan(plan: TrainingPlan) -> str:
    """The metric of a run's evaluation, or else its test loss, or else its training loss."""
    if not plan.datasets.test_targets:
        if plan.critic is not None:
            message = "is missing: the losses of a generator and its critic do not say which trial is better"
            raise ConfigError(Problem("neural_network.data.test_input_path", message))
        return "train_loss"
    return plan.metric or "test_loss"


def announce(console: Console, search: Search, **more: Any) -> None:
    """Print what is searched for, and `more` about the search."""
    spaces = {space.name: space.text for space in search.spaces}
    console.section("Search", {**spaces, "Ranked by": search.compared, **more})
