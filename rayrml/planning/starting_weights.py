"""The weights that a network starts from: those of a checkpoint, or of a file of Keras or darknet, all or some."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from rayrml import storage
from rayrml.config.mistakes import Findings
from rayrml.config.sections import NeuralNetwork
from rayrml.data.datasets import Datasets
from rayrml.formatting import shorten
from rayrml.networks.affine import list_without_affine
from rayrml.networks.families import Family
from rayrml.networks.network import Network
from rayrml.planning.named_network import WEIGHTS
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint, LoadReport
from rayrml.saving.darknet_weights import is_darknet_name, load_darknet_weights
from rayrml.saving.keras_weights import load_weights
from rayrml.saving.name_matching import describe_initial, describe_misfit, describe_unused

LOAD = "neural_network.checkpoints.load"
_KERAS_FILES = {".h5", ".hdf5", ".keras"}


def is_foreign(path: str) -> bool:
    """Whether the name of a file says that it is no checkpoint, but one of Keras or darknet."""
    return storage.suffix(path) in _KERAS_FILES or is_darknet_name(path)


def load_start(
    network: Network,
    checkpoint: Checkpoint | None,
    given: tuple[NeuralNetwork, Family | None],
    findings: Findings,
    *,
    num_classes: int | None = None,
) -> LoadReport | None:
    """What was loaded into the network; None if nothing is requested.

    A network that is not trained must get all of its weights; the findings say what it lacks.

    Args:
        network: the network, with initial weights.
        checkpoint: the one that `checkpoints.load` names, None if it names none.
        given: the section, and the network by name that it chooses.
        findings: gets what is wrong.
        num_classes: of the objects that the network finds, None if it finds none.
    """
    nn, named = given
    path, place, report = nn.checkpoints.load, LOAD, None
    with findings.gathering():
        if checkpoint is not None and path is not None:
            loaded = checkpoints.load_into(network, checkpoint.network, path, LOAD)
            report = dataclasses.replace(loaded, averaged=bool(checkpoint.ema))
        elif path is not None and is_darknet_name(path):
            report = load_darknet_weights(network, path, LOAD, num_classes=num_classes)
        elif path is not None and is_foreign(path):
            report = load_weights(network, path, LOAD)
        elif named is not None and named.weights is not None:
            path, place = named.weights, WEIGHTS
            report = load_weights(network, path, WEIGHTS, of_family=True)
    if report is not None and not report.loaded:
        findings.add(place, describe_misfit(path, report.skipped, report.initial))
    elif report is not None and not nn.data.trains:
        _refuse_partial(network, report, (place, path), findings)
    return report


def warn_of_classes(network: Network, checkpoint: Checkpoint | None, datasets: Datasets) -> Iterator[str]:
    """A sentence on outputs that stood for other classes, or for the same in another order, and are trained further."""
    if checkpoint is None or datasets.training is None:
        return
    before, now = checkpoint.classes, datasets.classes
    outputs = [network.graph.layers[network.graph.nodes[number].layer].name for number in network.graph.outputs]
    kept = any(name.rpartition(".")[0] in outputs for name in checkpoint.network)
    if kept and now and len(before) == len(now) and tuple(before) != tuple(now):
        message = f"the checkpoint's network distinguishes {shorten(before)}, but the samples have {shorten(now)}"
        yield f"{message}: its outputs stand for other classes from now on"


def _refuse_partial(network: Network, report: LoadReport, source: tuple[str, object], findings: Findings) -> None:
    """Add to the findings what a network that is not trained has not got, or a file has beyond it."""
    place, path = source
    if lacking := report.initial + report.initial_weights + report.differing:
        findings.add(place, describe_initial(path, lacking))
    if report.skipped_weights:
        affine = next(list_without_affine(network.graph), None) is not None
        hint = '. "train_batch_norm": "affine" gives batch normalization gamma and beta' if affine else ""
        findings.add(place, f"{describe_unused(path, report.skipped_weights)}{hint}")
