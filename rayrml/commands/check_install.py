"""`rayrml check-install`: test whether rayrml, Ray and PyTorch work together on this machine or cluster."""

from __future__ import annotations

import argparse
import sys

from rayrml.commands.first_words import announce

HELP = "test the installation: train and predict something small"
EXAMPLES = (
    "rayrml check-install",
    "rayrml check-install --num-workers 2",
    "rayrml check-install --address auto --folder /shared/folder",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("--address", help="a running Ray cluster (default: RAY_ADDRESS, or a private local Ray)")
    verb.add_argument("--folder", metavar="DIR", help="folder for temporary files; a cluster's machines must share it")
    verb.add_argument("--num-workers", type=int, metavar="N", help="number of training workers")
    verb.add_argument("--verbose", action="store_true", help="print Ray's own messages too")


def do(options: argparse.Namespace) -> None:
    """Show each step. Raises the error of a step that fails, with a hint."""
    announce("Loading Ray and PyTorch")
    if not options.verbose:
        from rayrml.cluster.connection import hide_messages

        hide_messages()  # before Ray is imported, which reads this at import
    from rayrml.runs.installation_check import check

    check(
        _say,
        address=options.address,
        folder=options.folder,
        num_workers=options.num_workers,
        verbose=options.verbose,
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
