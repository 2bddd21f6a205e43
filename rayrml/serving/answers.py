"""What a sample's outputs stand for, in JSON's own types: classes, labels, numbers, boxes, a mask, or the outputs."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from rayrml.config.detection import Detection
from rayrml.data.readers.images import read_header
from rayrml.inference.class_table import Classified, Tabulator
from rayrml.inference.detection_files import select
from rayrml.inference.pictures import Drawing, encode_mask
from rayrml.inference.value_table import Labelled, Measured

_COMPRESSION = 2  # of PNG, as in the files of predictions


@dataclasses.dataclass(frozen=True)
class Answering:
    """Makes answers of outputs.

    Attributes:
        table: makes lines of outputs that are numbers, as in `predictions.csv`.
        classes: their names, () if unknown.
        detection: the section of that name, None for networks that find no objects.
        drawing: how outputs become pictures, None if they do not.
    """

    table: Tabulator
    classes: tuple[str, ...]
    detection: Detection | None
    drawing: Drawing | None

    def __call__(self, path: str, output: np.ndarray) -> dict[str, Any]:
        """The answer for a sample.

        Args:
            path: of its file, whose size pictures have.
            output: as in a file of predictions: (K,), (C, *spatial), or (D, 6) of detections.
        """
        if self.detection is not None:
            return {"boxes": self._boxes(select(output, self.detection.score_threshold))}
        if self.drawing is not None:
            return self._picture(self.drawing, path, output)
        if self.table.applies(output.shape):
            return _describe_row(self.table.row("", output))
        return {"output": to_json(output)}

    def _boxes(self, rows: np.ndarray) -> list[dict[str, Any]]:
        return [
            {"class": self._name(int(row[5])), "score": finite(row[4]), "box": [finite(corner) for corner in row[:4]]}
            for row in rows.tolist()
        ]

    def _name(self, number: int) -> str:
        return self.classes[number] if number < len(self.classes) else str(number)

    def _picture(self, drawing: Drawing, path: str, output: np.ndarray) -> dict[str, Any]:
        size = read_header(path).size
        if drawing.kind == "pixels":
            return {"image": _to_png(drawing.image(output, size))}
        mask = drawing.mask(output, size)
        numbers, counts = np.unique(mask, return_counts=True)
        pixels = {
            "not predicted" if number == drawing.unknown else self._name(number): count
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
        }
        return {"mask": _to_png(encode_mask(mask)), "pixels": pixels}


def _describe_row(row: Any) -> dict[str, Any]:
    """The line of a table, with all digits of its numbers."""
    match row:
        case Classified():
            pairs = zip(row.classes, row.probabilities, strict=True)
            return {"classes": [{"class": name, "probability": finite(p)} for name, p in pairs]}
        case Labelled():
            pairs = zip(row.classes, row.probabilities, strict=True)
            return {"labels": list(row.labels), "probabilities": {name: finite(p) for name, p in pairs}}
        case Measured():
            return {"numbers": {name: finite(v) for name, v in zip(row.columns, row.values, strict=True)}}
    raise TypeError(f"rows of the type {type(row).__name__} are not known")


def to_json(values: np.ndarray) -> Any:
    """An array as lists of numbers with all of their digits; what is not finite becomes null."""
    found = np.asarray(values)
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        return _replace(found.tolist())
    return found.tolist()


def _replace(value: Any) -> Any:
    return [_replace(inner) for inner in value] if isinstance(value, list) else finite(value)


def finite(value: float) -> float | None:
    """The number, None if JSON has none for it."""
    return value if math.isfinite(value) else None


def list_kinds(answer: Mapping[str, Any]) -> Sequence[str]:
    """What an answer has, for people who ask what a server answers."""
    return [key for key in ("classes", "labels", "numbers", "boxes", "mask", "image", "output") if key in answer]


def _to_png(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=_COMPRESSION)
    return base64.b64encode(content.getvalue()).decode("ascii")
