"""`rayrml run`: train, evaluate or predict as a configuration says."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import add_earlier, add_options, add_predecessor_log, read

HELP = "train, evaluate or predict as a configuration says"
EXAMPLES = (
    "rayrml run config.json",
    "rayrml run config.json --epochs 5 lr=0.001",
    "rayrml run config.json --resume",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_options(verb)
    add_earlier(verb)
    add_predecessor_log(verb)


def do(options: argparse.Namespace) -> None:
    """Carry out the run. Raises what `rayrml.run` raises."""
    document = read(options)
    from rayrml.runs.launch import run

    run(
        document,
        resume=options.resume,
        quiet=options.quiet,
        verbose=options.verbose,
        predecessor_log=options.predecessor_log,
        on_mistake=options.leave,
        # A command that read a pipe cannot be repeated.
        command=options.typed if document.is_file else None,
    )
