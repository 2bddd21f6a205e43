"""Data sets in a folder: label files, and images of given sizes."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from rayrml.data.box_labels import LabelOptions, make_boxes, read_labels
from rayrml.data.discovery import find_samples
from rayrml.data.readers.images import IMAGE_EXTENSIONS

HERE = Path(__file__).parent


def write_image(path, height, width, orientation=1, **options):
    """An image that is stored with this size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (width, height))
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    stream = io.BytesIO()
    image.save(stream, {".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower(), path.suffix[1:].upper()), **options)
    path.write_bytes(stream.getvalue())


class DataSet:
    """A folder with label files and images, and what is read from it."""

    def __init__(self, root):
        self.root = root

    def write(self, files, images=None):
        """Write texts or bytes, and images of (height, width) or (height, width, orientation)."""
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not isinstance(content, (str, bytes)):
                content = json.dumps(content)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for name, size in (images or {}).items():
            write_image(self.root / name, *size)
        return self

    def labels(self, input_path="images", **options):
        for key in ("target_path", "samples"):
            if options.get(key):
                options[key] = str(self.root / options[key])
        images = find_samples(str(self.root / input_path), IMAGE_EXTENSIONS, "neural_network.data.input_path")
        return read_labels(images, LabelOptions(**options))

    def boxes(self, input_path="images", *, known=None, **options):
        return make_boxes(self.labels(input_path, known=tuple(known or ()), **options), known)

    def of_image(self, input_path="images", **options):
        """Boxes by the names of images; the mistakes are raised."""
        labels = self.labels(input_path, **options)
        boxes = make_boxes(labels)
        boxes.refuse_bad()
        table = boxes.table
        return {
            name: [
                (int(table.classes[row]), *table.corners[row].round(9).tolist())
                for row in range(table.starts[image], table.starts[image + 1])
            ]
            for image, name in enumerate(labels.samples.names)
        }


@pytest.fixture
def data_set(tmp_path):
    return DataSet(tmp_path)
