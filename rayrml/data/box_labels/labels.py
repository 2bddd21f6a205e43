"""What label files say of images, before these are looked at: objects, classes, and sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rayrml.data.box_labels import coco
from rayrml.data.box_labels.label_files import NAMES, LabelFiles
from rayrml.data.box_labels.table import Rows
from rayrml.data.box_labels.text_files import place
from rayrml.data.discovery import Samples


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """The keys of a configuration that say where labels are and what they mean.

    Attributes:
        target_path: folder of label files or COCO's JSON file, None to look for them.
        box_format: "auto", "yolo", "coco" or "voc".
        box_origin: what VOC's first pixel is called, 0 or 1, or "auto".
        classes: class names in the order of the outputs, or the path of a file with them; None for those found.
        known: the classes of training, if these are labels of a test. YOLO's numbers mean them if no file names others.
        samples: path of a list of the images to use, None for all.
        skips: whether images that cannot be used are left out.
        prefix: JSON path of the section, with what the keys of a part begin with: `neural_network.data.test_`.
        section: JSON path of the section: `neural_network.data.`.
    """

    target_path: str | None = None
    box_format: Literal["auto", "yolo", "coco", "voc"] = "auto"
    box_origin: Literal["auto", 0, 1] = "auto"
    classes: Sequence[str] | str | None = None
    known: tuple[str, ...] = ()
    samples: str | None = None
    skips: bool = False
    prefix: str = "neural_network.data."
    section: str = "neural_network.data."

    @property
    def where(self) -> str:
        """JSON path of the key of the labels."""
        return f"{self.prefix}target_path"


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of N images.

    Attributes:
        samples: the images that are used, in the order of their names. `unreadable` has images that are named only.
        numbers: (N,) int64, their numbers among all images.
        files: the label files; `of_image` is by the images that are used.
        rows: the objects of the images, with the numbers of used images. Boxes of YOLO are shares of the size.
        names: the files' own classes, by code.
        are_named: whether classes have names; else these are their numbers.
        classes: the classes in the order of the outputs, for training.
        told_sizes: (N, 2) int64, height and width as the labels tell them; 0 where they do not.
        bad: what is wrong with the labels of some images.
        notes: what the log says of them.
        counts: how many images have labels (`labelled`) or none (`unlabelled`), and how many images and label files
            are not used (`unused_images`, `unused_files`).
        origin: what VOC's first pixel is called; 0 in other formats.
        named_by: the file that names the classes, "" if none does.
        document: COCO's file.
        image_ids: COCO's id of each image, as the file has it; () in other formats.
        category_ids: COCO's id of each class that it has, by name.
    """

    samples: Samples
    numbers: np.ndarray
    files: LabelFiles
    rows: Rows
    names: tuple[str, ...]
    are_named: bool
    classes: tuple[str, ...]
    told_sizes: np.ndarray
    bad: Mapping[int, str]
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    origin: int = 0
    named_by: str = ""
    document: coco.Document | None = None
    image_ids: tuple[Any, ...] = ()
    category_ids: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.samples)

    @property
    def format(self) -> str:
        """YOLO, COCO or VOC."""
        return NAMES[self.files.format]

    def take(self, images: np.ndarray | Sequence[int]) -> Labels:
        """Only these images (K,), in this order, each once, such as the part that is kept for the test."""
        chosen = np.asarray(images, np.int64)
        position = np.full(len(self), -1, np.int64)
        position[chosen] = np.arange(len(chosen))
        rows = self.rows.keep(position[self.rows.images] >= 0)
        rows = dataclasses.replace(rows, images=position[rows.images])
        files = self.files
        if self.document is None:
            files = dataclasses.replace(files, of_image=files.of_image[chosen])
        return dataclasses.replace(
            self,
            samples=self.samples.only(chosen.tolist()),
            numbers=self.numbers[chosen],
            files=files,
            rows=rows.keep(np.argsort(rows.images, kind="stable")),
            told_sizes=self.told_sizes[chosen],
            bad={int(position[image]): reason for image, reason in self.bad.items() if position[image] >= 0},
            image_ids=tuple(self.image_ids[image] for image in chosen) if self.document else (),
        )

    def category_ids_of(self, classes: Sequence[str]) -> tuple[Any, ...]:
        """COCO's id of each of these classes; () in other formats.

        Those that it does not have get the numbers after its largest one, or their names if its ids are texts.
        """
        if self.document is None:
            return ()
        numbers = [int(one) for one in self.category_ids.values() if coco.is_number(one)]
        lacking = [name for name in classes if name not in self.category_ids]
        free: Sequence[Any] = range(max(numbers) + 1, max(numbers) + 1 + len(lacking)) if numbers else lacking
        ids = {**self.category_ids, **dict(zip(lacking, free, strict=True))}
        return tuple(ids[name] for name in classes)

    def place_of_image(self, image: int, message: str) -> str:
        """A mistake of an image's labels, with the place where they are."""
        if self.document is not None:
            return place(self.document.path, f"'{self.samples.name(image)}': {message}")
        return place(self.files.path(image), message)

    def place_of_row(self, row: int, message: str) -> str:
        """A mistake of one object, with its place."""
        image, number = int(self.rows.images[row]), int(self.rows.objects[row])
        if self.document is not None:
            called = coco.name_object(self.document, number)
            return place(self.document.path, f"{called} of '{self.samples.name(image)}': {message}")
        unit = "line" if self.files.format == "yolo" else "object"
        return place(self.files.path(image), f"{unit} {number}: {message}")
