"""`rayrml check-install`: see whether rayrml, Ray and PyTorch work together on this machine or cluster."""

from __future__ import annotations

import argparse
import sys

HELP = "train and predict something small, to see whether all works here"


def add(verb: argparse.ArgumentParser) -> None:
    """The verb's options."""
    verb.add_argument("--address", help="a running Ray cluster; else RAY_ADDRESS; else a private local Ray")
    verb.add_argument("--folder", metavar="DIR", help="for temporary files; all machines of a cluster must share it")
    verb.add_argument("--num-workers", type=int, metavar="N", help="workers that train")
    verb.add_argument("--verbose", action="store_true", help="print Ray's own messages too")


def do(options: argparse.Namespace) -> None:
    """Show each step. Raises what does not work, with a hint."""
    if not options.verbose:
        from rayrml.cluster.connection import hide_messages

        hide_messages()  # before anything of Ray is imported that reads it then
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
