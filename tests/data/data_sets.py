"""Data sets in Parquet files, as Hugging Face's library writes them.

`python -m tests.data.data_sets DIGITS.npz FOLDER` writes one of digits, which the guide unpacks.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image(number: int, *, kind: str = "PNG") -> bytes:
    """A small image of one colour for each number."""
    file = io.BytesIO()
    Image.new("RGB", (12, 10), (number * 37 % 256, number * 91 % 256, 40)).save(file, kind)
    return file.getvalue()


def write_rows(
    path: Path,
    columns: Mapping[str, Any],
    *,
    images: Mapping[str, Sequence[tuple[bytes | None, str | None]]],
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a file of rows, several row groups of them, with columns of images and others."""
    arrays = {
        name: pa.array([{"bytes": content, "path": place} for content, place in rows], _IMAGE)
        for name, rows in images.items()
    }
    table = pa.table({**arrays, **{name: pa.array(values) for name, values in columns.items()}})
    features = {name: {"_type": "Image"} for name in images}
    features |= {name: {"_type": "ClassLabel", "names": list(names)} for name, names in (class_names or {}).items()}
    described = json.dumps({"info": {"features": features}})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata({"huggingface": described}), path, row_group_size=3)


def write_digits(source: Path, folder: Path) -> None:
    """Write the digits of a file of arrays, those to train on in two files."""
    names = {"label": [str(digit) for digit in range(10)]}
    with np.load(source) as arrays:
        for part, files in (("train", 2), ("test", 1)):
            parts = (np.array_split(arrays[f"{part}_{kind}"], files) for kind in ("images", "labels"))
            for number, (pixels, labels) in enumerate(zip(*parts, strict=True)):
                images = [(_png(digit), None) for digit in pixels]
                path = folder / "mnist" / f"{part}-{number:05}-of-{files:05}.parquet"
                write_rows(path, {"label": labels.tolist()}, images={"image": images}, class_names=names)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.reshape(28, 28)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    write_digits(Path(sys.argv[1]), Path(sys.argv[2]))
