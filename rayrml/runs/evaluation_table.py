"""The table of an evaluation: each sample's target beside what the network says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from rayrml import storage
from rayrml.data.reader_keys import describe_targets
from rayrml.inference.class_table import Row, Tabulator, tabulator, write_table
from rayrml.inference.prediction_files import read_outputs
from rayrml.planning.plan import Plan
from rayrml.reporting.file_names import PREDICTIONS_TABLE


def write(plan: Plan, folder: str, predictions: Sequence[str]) -> Iterator[str]:
    """Write the table into a folder, and yield its path; nothing if targets are neither classes nor a table's values.

    Raises:
        DataError: a file cannot be read or written.
    """
    targets = None if plan.test is None else plan.test.samples.targets
    if plan.test is None or targets is None or not predictions:
        return
    nn = plan.config.neural_network
    table = tabulator(plan.layers, nn.loss, plan.classes, describe_targets(nn.data))
    if not table.applies([size or 0 for size in plan.network.output_shapes[0]]):
        return
    true = dict(zip(plan.test.samples.names, targets, strict=True))
    path = storage.join(folder, PREDICTIONS_TABLE)
    for _ in write_table(path, _rows(predictions[0], table, true)):
        pass
    yield path


def _rows(file: str, table: Tabulator, true: dict[str, np.ndarray]) -> Iterator[Row]:
    with contextlib.closing(read_outputs(file)) as found:
        for name, output in found:
            yield table.row(name, output, true[name])
