"""The option that names the picture which a command draws."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rayrml.errors import explaining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = (".png", ".svg", ".pdf")


def add_picture(verb: argparse.ArgumentParser, default: str) -> None:
    """Add the option."""
    meaning = f"output file, .png, .svg or .pdf (default: {default})"
    verb.add_argument("-o", "--output", type=_picture, default=default, metavar="FILE.png", help=meaning)


def write_picture(figure: Figure, path: str) -> None:
    """Write a figure as the kind of picture that the path's ending says. Raises DataError if that fails."""
    from rayrml import storage
    from rayrml.reporting import plots

    content, _ = plots.render(figure, Path(path).suffix[1:].lower())
    with explaining(path, "cannot be written"):
        storage.write(path, content)


def _picture(path: str) -> str:
    if Path(path).suffix.lower() not in _KINDS:
        raise argparse.ArgumentTypeError(f"expected a file that ends with one of {', '.join(_KINDS)}, got '{path}'")
    return path
