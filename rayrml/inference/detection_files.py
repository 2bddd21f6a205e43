"""Files of detected objects: numbers in HDF5, a table, and the results of COCO for other programs."""

from __future__ import annotations

import collections
import csv
import io
import json
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rayrml import storage
from rayrml.errors import explaining
from rayrml.inference.prediction_files import PredictionFile
from rayrml.storage.paths import split

COLUMNS = ("xmin", "ymin", "xmax", "ymax", "score", "class")  # of detections (D, 6), the corners in pixels
_HEADINGS = ("path", "class", "score", *COLUMNS[:4])
_MOST_DIGITS = 18  # of a number that every program reads as an integer
_HISSING = ("ss", "us", "x", "ch", "sh")  # endings of English words whose plural has `es`


class Detected(NamedTuple):
    """What was found in an image.

    Attributes:
        path: the sample's name, which is also its dataset's.
        detections: (D, 6) xmin, ymin, xmax, ymax, score, class index; the best first.
        classes: their names, in the order of the indices.
    """

    path: str
    detections: np.ndarray
    classes: tuple[str, ...]

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The cells of its lines in the table: one for each detection, or one without any."""
        found = [
            (self.path, self._name(int(row[5])), f"{row[4]:.6g}", *(f"{corner:.7g}" for corner in row[:4]))
            for row in self.detections.tolist()
        ]
        return found or [(self.path, *[""] * (len(_HEADINGS) - 1))]

    @property
    def cells(self) -> dict[str, str]:
        """What was found, in two cells by heading."""
        return {"path": self.path, "objects": self.brief["Objects"]}

    @property
    def brief(self) -> dict[str, str]:
        """The cells of its line on the screen, by heading: `2 cats, 1 dog`."""
        counts = sorted(collections.Counter(self.detections[:, 5].astype(int).tolist()).items())
        counts.sort(key=lambda pair: -pair[1])
        shown = [f"{count:,} {_plural(self._name(number), count)}" for number, count in counts]
        return {"Path": self.path, "Objects": ", ".join(shown) or "none"}

    @property
    def counted(self) -> tuple[str, ...]:
        """What is counted in the summary of many samples: each detection."""
        return tuple(map(self._name, self.detections[:, 5].astype(int).tolist()))

    def _name(self, number: int) -> str:
        return self.classes[number] if number < len(self.classes) else str(number)


class DetectionFile:
    """An HDF5 file with a dataset (D, 6) float32 for each image, which appears under its name once it is complete."""

    def __init__(self, path: str | Path, classes: Sequence[str]):
        self._file = PredictionFile(path, classes, columns=COLUMNS)

    def write(self, names: Sequence[str], detections: Sequence[np.ndarray]) -> None:
        """Add images and what was found in each (D, 6). Raises DataError if that fails."""
        self._file.write_rows(names, detections)

    def close(self) -> None:
        """Finish the file and move it to its place."""
        self._file.close()

    def discard(self) -> None:
        """Remove the file, unless it is in its place already."""
        self._file.discard()


def select(detections: np.ndarray, score_threshold: float) -> np.ndarray:
    """The detections (D, 6) with this score or more."""
    return detections[detections[:, 4] >= score_threshold]


def write_detection_table(path: str | Path, images: Iterable[Detected]) -> Iterator[Detected]:
    """Write a table with a line for each detection, and yield each image once it is written; must be exhausted.

    The columns are `path`, `class`, `score`, `xmin`, `ymin`, `xmax`, `ymax`. An image without detections has one line.

    Raises:
        DataError: the file cannot be written.
    """
    with explaining(path, "cannot be written"), storage.Unfinished(path) as file:
        file.write(_lines([_HEADINGS]))
        for image in images:
            file.write(_lines(image.lines))
            yield image
        file.commit()


def write_coco_results(
    path: str | Path, images: Iterable[tuple[int | str, np.ndarray]], category_ids: Sequence[int | str]
) -> None:
    """Write detections as COCO's results, which `pycocotools.coco.COCO.loadRes` takes.

    Args:
        path: of the file.
        images: the id of each image, and what was found in it (D, 6).
        category_ids: the id of each class.

    Raises:
        DataError: the file cannot be written.
    """
    ids = [json.dumps(own) for own in category_ids]
    with explaining(path, "cannot be written"), storage.Unfinished(path) as file:
        file.write(b"[")
        start = "\n"
        for image_id, detections in images:
            if len(detections):
                file.write((start + ",\n".join(_results(image_id, detections, ids))).encode())
                start = ",\n"
        file.write(b"\n]\n")
        file.commit()


def find_image_ids(names: Sequence[str]) -> list[int | str]:
    """The ids of images that no JSON gives one: the number that a file is named by, otherwise its whole name.

    Names whose numbers are equal, such as `a/1.jpg` and `b/01.jpg`, are their own ids.
    """
    stems = [posixpath.splitext(split(name)[1])[0] for name in names]
    numbers = [int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= _MOST_DIGITS else None for stem in stems]
    counts = collections.Counter(numbers)
    return [
        name if number is None or counts[number] > 1 else number for name, number in zip(names, numbers, strict=True)
    ]


def number_categories(classes: Sequence[str]) -> list[int]:
    """The ids of classes that no JSON gives one: 1, 2, ..."""
    return list(range(1, len(classes) + 1))


def _results(image_id: int | str, detections: np.ndarray, categories: Sequence[str]) -> list[str]:
    """A JSON object for each detection; numbers have all of their digits, so that nothing is rounded."""
    exact = detections.astype(np.float64)
    sizes = exact[:, 2:4] - exact[:, :2]
    rows = np.concatenate([exact[:, :2], sizes, exact[:, 4:5]], 1).tolist()
    image = json.dumps(image_id)
    categories = [f'{{"image_id": {image}, "category_id": {own}' for own in categories]
    return [
        f'{categories[number]}, "bbox": [{x!r}, {y!r}, {w!r}, {h!r}], "score": {score!r}}}'
        for number, (x, y, w, h, score) in zip(exact[:, 5].astype(int).tolist(), rows, strict=True)
    ]


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


def _plural(name: str, count: int) -> str:
    """What several objects of a class are called, if its name is an English word in the singular."""
    if count == 1 or not (name[-1:].isascii() and name[-1:].isalpha()):
        return name
    if name.endswith(_HISSING):
        return f"{name}es"
    return name if name.endswith("s") else f"{name}s"
