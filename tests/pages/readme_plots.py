"""The plots that the README shows; `python -m tests.pages.readme_plots` trains its example and makes them.

With the folder of a run that is there, `python -m tests.pages.readme_plots mnist_model`, nothing is trained.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.conftest import ROOT

FOLDER = ROOT / "examples" / "mnist" / "plots"
NAMES = ("loss", "confusion_matrix", "predictions")
MOST_BYTES = 60_000  # of each
_COLORS = 128


def train(place: Path) -> Path:
    """Run the example in a copy of its folder; where the run left its plots."""
    folder = shutil.copytree(ROOT / "examples" / "mnist", place / "mnist")
    for command in (["prepare.py"], ["-m", "rayrml", "config_mnist_training.json"]):
        subprocess.run([sys.executable, *command], cwd=folder, check=True)
    return folder / "mnist_model"


def small(path: Path) -> bytes:
    """The same picture with a palette, so that a clone stays small."""
    content = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return content.getvalue()


def main() -> None:
    """Write the plots into the example's folder."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else train(Path(place))
        FOLDER.mkdir(exist_ok=True)
        for name in NAMES:
            content = small(run / "plots" / f"{name}.png")
            (FOLDER / f"{name}.png").write_bytes(content)
            print(f"{FOLDER / name}.png: {len(content):,} bytes")


if __name__ == "__main__":
    main()
