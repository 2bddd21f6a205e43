"""Files of pictures: for each sample a mask and an overlay, or one image, drawn by threads of one process."""

from __future__ import annotations

import collections
import csv
import io
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from PIL import Image

from rayrml import storage
from rayrml.cpus import count_cpus
from rayrml.data.readers.images import read_shown
from rayrml.errors import explaining
from rayrml.inference.box_pictures import BoxDrawing
from rayrml.inference.palette import UNKNOWN, colors_of
from rayrml.inference.picture_destination import BOXES, CLASSES, IMAGES, MASKS, OVERLAYS, PictureDestination
from rayrml.inference.pictures import Drawing, draw_overlay, encode_mask
from rayrml.inference.sample_grid import SampleDrawing

_JPEG = (OVERLAYS, BOXES)  # kinds of pictures that are photos, mostly; the others are PNG
_QUALITY = 90  # of JPEG
_COMPRESSION = 2  # of PNG; masks take half the time of level 4, and a fifth more space
_AHEAD = 2  # samples per thread that wait for it: outputs are large
_SUBSAMPLING_NONE = 0  # colors as sharp as brightness


class PictureFiles:
    """Pictures that appear one by one, each once it is complete; the table of classes appears when it is closed."""

    def __init__(self, destination: PictureDestination):
        self._destination = destination
        self._drawing = destination.drawing
        names = destination.samples.names
        self._png, self._jpg = name_pictures(names, ".png"), name_pictures(names, ".jpg")
        self._threads = ThreadPoolExecutor(count_cpus(), thread_name_prefix="pictures")
        self._pending: deque[Future[None]] = deque()
        self._counts: collections.Counter[int] = collections.Counter()
        self._cleaned: set[str] = set()
        self._lock = threading.Lock()

    def write(self, indices: np.ndarray, outputs: np.ndarray | Sequence[np.ndarray]) -> None:
        """Draw `outputs`, (n, C, H, W) or n tables of detections, which belong to the samples at `indices` (n,).

        Raises:
            DataError: these or earlier ones cannot be written.
        """
        for index, output in zip(indices.tolist(), outputs, strict=True):
            self._pending.append(self._threads.submit(self._draw, index, output))
            while len(self._pending) > _AHEAD * count_cpus():
                self._pending.popleft().result()

    def close(self) -> None:
        """Wait for all pictures, and write the table of classes. Raises DataError if one of them cannot be written."""
        while self._pending:
            self._pending.popleft().result()
        self._threads.shutdown()
        if isinstance(self._drawing, Drawing) and self._drawing.kind == "masks":
            path = self._destination.paths[CLASSES]
            with explaining(path, "cannot be written"):
                storage.write(path, self._table(self._drawing))

    def discard(self) -> None:
        """Draw no more; pictures that are complete stay."""
        self._threads.shutdown(cancel_futures=True)
        self._pending.clear()

    def _draw(self, index: int, output: np.ndarray) -> None:
        samples, drawing = self._destination.samples, self._drawing
        if isinstance(drawing, SampleDrawing):
            self._save(IMAGES, self._png[index], drawing.picture(output))
            return
        image = self._image(samples.path(index))
        size = image.shape[1:]
        if isinstance(drawing, BoxDrawing):
            truths = None if samples.boxes is None else samples.boxes.select([index])
            self._save(BOXES, self._jpg[index], drawing.picture(image.transpose(1, 2, 0), output, truths))
            return
        if drawing.kind == "pixels":
            self._save(IMAGES, self._png[index], drawing.image(output, size))
            return
        mask = drawing.mask(output, size)
        picture = encode_mask(mask)
        self._save(MASKS, self._png[index], picture)
        overlay = draw_overlay(image.transpose(1, 2, 0), mask, drawing.unknown)
        self._save(OVERLAYS, self._jpg[index], overlay)
        with self._lock:
            self._counts.update(_count_classes(mask, picture))

    def _image(self, path: str) -> np.ndarray:
        """The image (3, H, W) uint8 that was read, upright."""
        return read_shown(path)

    def _save(self, kind: str, name: str, picture: Image.Image) -> None:
        content = io.BytesIO()
        if kind in _JPEG:
            picture.save(content, "JPEG", quality=_QUALITY, subsampling=_SUBSAMPLING_NONE)
        else:
            picture.save(content, "PNG", compress_level=_COMPRESSION)
        path = storage.join(self._destination.paths[kind], *name.split("/"))
        with explaining(path, "cannot be written"):
            self._clean(storage.parent(path))
            with storage.Unfinished(path, cleans=False) as file:
                file.write(content.getbuffer())
                file.commit()

    def _clean(self, folder: str) -> None:
        """Remove what an interrupted run left in the folder, once."""
        with self._lock:
            known = folder in self._cleaned
            self._cleaned.add(folder)
        if not known:
            storage.remove_abandoned(folder)

    def _table(self, drawing: Drawing) -> bytes:
        """The classes with their colors, and how many pixels of all masks each has."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("class", "name", "color", "pixels", "share"))
        total = sum(self._counts.values()) or 1
        colors = colors_of(np.arange(drawing.num_classes)).tolist()
        named = drawing.classes if len(drawing.classes) == drawing.num_classes else [""] * drawing.num_classes
        rows = [(i, name, color) for i, (name, color) in enumerate(zip(named, colors, strict=True))]
        if self._counts[drawing.unknown]:
            rows.append((drawing.unknown, "not predicted", list(UNKNOWN)))
        for number, name, color in rows:
            count = self._counts[number]
            table.writerow((number, name, "#{:02x}{:02x}{:02x}".format(*color), count, f"{count / total:.6g}"))
        return text.getvalue().encode(errors="surrogateescape")


def _count_classes(mask: np.ndarray, picture: Image.Image) -> dict[int, int]:
    """How many pixels each class of a mask has, which is also given as a picture: Pillow counts bytes much faster."""
    if mask.dtype == np.uint8:
        return {number: count for number, count in enumerate(picture.histogram()) if count}
    numbers, counts = np.unique(mask, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def name_pictures(names: Sequence[str], ending: str) -> list[str]:
    """A file name for each sample: its own with another ending, or followed by it where that is not unique."""
    stems = [_stem(name) for name in names]
    counts = collections.Counter(stems)
    found = [name + ending if counts[stem] > 1 else stem + ending for name, stem in zip(names, stems, strict=True)]
    # `a.jpg` and `a.png` become `a.jpg.png` and `a.png.png`; so does `a.jpg.tif`.
    folders = {name.rpartition("/")[0] for name in found}
    unique = len(set(found)) == len(found) and folders.isdisjoint(found)
    return found if unique else [name + ending for name in names]


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"
