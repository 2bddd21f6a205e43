"""Writes the MNIST digits as JPEG files, in folders named by their class, into the current directory.

    mnist/training/<class>/*.jpg     mnist/testing/<class>/*.jpg     mnist_digits/digit_{0..9}.jpg

Without arguments: 6,000 training and 1,000 test digits, which lie in `mnist_7k.npz` beside this file. They are a part,
600 and 100 of each class, of the MNIST database of Y. LeCun, C. Cortes and C. J. C. Burges. `--full` downloads all
70,000 through torchvision. The ten digits are the most typical ones of the testing digits.
"""

import argparse
from pathlib import Path

import numpy as np
import simplejpeg

# In this order the ten digits are laid out in the tutorial, so that its last command prints the same line.
TEN_DIGITS = (3, 5, 1, 9, 4, 7, 2, 0, 6, 8)


def embedded():
    """Images (N, 28, 28) uint8 and labels (N,) of the digits beside this file, for training and for testing."""
    with np.load(Path(__file__).parent / "mnist_7k.npz") as file:
        return {
            "training": (file["train_images"], file["train_labels"]),
            "testing": (file["test_images"], file["test_labels"]),
        }


def downloaded(folder):
    """The same for the whole database."""
    from torchvision.datasets import MNIST

    parts = {"training": MNIST(folder, train=True, download=True), "testing": MNIST(folder, train=False)}
    return {name: (part.data.numpy(), part.targets.numpy()) for name, part in parts.items()}


def write(image, path):
    """One digit as a JPEG file of one channel."""
    path.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image[:, :, None]), quality=95, colorspace="GRAY"))


def typical(images):
    """The image that is nearest to the mean of all."""
    distances = ((images - images.mean(axis=0)) ** 2).sum(axis=(1, 2))
    return images[distances.argmin()]


def main():
    """Write all folders below the output folder."""
    parser = argparse.ArgumentParser(description="Write the MNIST digits as JPEG files.")
    parser.add_argument("--full", action="store_true", help="download all 70,000 digits instead of using 7,000")
    parser.add_argument("--output", type=Path, default=Path(), help="folder to write to (default: the current one)")
    arguments = parser.parse_args()

    parts = downloaded(arguments.output / "mnist_download") if arguments.full else embedded()
    for part, (images, labels) in parts.items():
        for digit in range(10):
            (arguments.output / "mnist" / part / str(digit)).mkdir(parents=True, exist_ok=True)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            write(image, arguments.output / "mnist" / part / str(label) / f"{number:05}.jpg")
        print(f"{len(images)} digits in {arguments.output / 'mnist' / part}")

    digits = arguments.output / "mnist_digits"
    digits.mkdir(parents=True, exist_ok=True)
    images, labels = parts["testing"]
    for place, digit in enumerate(TEN_DIGITS):
        write(typical(images[labels == digit]), digits / f"digit_{place}.jpg")
    print(f"{len(TEN_DIGITS)} digits in {digits}")


if __name__ == "__main__":
    main()
