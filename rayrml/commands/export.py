"""`rayrml export`: write a checkpoint's network for other programs."""

from __future__ import annotations

import argparse
import sys

HELP = "write a checkpoint's network for other programs: .pt2, .onnx, .h5"


def add(verb: argparse.ArgumentParser) -> None:
    """The verb's options."""
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="a file model_checkpoint_<epoch>.pt")
    verb.add_argument("file", metavar="FILE", help="the file to write: .pt2 (torch.export), .onnx, .h5 (Keras)")


def do(options: argparse.Namespace) -> None:
    """Write the file and say how well it agrees. Raises what `rayrml.export` raises."""
    from rayrml.formatting import format_path
    from rayrml.saving.export import export

    worst = export(options.checkpoint, options.file)
    sys.stdout.write(f"Saved network: {format_path(options.file)} (its outputs differ by {worst:.1g} at most)\n")
