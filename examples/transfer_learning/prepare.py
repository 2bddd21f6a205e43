"""Writes the MNIST digits 0 to 4 into the folders of `first`, and 5 to 9 into those of `second`.

first/training/<class>/*.jpg   first/testing/<class>/*.jpg   and the same below second
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path


def main():
    """Write the digits below the current folder; of the second half only few, which is where pretraining helps."""
    parser = argparse.ArgumentParser(description="Write digits in two halves.")
    parser.add_argument("--few", type=int, default=20, help="training images of each class of the second half")
    arguments = parser.parse_args()
    script = Path(__file__).parent.parent / "mnist" / "prepare.py"
    subprocess.run([sys.executable, script], check=True)
    for part in ("training", "testing"):
        for digit in range(10):
            target = Path("first" if digit < 5 else "second", part, str(digit))
            files = sorted(Path("mnist", part, str(digit)).iterdir())
            if digit >= 5 and part == "training":
                files = files[: arguments.few]
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.move(file, target / file.name)
    shutil.rmtree("mnist")
    shutil.rmtree("mnist_digits")


if __name__ == "__main__":
    main()
