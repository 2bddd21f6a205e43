"""`rayrml report`: one page on runs, to read, print or pass on."""

from __future__ import annotations

import argparse
import sys

from rayrml.commands.first_words import announce_reading
from rayrml.commands.json_output import add_json

HELP = "write one page on a run, or on several side by side"
EXAMPLES = (
    "rayrml report model",
    "rayrml report model other_model --output both.html",
    "rayrml report model --json",
)
_ENDINGS = (".html", ".htm")


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder checkpoints.save, or its outfile")
    meaning = "output file (default: report.html)"
    verb.add_argument("-o", "--output", type=_page, default="report.html", metavar="FILE.html", help=meaning)
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Write the page. Raises DataError for what is not a run, and for files."""
    announce_reading(*options.runs)
    from rayrml.formatting import format_path
    from rayrml.reporting import report_page
    from rayrml.reporting.run_files import write_file
    from rayrml.reporting.run_report import read_reports

    reports = read_reports(options.runs)
    write_file(options.output, report_page.render(reports))
    sys.stdout.write(f"Saved report: {format_path(options.output)}\n")
    options.document = {"report": options.output, "runs": [report.run.name for report in reports]}


def _page(path: str) -> str:
    if not path.lower().endswith(_ENDINGS):
        raise argparse.ArgumentTypeError(f"expected a file that ends with .html, got '{path}'")
    return path
