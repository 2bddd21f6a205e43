"""`rayrml predict`: predict files with a checkpoint, without a configuration."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import OF_EVALUATION, add_pictures, add_settings, settings
from rayrml.commands.first_words import announce_reading
from rayrml.commands.json_output import add_json

HELP = "predict files with a checkpoint, without a configuration"
EXAMPLES = (
    "rayrml predict --checkpoint model image.jpg",
    "rayrml predict --checkpoint model/best.pt images --output predictions",
    "rayrml predict --checkpoint model --samples 100",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("inputs", nargs="*", metavar="INPUT", help="images, arrays, or folders of them")
    verb.add_argument("--samples", type=int, metavar="N", help="how many samples a generator makes, without inputs")
    verb.add_argument(
        "--checkpoint", required=True, metavar="PATH", help="a checkpoint, or a run's folder: its best model"
    )
    verb.add_argument("--output", metavar="DIR", help="folder for the predictions (default: ./predictions)")
    meaning = "workers write a file each: merge: into one in the background; keep: linked by output_1.h5"
    verb.add_argument("--shards", choices=("merge", "keep"), help=meaning)
    add_pictures(verb)
    add_settings(verb, OF_EVALUATION)
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Write the predictions and show the first classes. Raises what `rayrml.predict` raises."""
    overrides = settings(options)
    announce_reading(options.checkpoint, quiet=options.quiet)
    from rayrml.runs.predict import predict

    options.document = predict(
        options.checkpoint,
        options.inputs,
        options.output,
        num_samples=options.samples,
        overrides=overrides,
        quiet=options.quiet,
        verbose=options.verbose,
        on_mistake=options.leave,
    )
