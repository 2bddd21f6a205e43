"""How measurements are written down: one table on the screen and one JSON file."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path

FOLDER = Path(os.environ.get("BENCHMARKS", "benchmarks"))


def write(name: str, rows: list[dict], header: str) -> None:
    """Print `rows` as a table below `header`, and write them to `benchmarks/<name>.json` with what machine it was."""
    keys = list(rows[0])
    texts = [[_text(row[key]) for key in keys] for row in rows]
    widths = [max(len(key), *(len(line[i]) for line in texts)) for i, key in enumerate(keys)]
    print(f"\n{header}\n")
    for line in (keys, ["-" * width for width in widths], *texts):
        print("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |")
    FOLDER.mkdir(exist_ok=True)
    machine = {"processor": platform.processor(), "cores": os.cpu_count(), "torch": importlib.metadata.version("torch")}
    (FOLDER / f"{name}.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
