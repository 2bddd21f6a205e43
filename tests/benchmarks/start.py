"""From the start of the command to the first training batch, or to the end of a prediction, against PyTorch and Ray."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.material import digit_files, training, write_config
from tests.benchmarks.pairs import cpus, environment, in_turn, options, row, table

_BOTH = "import torch, ray; ray.init(); print('started')"
_TORCH = "import torch; print('imported')"


def main() -> None:
    """Start each of them in turn with its counterpart."""
    arguments = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digit_files(folder / "digits", 1_280)
        kept = {"save": str(folder / "model")}
        content = training(folder / "digits", preload=True, grayscale=True, checkpoints=kept)
        config = write_config(folder / "config.json", content)
        rayrml, pairs, warm = [sys.executable, "-m", "rayrml"], arguments.pairs, not arguments.quick
        command = [*rayrml, str(config)]
        both, torch = ([sys.executable, "-c", program] for program in (_BOTH, _TORCH))
        trained = in_turn(lambda: until(command, "Train Epoch"), lambda: until(both, "started"), pairs, warm=warm)
        image = next((folder / "digits").rglob("*.jpg"))
        prediction = [*rayrml, "predict", "--checkpoint", str(folder / "model"), str(image)]
        prediction += ["--output", str(folder / "predictions")]
        predicted = in_turn(lambda: until(prediction), lambda: until(torch), pairs, warm=warm)
    rows = [
        row("seconds to the first training batch", "import torch, then ray.init()", trained, most=1.3),
        row("seconds to predict one image", "import torch", predicted, most=2.5),
    ]
    table("start", rows, "Start of the command, seconds", arguments)


def until(command: list[str], text: str | None = None) -> float:
    """Seconds until a command prints a line with `text`, by default until it ends; waits for its end."""
    started = time.perf_counter()
    run = subprocess.Popen(
        command, env=environment(cpus()), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    seconds = None
    for line in run.stdout or ():
        if seconds is None and text is not None and text in line:
            seconds = time.perf_counter() - started
    failed = run.wait()
    if text is None:
        seconds = time.perf_counter() - started
    if failed or seconds is None:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode} and never said '{text}'")
    return seconds


if __name__ == "__main__":
    main()
