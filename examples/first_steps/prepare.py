"""Draws small data sets as people have them: photos in class folders, images with masks, and arrays.

Run it where the folders are to be: `python prepare.py`.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

RNG = np.random.default_rng(0)
COLORS = {"circle": (220, 80, 60), "square": (80, 200, 90), "triangle": (90, 110, 230)}
NUMBERS = {"circle": 1, "square": 2, "triangle": 3}  # of the classes in masks; 0 is the background


def draw(kind: str) -> tuple[Image.Image, Image.Image]:
    """A photo of a shape, taken upright or across, and its mask."""
    width, height = [(200, 150), (150, 200), (320, 180)][RNG.integers(3)]
    image = Image.fromarray(RNG.integers(40, 120, (height, width, 3), dtype=np.uint8))
    mask = Image.new("L", image.size, 0)
    side = int(RNG.integers(min(image.size) // 3, min(image.size) // 2))
    x, y = int(RNG.integers(width - side)), int(RNG.integers(height - side))
    color = tuple(int(value) for value in np.clip(np.array(COLORS[kind]) + RNG.integers(-30, 30, 3), 0, 255))
    for canvas, fill in ((ImageDraw.Draw(image), color), (ImageDraw.Draw(mask), NUMBERS[kind])):
        if kind == "circle":
            canvas.ellipse([x, y, x + side, y + side], fill=fill)
        elif kind == "square":
            canvas.rectangle([x, y, x + side, y + side], fill=fill)
        else:
            canvas.polygon([(x, y + side), (x + side, y + side), (x + side // 2, y)], fill=fill)
    return image, mask


def main() -> None:
    """Write all data sets into the current folder."""
    for part, count in (("train", 40), ("val", 10), ("test", 10)):
        for kind in COLORS:
            folder = Path("photos", part, kind)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                draw(kind)[0].save(folder / f"{number:03}.jpg")
    for number in range(60):
        for folder, picture in zip(("images", "masks"), draw(list(COLORS)[number % 3]), strict=True):
            Path("shapes", folder).mkdir(parents=True, exist_ok=True)
            picture.save(Path("shapes", folder, f"{number:03}.{'jpg' if folder == 'images' else 'png'}"))
    # Noise, in half of which the upper rows are brighter: that is class 1.
    for part, count in (("train", 400), ("test", 100)):
        labels = RNG.integers(2, size=count)
        images = RNG.normal(size=(count, 1, 16, 16))
        images[:, :, :8] += 0.5 * labels[:, None, None, None]
        Path("arrays").mkdir(exist_ok=True)
        np.save(f"arrays/x_{part}.npy", images.astype(np.float32))
        np.save(f"arrays/y_{part}.npy", labels)


if __name__ == "__main__":
    main()
