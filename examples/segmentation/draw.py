"""Draws images of bright shapes on a dark, noisy ground, and masks that tell shape from ground.

shapes/training/images/*.png   shapes/training/masks/*.png   and the same below shapes/testing
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64


def shapes(random):
    """An image (H, W) uint8 and its mask (H, W) uint8, 255 where there is a shape."""
    image, mask = Image.new("L", (SIZE, SIZE), int(random.integers(0, 60))), Image.new("L", (SIZE, SIZE), 0)
    for _ in range(random.integers(1, 4)):
        x, y = (int(n) for n in random.integers(4, 44, 2))
        width, height = (int(n) for n in random.integers(10, 20, 2))
        box, kind = (x, y, x + width, y + height), random.integers(0, 2)
        for picture, color in ((image, int(random.integers(120, 255))), (mask, 255)):
            pen = ImageDraw.Draw(picture)
            (pen.ellipse if kind else pen.rectangle)(box, fill=color)
    noisy = np.asarray(image) + random.normal(0, 20, (SIZE, SIZE))
    return np.clip(noisy, 0, 255).astype(np.uint8), np.asarray(mask)


def main():
    """Write all images below the current folder."""
    parser = argparse.ArgumentParser(description="Draw images of shapes, and their masks.")
    parser.add_argument("--training", type=int, default=200, help="number of training images")
    parser.add_argument("--testing", type=int, default=40, help="number of test images")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    for part, count in (("training", arguments.training), ("testing", arguments.testing)):
        folders = [Path("shapes", part, kind) for kind in ("images", "masks")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            for folder, picture in zip(folders, shapes(random), strict=True):
                Image.fromarray(picture).save(folder / f"{number:04}.png")
        print(f"{count} images and masks in {Path('shapes', part)}")


if __name__ == "__main__":
    main()
