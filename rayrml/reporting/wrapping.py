"""Texts and tables in the width of a terminal, so that the terminal itself breaks no line."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.cells import cell_len, chop_cells

from rayrml.formatting import format_table

_INDENT = 4  # columns, of continuation lines
_ROOM = 24  # columns that a continuation line has at least
_NARROWEST = 8  # columns of a shortened cell
_DOTS = "..."


def wrap(text: str, width: int, indent: int = _INDENT) -> list[str]:
    """Lines of at most `width` columns; those after the first one are indented.

    A word that is longer than a line, such as a path, is broken after one of its slashes.
    """
    if cell_len(text) <= width:
        return [text]
    margin = " " * max(0, min(indent, width - _ROOM))
    lines, line = [], ""
    for word in _pieces(text, width - len(margin)):
        if line.strip() and cell_len(line + word.rstrip()) > width:
            lines.append(line.rstrip())
            line = margin + word.lstrip()
        else:
            line += word
    return [*lines, line.rstrip()]


def wrap_command(command: str, width: int) -> list[str]:
    """A shell's command, continued with backslashes; a word that is longer than a line has a line of its own."""
    lines, line = [], ""
    for word in map(shlex.quote, shlex.split(command)):
        if line.strip() and cell_len(f"{line} {word} \\") > width:
            lines.append(f"{line} \\")
            line = " " * _INDENT + word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def fit(rows: Iterable[Iterable[Any]], headings: Sequence[str], width: int) -> list[list[str]]:
    """The cells of a table's rows, shortened in the middle where the table would be wider than `width`."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(headings, *cells, strict=True)]
    least = [min(size, max(_NARROWEST, cell_len(name))) for size, name in zip(widths, headings, strict=True)]
    spare = sum(widths) + 2 * (len(widths) - 1) - width
    while spare > 0:
        widest = max(range(len(widths)), key=lambda i: widths[i] - least[i])
        if widths[widest] == least[widest]:
            break  # nothing can be shortened any more
        widths[widest] -= 1
        spare -= 1
    return [[shorten_middle(cell, size) for cell, size in zip(row, widths, strict=True)] for row in cells]


def fold(rows: Iterable[Iterable[Any]], headings: Sequence[str], width: int) -> list[str]:
    """The lines of a table of at most `width` columns: a long first cell has its own line, before that of its row."""
    cells = [[str(cell) for cell in row] for row in rows]
    others = sum(max(map(cell_len, column)) + 2 for column in list(zip(headings, *cells, strict=True))[1:])
    room = max(width - others, cell_len(headings[0]))
    narrow = [[first if cell_len(first) <= room else "", *rest] for first, *rest in cells]
    heading, *lines = format_table(narrow, headings)
    folded = [
        [line] if row[0] == own[0] else [row[0], line] for row, own, line in zip(cells, narrow, lines, strict=True)
    ]
    return [heading, *itertools.chain.from_iterable(folded)]


def shorten_middle(text: str, width: int) -> str:
    """A text of at most `width` columns: its beginning, dots, and more of its end, where paths differ."""
    if cell_len(text) <= width:
        return text
    begin = (width - len(_DOTS)) // 3
    end = width - len(_DOTS) - begin
    head, tail = text, text
    while cell_len(head) > begin:
        head = head[:-1]
    while cell_len(tail) > end:
        tail = tail[1:]
    return f"{head}{_DOTS}{tail}"


def _pieces(text: str, room: int) -> Iterator[str]:
    """The words of a text with the spaces after them, in parts of at most `room` columns."""
    word = ""
    for character in text:
        if word.endswith(" ") and character != " " and word.strip():
            yield from _parts(word, room)
            word = ""
        word += character
    yield from _parts(word, room)


def _parts(word: str, room: int) -> Iterator[str]:
    while cell_len(word.rstrip()) > room:
        part = chop_cells(word, room)[0]
        slash = part.rfind("/", 1) + 1
        part = part[: slash or len(part)]
        yield part
        word = word[len(part) :]
    yield word
