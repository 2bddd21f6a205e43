"""`rayrml export-weights`: write a checkpoint's weights as an HDF5 file for Keras."""

from __future__ import annotations

import argparse

from rayrml.errors import ConfigError, Problem

HELP = "write a checkpoint's weights as an HDF5 file for Keras"


def add(verb: argparse.ArgumentParser) -> None:
    """The verb's options."""
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="a file model_checkpoint_<epoch>.pt")
    verb.add_argument("file", metavar="FILE.h5", help="the file to write")


def do(options: argparse.Namespace) -> None:
    """Write the file. Raises ConfigError if the checkpoint holds no network, DataError for files."""
    from rayrml import checkpoints
    from rayrml.keras_weights import export_weights
    from rayrml.network import build_network

    checkpoint = checkpoints.load(options.checkpoint)
    if checkpoint.layers is None:
        raise ConfigError(Problem(options.checkpoint, "holds no network, only weights. Expected one saved by rayrml"))
    network = build_network(checkpoint.layers, checkpoint.input_shape)
    checkpoints.load_into(network, checkpoint.network, options.checkpoint)
    export_weights(network, options.file)
