"""The table of an evaluation: each sample's true class beside the most probable ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from rayrml import storage
from rayrml.inference.class_table import Classified, Classifier, classifier, write_table
from rayrml.inference.prediction_files import read_outputs
from rayrml.planning.plan import Plan
from rayrml.reporting.file_names import PREDICTIONS_TABLE


def write(plan: Plan, folder: str, predictions: Sequence[str]) -> Iterator[str]:
    """Write the table into a folder, and yield its path; nothing if samples do not have one class each.

    Raises:
        DataError: a file cannot be read or written.
    """
    labels = None if plan.test is None else plan.test.samples.labels
    if plan.test is None or labels is None or not predictions:
        return
    loss = plan.config.neural_network.loss
    classes = classifier(plan.layers, loss, plan.classes)
    if not classes.applies([size or 0 for size in plan.network.output_shapes[0]]):
        return
    names = dict(enumerate(plan.classes))
    true = {
        name: names.get(label, str(label)) for name, label in zip(plan.test.samples.names, labels.tolist(), strict=True)
    }
    path = storage.join(folder, PREDICTIONS_TABLE)
    for _ in write_table(path, _rows(predictions[0], classes, true)):
        pass
    yield path


def _rows(file: str, classes: Classifier, true: dict[str, str]) -> Iterator[Classified]:
    with contextlib.closing(read_outputs(file)) as found:
        for name, output in found:
            yield classes.classified(name, output)._replace(truth=true[name])
