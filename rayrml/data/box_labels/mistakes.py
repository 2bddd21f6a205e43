"""Several mistakes as those of one error."""

from __future__ import annotations

from collections.abc import Iterable

from rayrml.errors import MOST_NAMED, Problem


def explain_bad(lines: Iterable[str]) -> list[Problem]:
    """The first lines, each once, and how many more there are."""
    different = list(dict.fromkeys(lines))
    more = [f"... and {len(different) - MOST_NAMED} more"] if len(different) > MOST_NAMED else []
    return [Problem("", line) for line in [*different[:MOST_NAMED], *more]]
