"""Draws circles, squares and triangles on noisy ground, with a box around each, and the boxes in three formats.

images/{train,test}/*.jpg
labels/{train,test}/*.txt and data.yaml   as YOLO has them
annotations/{train,test}.json             as COCO has them
voc/{train,test}/*.xml                    as Pascal VOC has them
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 128
KINDS = ("circle", "square", "triangle")
SHARES = {0: 0.05, 1: 0.25, 2: 0.3, 3: 0.25, 4: 0.15}  # of the images, by the number of their shapes
TRIES = 20  # to find room for a shape


def ground(random):
    """Two colors that run into each other, with spots and noise: (SIDE, SIDE, 3) float64."""
    first, second = random.uniform(30, 225, (2, 3))
    angle = random.uniform(0, 2 * np.pi)
    along = np.arange(SIDE) / SIDE - 0.5
    share = (along * np.cos(angle) + along[:, None] * np.sin(angle) + 0.71) / 1.42
    spots = np.kron(random.normal(0, 18, (16, 16, 3)), np.ones((SIDE // 16, SIDE // 16, 1)))
    return first + (second - first) * share[:, :, None] + spots + random.normal(0, 12, (SIDE, SIDE, 3))


def propose(random):
    """A kind, and a box (xmin, ymin, xmax, ymax) in whole pixels: small ones are as frequent as large ones."""
    kind = int(random.integers(len(KINDS)))
    width = round(np.exp(random.uniform(np.log(12), np.log(60))))
    height = min(max(round(width * np.exp(random.uniform(-0.5, 0.5))), 10), 64)
    left, top = (int(random.integers(0, SIDE - length + 1)) for length in (width, height))
    return kind, np.array([left, top, left + width, top + height])


def overlap(box, other):
    """Intersection over union."""
    sizes = [own[2:] - own[:2] for own in (box, other)]
    shared = np.clip(np.minimum(box, other)[2:] - np.maximum(box, other)[:2], 0, None).prod()
    return shared / (sizes[0].prod() + sizes[1].prod() - shared)


def outline(kind, box):
    """The pixels whose centers are inside a shape that fills the box: (SIDE, SIDE) bool."""
    x, y = ((np.arange(SIDE) + 0.5 - start) / (end - start) for start, end in zip(box[:2], box[2:], strict=True))
    x, y = np.meshgrid(x, y)
    filled = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    if KINDS[kind] == "circle":
        filled &= (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25
    elif KINDS[kind] == "triangle":
        filled &= np.abs(x - 0.5) <= y / 2
    return filled


def contrast(random, around):
    """A color that differs from the one around it."""
    while True:
        color = random.uniform(0, 255, 3)
        if np.abs(color - around).mean() >= 50:
            return color


def scene(random):
    """An image (SIDE, SIDE, 3) uint8, and the kind and the box (xmin, ymin, xmax, ymax) of each shape in it."""
    image, shapes = ground(random), []
    for _ in range(random.choice(list(SHARES), p=list(SHARES.values()))):
        proposals = (propose(random) for _ in range(TRIES))
        free = (
            (kind, box) for kind, box in proposals if all(overlap(box, np.array(other)) < 0.1 for _, other in shapes)
        )
        kind, box = next(free, (None, None))
        if kind is None:
            continue
        pixels = outline(kind, box)
        left, top, right, bottom = box
        color = contrast(random, image[top:bottom, left:right].mean((0, 1)))
        image[pixels] = color + random.normal(0, 10, (pixels.sum(), 3))
        rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
        shapes.append((kind, [int(n) for n in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]))
    return np.clip(np.round(image), 0, 255).astype(np.uint8), shapes


def yolo(shapes):
    """A line for each shape: its kind, then center and size as shares of the image."""
    lines = ""
    for kind, (xmin, ymin, xmax, ymax) in shapes:
        numbers = ((xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin)
        lines += f"{kind} {' '.join(f'{number / SIDE:.8f}' for number in numbers)}\n"
    return lines


def voc(name, shapes):
    """An XML document, in which the first pixel is number 1."""
    found = ""
    for kind, (xmin, ymin, xmax, ymax) in shapes:
        corners = f"<xmin>{xmin + 1}</xmin><ymin>{ymin + 1}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
        found += f"<object><name>{KINDS[kind]}</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>"
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}{found}</annotation>\n"


def coco(scenes):
    """A document of all images. `scenes`: their names, numbers and shapes."""
    images, boxes = [], []
    for name, number, shapes in scenes:
        images.append({"id": number, "file_name": f"{name}.jpg", "width": SIDE, "height": SIDE})
        for kind, (xmin, ymin, xmax, ymax) in shapes:
            width, height = xmax - xmin, ymax - ymin
            box = {"id": len(boxes) + 1, "image_id": number, "category_id": kind + 1}
            boxes.append({**box, "bbox": [xmin, ymin, width, height], "area": width * height, "iscrowd": 0})
    categories = [{"id": number, "name": name} for number, name in enumerate(KINDS, 1)]
    return json.dumps({"images": images, "annotations": boxes, "categories": categories})


def main():
    """Write all images and labels."""
    parser = argparse.ArgumentParser(description="Draw images of shapes, and label files with a box around each.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("shapes"), help="where to (default: shapes)")
    parser.add_argument("--images", type=int, default=400, help="number of images, of which a fifth is for the test")
    parser.add_argument("--seed", type=int, default=0, help="other seeds draw other images (default: 0)")
    arguments = parser.parse_args()
    root, training = arguments.folder, arguments.images * 4 // 5
    for part, numbers in (("train", range(training)), ("test", range(training, arguments.images))):
        folders = [root / kind / part for kind in ("images", "labels", "voc")]
        for folder in (*folders, root / "annotations"):
            folder.mkdir(parents=True, exist_ok=True)
        images, labels, documents = folders
        scenes = []
        for number in numbers:
            name, (pixels, shapes) = f"{number:04}", scene(np.random.default_rng([arguments.seed, number]))
            Image.fromarray(pixels).save(images / f"{name}.jpg", quality=92)
            (labels / f"{name}.txt").write_text(yolo(shapes))
            (documents / f"{name}.xml").write_text(voc(name, shapes))
            scenes.append((name, number + 1, shapes))
        (root / "annotations" / f"{part}.json").write_text(coco(scenes))
        print(f"{len(numbers)} images in {images}, {sum(len(shapes) for *_, shapes in scenes)} boxes in {labels}")
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(KINDS))
    (root / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/test\nnames:\n{names}")


if __name__ == "__main__":
    main()
