"""`rayrml new`: write a configuration for a folder of images."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rayrml.errors import ConfigError, Problem, explaining, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rayrml.planning.starter_config import Found

HELP = "write a configuration to start from, for a folder of images"
EXAMPLES = (
    "rayrml new images",
    "rayrml new images --output config.json",
    "rayrml new data/images --output first.json",
)
_MOST_SHOWN = 10  # classes


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("folder", metavar="FOLDER", help="contains one folder of images per class, or training and test")
    verb.add_argument("--output", metavar="FILE.json", help="output file (default: FOLDER.json in the current folder)")


def do(options: argparse.Namespace) -> None:
    """Inspect the images, write the file and print what is in it. Raises ConfigError and DataError."""
    from rayrml import storage
    from rayrml.planning import starter_config

    if storage.is_uri(options.folder):
        raise ConfigError(Problem(options.folder, "expected a folder on this machine"))
    folder = Path(options.folder)
    output = Path(options.output or f"{folder.absolute().name or 'images'}.json")
    if output.suffix.lower() in (".yaml", ".yml", ".toml"):
        raise ConfigError(Problem(str(output), "the configuration is written as JSON. Expected a name like FILE.json"))
    if output.exists():
        raise ConfigError(Problem(str(output), "already exists. `--output FILE.json` names another file"))
    found = starter_config.look(folder)
    if Path.cwd().is_relative_to(Path(found.training.root).resolve()):
        message = "is or contains the current folder: a run would write its plots among the images. Run this "
        raise ConfigError(Problem(str(folder), f"{message}from another folder, for example after `cd ..`"))
    content = starter_config.text(starter_config.configuration(found, output.stem))
    with explaining(output, "cannot be written"):
        storage.write(output, content.encode())
    for line in _lines(found):
        sys.stdout.write(f"{printable(line)}\n")
    name = shlex.quote(str(output))
    sys.stdout.write(f"Wrote {printable(str(output))}. Next:\n    rayrml {name}\n")


def _lines(found: Found) -> Iterator[str]:
    """What the folder contains and how it is used."""
    from rayrml.planning import starter_recipe

    training = found.training
    shown = ", ".join(training.classes[:_MOST_SHOWN])
    more = f" and {len(training.classes) - _MOST_SHOWN} more" if len(training.classes) > _MOST_SHOWN else ""
    yield f"{len(training.classes)} classes: {shown}{more}"
    if found.test is None:
        yield f"{len(training)} images; a fifth of each class is kept for the test"
    else:
        yield f"{len(training)} images for training, {len(found.test)} for the test"
    heights, widths = zip(*found.sizes, strict=True)
    size = " x ".join(map(str, found.size))
    kind = "gray" if found.gray else "in colour"
    yield f"Images of {min(heights)} to {max(heights)} x {min(widths)} to {max(widths)} pixels become {size}, {kind}"
    yield from starter_recipe.describe(found.sizes, found.gray)
