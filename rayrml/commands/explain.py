"""`rayrml explain`: which regions of an image speak for its class."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import add_settings, settings
from rayrml.commands.first_words import announce_reading
from rayrml.commands.json_output import add_json

HELP = "draw which regions of images speak for the class that a checkpoint sees in them"
EXAMPLES = (
    "rayrml explain model image.jpg",
    "rayrml explain model/best.pt images -o explanations --class cat",
    "rayrml explain model images --layer conv5_block3_out --json",
)
_MOST_SHOWN = 20


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its best model")
    verb.add_argument("inputs", nargs="+", metavar="IMAGE", help="images, or folders of them")
    verb.add_argument(
        "-o",
        "--output",
        default="explanations",
        metavar="DIR",
        help="folder for the pictures (default: ./explanations)",
    )
    meaning = "the class to explain, by name or number (default: the most probable one of each image)"
    verb.add_argument("--class", dest="class_name", metavar="NAME", help=meaning)
    meaning = "layer to look at (default: the last one that has a height and a width)"
    verb.add_argument("--layer", metavar="NAME", help=meaning)
    add_settings(verb, uses_ray=False)
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Draw the pictures, and list them. Raises ConfigError and DataError."""
    overrides = settings(options)
    announce_reading(options.checkpoint, quiet=options.quiet)
    from rayrml.saving.checkpoint_folder import find_model

    find_model(options.checkpoint)  # a mistyped path is told of at once, before anything slow is imported
    from rayrml.formatting import format_path
    from rayrml.reporting.console import Console
    from rayrml.runs.explain import prepare_explanation

    console = Console(quiet=options.quiet, stamped=False)
    how = {"name": options.class_name, "layer": options.layer, "overrides": overrides}
    explainer = prepare_explanation(options.checkpoint, options.inputs, **how)
    found = []
    for explained in explainer.explain(options.output):
        found.append(explained)
        console.wait_for(f"Explaining: {len(found)} images")
    console.stop_waiting()
    rows = [(one.path, one.name, f"{one.probability:.3f}", format_path(one.picture)) for one in found]
    console.table(rows[:_MOST_SHOWN], ("Path", "Class", "Probability", "Picture"))
    if len(rows) > _MOST_SHOWN:
        console.line(f"and {len(rows) - _MOST_SHOWN} more")
    for one in found:
        if one.is_empty:
            console.line(f"No region of {one.path} speaks for '{one.name}'")
    count = "1 picture" if len(found) == 1 else f"{len(found)} pictures"
    console.line(f"Saved {count} of layer '{explainer.activation.layer}': {format_path(options.output)}")
    options.document = {"layer": explainer.activation.layer, "images": found}
