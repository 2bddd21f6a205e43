"""The folders of a data set and what became of each, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rayrml.data.layout import LeftOut
from rayrml.formatting import format_path

if TYPE_CHECKING:
    from rayrml.planning.plan import Plan

TRAINING = "training"
VALIDATION = "validation, after each epoch"
TEST_AS_VALIDATION = "test, after each epoch: there is no folder for validation"
FINAL_TEST = "final test, once, with the best model"


HEADINGS = ("Folder", "Role", "Samples")


def list_rows(plan: Plan) -> list[tuple[str, str, str]]:
    """A row for each folder; none if there are no more than the configuration names, and no final test."""
    if plan.folders.layout is None and plan.final_test is None:
        return []
    roles = {
        "training": TRAINING,
        "test": TEST_AS_VALIDATION if plan.folders.tests_with_test else VALIDATION,
        "final test": FINAL_TEST,
    }
    rows = [
        (
            ", ".join(dict.fromkeys(format_path(side.samples.root) for side in source.sides.values())),
            roles[source.name],
            len(source.samples),
        )
        for source in plan.sources
    ]
    return make_rows(rows, plan.folders.left_out)


def make_rows(rows: Iterable[tuple[str, str, int]], left_out: Iterable[LeftOut]) -> list[tuple[str, str, str]]:
    """The folders that are used, each with its role and number of samples, and those that are not, with the reason."""
    used = [(folder, role, f"{count:,}") for folder, role, count in rows]
    others = [(format_path(entry.path), f"not used: {entry.reason}", "-") for entry in left_out]
    return [*used, *others]
