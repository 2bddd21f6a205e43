"""Targets that are boxes: the label files of each part, and what is said of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from rayrml.config.sections import Data
from rayrml.data.box_labels import BoxTable, LabelledBoxes, LabelOptions, make_boxes, read_labels
from rayrml.data.box_labels.class_names import check_names, read_names
from rayrml.data.discovery import Samples
from rayrml.data.reader_keys import DATA
from rayrml.data.readers.image_sizes import read_sizes
from rayrml.errors import MOST_NAMED, ConfigError, DataError, Problem
from rayrml.formatting import shorten
from rayrml.planning.table_targets import PREFIXES, Part


class BoxTargets:
    """The boxes of a configuration's images; without any, nothing happens.

    Args:
        data: the section `data`.

    Attributes:
        notes: sentences for the log: which labels were found, and what was left out.
        found: what the label files of each part say.
    """

    def __init__(self, data: Data):
        self._data = data
        self.notes: list[str] = []
        self.found: dict[Part, LabelledBoxes] = {}

    def read_names(self, known: Sequence[str]) -> tuple[str, ...]:
        """The classes that the configuration names in the order of the outputs, () if it names none.

        Args:
            known: those of the checkpoint that is loaded, () without one.

        Raises:
            ConfigError: nothing is trained, and the checkpoint's network finds others.
            DataError: they cannot be read, or are no names.
        """
        given, where = self._data.classes, f"{DATA}.classes"
        if given is None:
            return ()
        names = read_names(given, where) if isinstance(given, str) else check_names(given, where)
        if known and not self._data.trains and names != tuple(known):
            message = f"are not those that the checkpoint's network finds, in their order: {shorten(known)}"
            raise ConfigError(Problem(where, f"{message}. Expected these, or no such key"))
        return names

    def label(self, images: Samples, part: Part, classes: Sequence[str] | None) -> Samples:
        """The images of the part that are used, with their boxes.

        Args:
            images: all of a folder.
            part: what they are for.
            classes: the names in the order of the network's outputs, None to find them.

        Raises:
            ConfigError, DataError: the labels, or the images that they belong to, have mistakes.
        """
        labels = read_labels(images, self._options(part, classes))
        boxes = make_boxes(labels, classes)
        if not self._data.skips:
            boxes.refuse_bad()
        self._remember(part, [*labels.notes, *boxes.notes])
        self.found[part] = boxes
        used = dataclasses.replace(labels.samples, boxes=boxes.table, image_ids=boxes.image_ids, classes=boxes.classes)
        good = [number for number in range(len(used)) if number not in boxes.bad]
        if not good:
            boxes.refuse_bad()
        if boxes.bad:
            used = used.only(good, [boxes.bad[number] for number in sorted(boxes.bad)])
        # Of a share that is kept for the test, those are told that cannot be used in training.
        return dataclasses.replace(used, unreadable=()) if self._is_share(part) else used

    def measure(self, images: Samples) -> Samples:
        """Images without boxes, whose sizes are known. Raises DataError if they cannot be read."""
        found = read_sizes([images.path(number) for number in range(len(images))])
        bad = {number: size for number, size in enumerate(found) if isinstance(size, str)}
        if bad and (len(bad) == len(images) or not self._data.skips):
            raise DataError(*(Problem("", reason) for reason in list(bad.values())[:MOST_NAMED]))
        sizes = np.array([(1, 1) if isinstance(size, str) else size[:2] for size in found], np.int32).reshape(-1, 2)
        none, starts = np.empty((0, 4)), np.zeros(len(images) + 1, np.int64)
        table = BoxTable(none, none[:, 0].astype(np.int32), none[:, 0].astype(bool), starts, sizes)
        measured = dataclasses.replace(images, boxes=table)
        good = [number for number in range(len(images)) if number not in bad]
        return measured.only(good, [*bad.values()]) if bad else measured

    @property
    def category_ids(self) -> tuple[Any, ...]:
        """COCO's id of each class, () without them."""
        return next((found.category_ids for found in self.found.values()), ())

    def _options(self, part: Part, classes: Sequence[str] | None) -> LabelOptions:
        data, prefix = self._data, "" if self._is_share(part) else PREFIXES[part]
        return LabelOptions(
            target_path=getattr(data, f"{prefix}target_path"),
            box_format=data.box_format,
            box_origin=data.box_origin,
            classes=data.classes,
            known=tuple(classes or ()),
            samples=getattr(data, f"{prefix}samples", None),
            skips=data.skips,
            prefix=f"{DATA}.{prefix}",
            section=f"{DATA}.",
        )

    def _remember(self, part: Part, notes: Sequence[str]) -> None:
        if self._is_share(part):
            return  # they are told of all images, with training
        several = self._data.tests and self._data.trains
        called = "Training and test" if part == "training" and self._data.test_share is not None else part.capitalize()
        self.notes += [f"{called}: {note}" if several else note for note in notes]

    def _is_share(self, part: Part) -> bool:
        """Whether the part is a share of the images of training."""
        return part == "test" and self._data.test_share is not None
