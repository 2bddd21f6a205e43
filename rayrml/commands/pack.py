"""`rayrml pack`: write the many small files of a folder to a few shards, which are read like the folder."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayrml.data.packing import Packed

HELP = "pack the files of a folder into a few shards, which input_path reads like the folder"
EXAMPLES = (
    "rayrml pack images packed",
    "rayrml pack images s3://bucket/packed",
    "rayrml pack images packed --shard-size 1GB --overwrite",
)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB)", re.IGNORECASE)
_UNITS = {"MB": 10**6, "GB": 10**9}
_SMALLEST = 10**6


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("folder", metavar="FOLDER", help="the files; a local folder, or a URI of an object store")
    verb.add_argument("out", metavar="OUT", help="a new folder for the shards, likewise")
    size = "size of a shard, such as 100MB or 1GB (default: 256MB)"
    verb.add_argument("--shard-size", metavar="SIZE", type=_bytes, default=256 * 10**6, help=size)
    verb.add_argument("--overwrite", action="store_true", help="replace the pack that is in OUT")
    verb.add_argument("--quiet", action="store_true", help="show no progress")


def do(options: argparse.Namespace) -> None:
    """Write the shards. Raises ConfigError and DataError; if it is interrupted, the same command resumes."""
    from rayrml.commands.given_paths import absolute_paths
    from rayrml.commands.progress import Progress
    from rayrml.data.packing import pack
    from rayrml.formatting import format_path

    paths = absolute_paths(FOLDER=options.folder, OUT=options.out)
    with Progress("Packing", quiet=options.quiet) as progress:
        done = pack(*paths, shard_bytes=options.shard_size, overwrite=options.overwrite, say=progress.show)
    sys.stdout.write("".join(f"{line}\n" for line in _describe(done)))
    sys.stdout.write(f"Saved shards: {format_path(paths[1])}\n")


def _bytes(text: str) -> int:
    """A size with its unit, in bytes."""
    found = _SIZE.fullmatch(text.strip())
    size = 0 if found is None else round(float(found[1]) * _UNITS[found[2].upper()])
    if size < _SMALLEST:
        raise argparse.ArgumentTypeError(f"expected a size of at least 1MB, such as 256MB or 1GB, got '{text}'")
    return size


def _describe(done: Packed) -> list[str]:
    """What was packed, and what was not."""
    from rayrml.formatting import format_bytes

    found = done.found
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.items())
    shards = f"{len(done.shards):,} shard{'s' if len(done.shards) > 1 else ''}"
    lines = [f"Packed {len(found.names):,} files ({kinds}), {format_bytes(sum(found.sizes))}, in {shards}"]
    if done.num_kept:
        lines.append(f"Resumed: {done.num_kept:,} of the shards had been written before")
    if found.left_out:
        left = ", ".join(f"{count:,} {kind}" for kind, count in found.left_out.items())
        lines.append(f"Left out, because it is no file: {left}")
    return lines
