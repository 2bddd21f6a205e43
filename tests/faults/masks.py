"""Images with masks whose right class numbers are known, stored in the ways of many tools."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.faults.samples import SIZE, Made, layer, make, shade, spoil


def make_masks(r: random.Random) -> Made:
    """Images with masks of class numbers, of which all or one are stored or valued in another way."""
    count, classes = r.randrange(5, 9), r.choice([2, 2, 3])
    ignored = r.choice([None, None, 255, -100])
    for name in ("images", "masks"):
        Path(name).mkdir()
    rights: dict[int, Any] = {}
    skips = r.random() < 0.3
    form, odd = r.choice(_FORMS) if r.random() < 0.8 else _plain, r.choice([None, 0, count // 2, count - 1])
    numbers_of = np.random.default_rng(r.getrandbits(32))
    for number in range(1, count + 1):
        shade(number).save(f"images/{number}.png")
        labels = numbers_of.integers(0, classes, (SIZE, SIZE))
        labels.flat[:classes] = range(classes)
        chosen = form if odd in (None, number - 1) else _plain
        rights[number] = chosen(labels, Path(f"masks/{number}.png"), classes, ignored)
    layers = [
        layer("InputLayer", name="x", batch_input_shape=[None, SIZE, SIZE, 1]),
        layer("Conv2D", name="c", filters=classes, kernel_size=1),
    ]
    data: dict[str, Any] = {"type": "images", "input_path": "images", "target_path": "masks", "grayscale": True}
    data |= {"on_bad_sample": "skip"} if skips else {}
    data |= {"preload": True} if r.random() < 0.3 else {}
    data |= {"test_share": 0.3} if r.random() < 0.3 else {}
    loss = {"function": "CrossEntropy", **({} if ignored is None else {"ignore_index": ignored})}
    changes = [form.__name__, f"at {odd}", f"ignored {ignored}", f"{classes} classes"] if form is not _plain else []
    made = make(layers, data, loss, rights, skips=skips, changes=changes)
    if r.random() < 0.2:
        spoil(r, sorted(Path(r.choice(["images", "masks"])).iterdir()), made)
    return made


Form = Callable[[np.ndarray, Path, int, int | None], np.ndarray | None]


def _save(values: np.ndarray, path: Path, dtype: type, mode: str | None = None) -> None:
    Image.fromarray(values.astype(dtype), mode).save(path)


def _plain(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    _save(labels, path, np.uint8)
    return labels


def _palette(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    image = Image.fromarray(labels.astype(np.uint8), "P")
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(path)
    return labels


def _deep(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    _save(labels, path, np.uint16)
    return labels


def _white(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    stored = np.where(labels > 0, 255, 0)
    _save(stored, path, np.uint8)
    if ignored == 255:
        return stored
    return (labels > 0).astype(int) if classes == 2 else None


def _shades(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    stored = labels * 100 + 3
    _save(stored, path, np.uint8)
    return None


def _one_wrong(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    stored = labels.copy()
    stored[-1, -1] = classes
    _save(stored, path, np.uint8)
    return None


def _unlabelled(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    stored = labels.copy()
    stored[-1, -1] = 255
    _save(stored, path, np.uint8)
    return stored if ignored == 255 else None


def _deep_white(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    _save(np.where(labels > 0, 65535, 0), path, np.uint16)
    return None


def _colored(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    _save(np.stack([labels * 90, labels * 0, labels * 0], -1), path, np.uint8)
    return None


def _gray_colors(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    _save(np.stack([labels] * 3, -1), path, np.uint8)
    return labels


def _transparent(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    _save(np.stack([labels, labels * 0 + 255], -1), path, np.uint8)
    return labels


def _bits(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
    Image.fromarray(labels > 0).save(path)
    return (labels > 0).astype(int)


def _floats(extra: float | None) -> Form:
    def form(labels: np.ndarray, path: Path, classes: int, ignored: int | None) -> np.ndarray | None:
        stored = labels.astype(np.float32)
        if extra is not None:
            stored[-1, -1] = extra
        # The name says something else than the content.
        Image.fromarray(stored).save(path, "TIFF")
        return stored.astype(int) if extra is None or extra == ignored else None

    form.__name__ = f"floats with {extra}"
    return form


_FORMS: list[Form] = [
    _palette, _deep, _white, _white, _shades, _one_wrong, _unlabelled, _unlabelled, _deep_white, _colored,
    _gray_colors, _transparent, _bits, _floats(None), _floats(float("nan")), _floats(-100.0), _floats(0.5),
    _floats(float("inf")), _floats(-1.0), _floats(1e30),
]  # fmt: skip
