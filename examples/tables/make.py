"""Draws images of shapes, and two tables about them: which shapes each image shows, and numbers of one shape.

objects/*.png and objects.csv   file, shapes ("circle;square", or nothing), split
blobs/*.png and blobs.csv       file, x and y of the centre and area in percent of the image, split
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = 32
KINDS = ("circle", "square", "triangle")


def draw(pen, kind, x, y, half):
    """A shape with its centre at (x, y)."""
    color = tuple(int(value) for value in RNG.integers(120, 256, 3))
    if kind == "circle":
        pen.ellipse([x - half, y - half, x + half, y + half], fill=color)
    elif kind == "square":
        pen.rectangle([x - half, y - half, x + half, y + half], fill=color)
    else:
        pen.polygon([(x - half, y + half), (x + half, y + half), (x, y - half)], fill=color)


def ground():
    """A dark, noisy image."""
    return Image.fromarray(RNG.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8))


def objects():
    """An image of up to one shape of each kind, and the kinds."""
    image, kinds = ground(), [kind for kind in KINDS if RNG.random() < 0.5]
    places = RNG.permutation([(8, 8), (24, 8), (8, 24), (24, 24)])
    for kind, (x, y) in zip(kinds, places, strict=False):
        draw(ImageDraw.Draw(image), kind, int(x), int(y), int(RNG.integers(4, 8)))
    return image, [";".join(kinds)]


def blobs():
    """An image of an ellipse, the place of its centre, and its area."""
    image, (width, height) = ground(), RNG.uniform(4, 11, 2)
    x, y = RNG.uniform(11, SIZE - 11, 2)
    color = tuple(int(value) for value in RNG.integers(150, 256, 3))
    ImageDraw.Draw(image).ellipse([x - width, y - height, x + width, y + height], fill=color)
    numbers = (x / SIZE, y / SIZE, np.pi * width * height / SIZE**2)
    return image, [f"{100 * number:.1f}" for number in numbers]


def main():
    """Write all images and tables into the current folder."""
    parser = argparse.ArgumentParser(description="Draw images of shapes, with tables of labels and of numbers.")
    parser.add_argument("--images", type=int, default=2000, help="number of images of each data set")
    count = parser.parse_args().images
    for name, make, columns in (("objects", objects, ["shapes"]), ("blobs", blobs, ["x", "y", "area"])):
        Path(name).mkdir(exist_ok=True)
        with Path(f"{name}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", *columns, "split"])
            for number in range(count):
                image, values = make()
                image.save(Path(name, f"{number:04}.png"))
                table.writerow([f"{number:04}.png", *values, "val" if number % 5 == 0 else "train"])
        print(f"{count} images in {name}, and {name}.csv")


RNG = np.random.default_rng(0)

if __name__ == "__main__":
    main()
