"""`rayrml export`: export a checkpoint's network for other programs."""

from __future__ import annotations

import argparse
import sys

from rayrml.commands.first_words import announce_reading

HELP = "export a checkpoint's network for other programs: .pt2, .onnx, .h5"
EXAMPLES = (
    "rayrml export model network.onnx",
    "rayrml export model/best.pt network.pt2",
    "rayrml export model network.h5",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its best model")
    verb.add_argument("file", metavar="FILE", help="output file: .pt2 (torch.export), .onnx or .h5 (Keras)")


def do(options: argparse.Namespace) -> None:
    """Write the file and print how far its outputs differ. Raises what `rayrml.export` raises."""
    announce_reading(options.checkpoint)
    from rayrml.formatting import format_path
    from rayrml.saving.export import export

    worst = export(options.checkpoint, options.file)
    sys.stdout.write(f"Saved network: {format_path(options.file)} (largest difference of outputs: {worst:.1g})\n")
