"""The tables beside a file of predictions: what outputs stand for, and the true values if these are known."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rayrml import storage
from rayrml.config.detection import Detection
from rayrml.data.reader_keys import describe_targets
from rayrml.inference.class_table import Row, tabulator, write_table
from rayrml.inference.detection_files import (
    Detected,
    find_image_ids,
    number_categories,
    select,
    write_coco_results,
    write_detection_table,
)
from rayrml.inference.prediction_reading import read_outputs
from rayrml.planning.plan import Plan
from rayrml.reporting.file_names import DETECTIONS, PREDICTIONS_TABLE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predicted:
    """A file of predictions, and what is known of them.

    Attributes:
        file: the HDF5 file.
        folder: for the tables.
        layers: the network's Keras JSON.
        loss: the section of that name, None or empty if there is none.
        classes: class names in the order of the network's outputs, () if unknown.
        targets: how targets are read, as keys of the section `data`.
        truths: the target of each sample by its name, None if they are unknown.
        detection: the section of that name.
        image_ids: COCO's id of each image by its name; {} to make them of the names.
        category_ids: COCO's id of each class; () to number them.
    """

    file: str
    folder: str
    layers: Any
    loss: Mapping[str, Any] | None
    classes: Sequence[str] = ()
    targets: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    truths: Mapping[str, np.ndarray] | None = None
    detection: Detection = dataclasses.field(default_factory=Detection)
    image_ids: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    category_ids: Sequence[Any] = ()


@dataclasses.dataclass(frozen=True)
class Tables:
    """Tables that are written while their rows are taken.

    Attributes:
        paths: of the files, that for people first.
        rows: each is yielded as its line is written; must be exhausted. Raises DataError.
    """

    paths: tuple[str, ...]
    rows: Iterator[Row]


def tabulate(app: str, of: Predicted) -> Tables | None:
    """The tables of an application's predictions, None if there is none for outputs like these. Raises DataError."""
    return TABLES[app](of)


def describe_evaluation(plan: Plan, folder: str, predictions: Sequence[str]) -> Predicted | None:
    """What is known of an evaluation's predictions; None if no table shows targets like these.

    Args:
        plan: of the evaluation.
        folder: for the tables.
        predictions: paths of the HDF5 files.
    """
    samples = None if plan.test is None else plan.test.samples
    if samples is None or not predictions or (samples.targets is None and samples.boxes is None):
        return None
    nn, targets = plan.config.neural_network, samples.targets
    return Predicted(
        file=predictions[0],
        folder=folder,
        layers=plan.layers,
        loss=nn.loss,
        classes=plan.classes,
        targets=describe_targets(nn.data),
        truths=None if targets is None else dict(zip(samples.names, targets, strict=True)),
        detection=nn.detection,
        image_ids=dict(zip(samples.names, samples.image_ids, strict=False)),
        category_ids=plan.datasets.category_ids,
    )


def _tabulate_classes(of: Predicted) -> Tables | None:
    """The most probable classes of each sample, or its numbers."""
    table = tabulator(of.layers, of.loss, of.classes, of.targets)
    with contextlib.closing(read_outputs(of.file)) as found:
        first = next(found, None)
    if first is None or not table.applies(first[1].shape):
        return None
    truths = of.truths or {}

    def list_rows() -> Iterator[Row]:
        with contextlib.closing(read_outputs(of.file)) as found:
            for name, output in found:
                yield table.row(name, output, truths.get(name))

    path = storage.join(of.folder, PREDICTIONS_TABLE)
    return Tables((path,), write_table(path, list_rows()))


def _tabulate_objects(of: Predicted) -> Tables:
    """The objects in each image, and COCO's results for other programs."""
    paths = storage.join(of.folder, PREDICTIONS_TABLE), storage.join(of.folder, DETECTIONS)
    return Tables(paths, _write_objects(of, *paths))


def _write_objects(of: Predicted, table: str, results: str) -> Iterator[Detected]:
    """Lines have the detections from the threshold on, COCO's results all of them."""
    names: list[str] = []
    with contextlib.closing(read_outputs(of.file)) as found:
        images = (Detected(name, select(rows, of.detection.score_threshold), tuple(of.classes)) for name, rows in found)
        for image in write_detection_table(table, images):
            names.append(image.path)
            yield image
    ids = of.image_ids or dict(zip(names, find_image_ids(names), strict=True))
    with contextlib.closing(read_outputs(of.file)) as found:
        numbered = ((ids[name], rows) for name, rows in found)
        write_coco_results(results, numbered, of.category_ids or number_categories(of.classes))


TABLES: dict[str, Callable[[Predicted], Tables | None]] = {
    "dnn": _tabulate_classes,
    "pde": _tabulate_classes,
    "obj": _tabulate_objects,
    "gan": lambda of: None,
}
