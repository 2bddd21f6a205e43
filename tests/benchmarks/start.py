"""From the start of the command to the first training batch, against importing torch and starting Ray."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.material import digit_files, training, write_config
from tests.benchmarks.pairs import cpus, environment, in_turn, options, row, table

_BOTH = "import torch, ray; ray.init(); print('started')"


def main() -> None:
    """Start both in turn."""
    arguments = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digit_files(folder / "digits", 1_280)
        config = write_config(folder / "config.json", training(folder / "digits", preload=True, grayscale=True))
        ours = [sys.executable, "-m", "rayrml", str(config)]
        theirs = [sys.executable, "-c", _BOTH]
        measured = in_turn(
            lambda: until(ours, "Train Epoch"),
            lambda: until(theirs, "started"),
            arguments.pairs,
            warm=not arguments.quick,
        )
    rows = [row("seconds to the first training batch", "import torch, then ray.init()", measured, most=1.3)]
    table("start", rows, "Start of the command, seconds", arguments)


def until(command: list[str], text: str) -> float:
    """Seconds until a command prints a line with `text`; then waits for its end."""
    started = time.perf_counter()
    run = subprocess.Popen(
        command, env=environment(cpus()), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    seconds = None
    for line in run.stdout or ():
        if seconds is None and text in line:
            seconds = time.perf_counter() - started
    if run.wait() or seconds is None:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode} and never said '{text}'")
    return seconds


if __name__ == "__main__":
    main()
