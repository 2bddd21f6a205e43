"""`rayrml evaluate`: compare a checkpoint's predictions with targets, without a configuration."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import OF_EVALUATION, add_pictures, add_settings, settings
from rayrml.commands.first_words import announce_reading
from rayrml.commands.json_output import add_json

HELP = "evaluate a checkpoint on a folder with targets, without a configuration"
EXAMPLES = (
    "rayrml evaluate model images/test",
    "rayrml evaluate model/best.pt photos --target-path masks --output results",
    "rayrml evaluate model images/test metric=f1 --json",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its best model")
    verb.add_argument("inputs", metavar="FOLDER", help="the samples; a folder for each class if targets are labels")
    verb.add_argument(
        "--target-path", metavar="PATH", help="the targets, if they are files of their own, such as masks"
    )
    verb.add_argument("--output", metavar="DIR", help="folder for the results (default: ./evaluation)")
    add_pictures(verb)
    add_settings(verb, OF_EVALUATION)
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Evaluate, and show the results. Raises what `rayrml.evaluate` raises."""
    overrides = settings(options)
    announce_reading(options.checkpoint, quiet=options.quiet)
    from rayrml.runs.evaluate import evaluate

    options.document = evaluate(
        options.checkpoint,
        options.inputs,
        options.output,
        targets=options.target_path,
        overrides=overrides,
        quiet=options.quiet,
        verbose=options.verbose,
        on_mistake=options.leave,
    )
