"""The screens on the page of first steps: its commands are typed at a terminal, and the page shows what appears.

`python -m tests.pages.first_steps` writes them onto the page.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT
from tests.terminal import Command, show

PAGE = ROOT / "examples" / "guide" / "first-steps.md"
DATA = ROOT / "examples" / "first_steps"
BLOCK = re.compile(r"```text\n(.*?)```", re.DOTALL)
COLUMNS = 80


def type_commands(text: str, folder: Path) -> str:
    """The page with the screens that its commands give in this folder."""
    for file in DATA.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    return BLOCK.sub(lambda block: f"```text\n{''.join(_screens(block[1], folder))}```", text)


def _screens(block: str, folder: Path) -> Iterator[str]:
    for line in block.splitlines():
        if line.startswith("$ "):
            program, *arguments = shlex.split(line[2:])
            command = [sys.executable, *(["-m", "rayrml"] if program == "rayrml" else []), *arguments]
            run = Command(command, folder, columns=COLUMNS, NO_COLOR="1")
            if run.finish() != 0:
                raise AssertionError(f"{line}\n{run.written}")
            shown = [each.replace("python -m rayrml", "rayrml") for each in show(run.written)]
            yield "\n".join([line, *shown]).rstrip() + "\n"


def list_facts(text: str) -> list[str]:
    """The lines of all screens without what differs from machine to machine."""
    found: list[str] = []
    for block in BLOCK.findall(text):
        for line in block.splitlines():
            fact = re.sub(r"\s+", " ", re.sub(r"\d[\d.,:e+-]*( [KMG]?B\b)?", "#", line)).removesuffix(" best").strip()
            fact = re.sub(r"^(\S+\.jpg) .*", r"\1", fact)  # which class is the most probable one
            if not re.match(r"# \(", fact) and fact not in found[-1:]:
                found.append(fact)
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(type_commands(PAGE.read_text(), Path(name)))
