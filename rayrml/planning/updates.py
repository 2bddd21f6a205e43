"""How weights are updated: the rows and keys of the section `optimizer`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rayrml.config.mistakes import Findings
from rayrml.config.optimization import OptimizerOptions
from rayrml.config.tables import Choice, choose_with
from rayrml.lr_schedulers import ScheduleChoice, choose_schedule
from rayrml.optimizers import OPTIMIZERS

OPTIMIZER = "neural_network.optimizer"


class Updates(NamedTuple):
    """What the section `optimizer` says.

    Attributes:
        optimizer: row of the optimizers, None without the section or if it has mistakes.
        options: the keys that all optimizers have.
        schedule: rows of the learning rate schedulers, None for a constant rate.
    """

    optimizer: Choice | None = None
    options: OptimizerOptions = OptimizerOptions()
    schedule: ScheduleChoice | None = None


def choose_updates(section: Mapping[str, Any] | None, findings: Findings) -> Updates:
    """What the section says; its mistakes are added to the findings."""
    if section is None:
        return Updates()
    scheduler, schedule = section.get("lr_scheduler"), None
    with findings.gathering():
        if isinstance(scheduler, dict | list):
            schedule = choose_schedule(scheduler, f"{OPTIMIZER}.lr_scheduler")
    with findings.gathering():
        return Updates(*choose_with(OPTIMIZERS, section, OPTIMIZER, options=OptimizerOptions), schedule)
    return Updates(schedule=schedule)
