"""`rayrml export-weights`: write a checkpoint's weights as an HDF5 file for Keras."""

from __future__ import annotations

import argparse

from rayrml.commands.first_words import announce_reading

HELP = "write a checkpoint's weights as an HDF5 file for Keras"
EXAMPLES = (
    "rayrml export-weights model network.weights.h5",
    "rayrml export-weights model/best.pt network.h5",
    "rayrml export-weights model/last_epoch.pt network.h5",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its best model")
    verb.add_argument("file", metavar="FILE.h5", help="output file; .weights.h5 for Keras 3")


def do(options: argparse.Namespace) -> None:
    """Write the file. Raises ConfigError if the checkpoint holds no network, DataError for files."""
    announce_reading(options.checkpoint)
    from rayrml.exporting.exportable import load_network
    from rayrml.saving.keras_weights import export_weights

    export_weights(load_network(options.checkpoint), options.file)
