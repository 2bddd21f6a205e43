"""A report as one HTML page: for a browser or a printer, light and dark, with nothing from elsewhere."""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Sequence
from typing import Any

from rayrml import storage
from rayrml.formatting import shorten_name
from rayrml.reporting.file_names import REPORT
from rayrml.reporting.run_files import write_file
from rayrml.reporting.run_report import Matrix, Picture, RunReport, flatten, name_figure, read_reports
from rayrml.version import __version__

_TEMPLATE = "report.html.jinja"
_WIDE = 20  # classes whose cells hold numbers
_CELL, _SMALL_CELL = 34, 12  # pixels
_MARGIN = 7.0  # pixels of a character of a name
_MOST_CHARACTERS = 24


def render(reports: Sequence[RunReport]) -> bytes:
    """The page on one run or several, which are compared first."""
    from jinja2 import Environment  # takes a while

    template = importlib.resources.files(__package__ or "").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    content = page.render(
        reports=reports,
        names=[report.run.name for report in reports],
        figure=name_figure,
        differences=_find_differences(reports),
        comparison=_draw_comparison(reports) if len(reports) > 1 else None,
        matrix=_draw_matrix,
        to_json=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
        given=_without_empty,
        version=__version__,
    )
    return content.encode(errors="replace")  # a file's name need not be text


def write(folder: str) -> str:
    """Write the page on the run in a folder into it, and return its path. Raises DataError."""
    path = storage.join(folder, REPORT)
    write_file(path, render(read_reports([folder])))
    return path


def _find_differences(reports: Sequence[RunReport]) -> list[list[str]]:
    """The keys with several values: the key, and the value of each run."""
    configs = [flatten(report.config) if report.config else {} for report in reports]
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [[key, *(_show(config, key) for config in configs)] for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _without_empty(value: Any) -> Any:
    """Nested objects without keys that have no value, and without objects that are empty then."""
    if not isinstance(value, dict):
        return value
    found = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in found.items() if item not in (None, {}, [])}


def _show(config: dict[str, Any], key: str) -> str:
    return json.dumps(config[key], ensure_ascii=False) if key in config else "-"


def _draw_comparison(reports: Sequence[RunReport]) -> Picture:
    from rayrml.reporting import plots

    content, _ = plots.render(plots.draw_comparison([report.run for report in reports]))
    return Picture.of("Curves", content, chart=True)


def _draw_matrix(matrix: Matrix) -> dict[str, Any]:
    """The places of everything in an SVG picture of a matrix, in pixels."""
    size = len(matrix.classes)
    cell = _CELL if size <= _WIDE else _SMALL_CELL
    names = [shorten_name(name, _MOST_CHARACTERS) for name in matrix.classes]
    margin = 12 + _MARGIN * max(map(len, names))
    return {
        "cell": cell,
        "margin": margin,
        "side": margin + size * cell + 2,
        "names": names,
        "numbers": size <= _WIDE,
        "cells": [
            {
                "x": margin + column * cell,
                "y": margin + row * cell,
                "right": row == column,
                "opacity": round(0.08 + 0.92 * math.sqrt(share), 3),
                "count": count,
                "dark": share > 0.3,
                "told": f"{matrix.classes[row]} → {matrix.classes[column]}: {count:,} ({100 * share:.1f} %)",
            }
            for row, column, count, share in matrix.cells
        ],
    }
