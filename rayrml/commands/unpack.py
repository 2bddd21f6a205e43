"""`rayrml unpack`: write the images of Parquet files, or the files of shards, to folders."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayrml.data.data_set_rows import Unpacked

HELP = "write the images of a data set in Parquet files, or the files of shards, to folders"
EXAMPLES = (
    "rayrml unpack cifar10/data images",
    "rayrml unpack cifar100/data images --label fine_label",
    "rayrml unpack packed images",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    source = "a Parquet file, a folder of them, a packed folder or tar files; local, or in an object store"
    verb.add_argument("source", metavar="SOURCE", help=source)
    verb.add_argument("folder", metavar="FOLDER", help="a new folder for the files")
    label = "column of Parquet files that tells the classes (default: the one with names, or label); none: no column"
    verb.add_argument("--label", metavar="COLUMN", help=label)
    verb.add_argument("--quiet", action="store_true", help="show no progress")


def do(options: argparse.Namespace) -> None:
    """Write the files. Raises ConfigError and DataError; the folder appears when it is complete."""
    from rayrml.commands.given_paths import absolute_paths
    from rayrml.commands.progress import Progress
    from rayrml.data.unpacking import unpack
    from rayrml.formatting import format_path
    from rayrml.training.interrupts import Interrupts

    paths = absolute_paths(SOURCE=options.source, FOLDER=options.folder)
    with Interrupts(), Progress("Unpacking", quiet=options.quiet) as progress:  # a signal removes what is written
        done = unpack(*paths, label=options.label, say=progress.show)
    sys.stdout.write("".join(f"{line}\n" for line in _describe(done)))
    sys.stdout.write(f"Saved files: {format_path(paths[1])}\n")


def _describe(done: Unpacked) -> list[str]:
    """What was unpacked, and what was not."""
    total = sum(done.parts.values())
    parts = ", ".join(f"{count:,} in {part}" for part, count in done.parts.items() if part)
    lines = [f"Unpacked {total:,} file{'s' if total != 1 else ''}{f': {parts}' if parts else ''}"]
    if done.classes:
        by = f" by column '{done.label}'" if done.label else ""
        count = "1 class" if len(done.classes) == 1 else f"{len(done.classes):,} classes"
        lines.append(f"{count}{by}, each in a folder")
    if done.without_classes:
        lines.append(f"Without classes: {', '.join(done.without_classes)}")
    if done.is_unlabelled:
        table = ": all columns of text and numbers are in labels.csv" if done.has_table else ""
        lines.append(f"No column tells classes{table}")
    if done.left_out:
        lines.append(f"Left out: {', '.join(done.left_out)}")
    return lines
