"""The contents of text files: many small ones read at a time, and what they hold as text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rayrml import storage
from rayrml.data.byte_order_marks import split_mark
from rayrml.errors import describe
from rayrml.formatting import format_path

T = TypeVar("T")


class LabelMistake(ValueError):
    """What is wrong in a label file, with the line or object if it is at one: `line 2: 30 ...`."""


def read_files(paths: Sequence[str], parse: Callable[[bytes], T]) -> Iterator[T | str]:
    """What `parse` makes of each file's content, or what is wrong with the file."""
    if not paths:
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        for first in range(0, len(paths), _CHUNK * _AHEAD):  # not all at once: their contents wait in memory
            near = paths[first : first + _CHUNK * _AHEAD]
            chunks = [near[begin : begin + _CHUNK] for begin in range(0, len(near), _CHUNK)]
            for path, content in zip(near, itertools.chain(*threads.map(_read_some, chunks)), strict=True):
                yield content if isinstance(content, str) else _parse(path, content, parse)


def decode(content: bytes) -> str:
    """The text of a file in UTF-8, or in what its byte order mark says. Raises LabelMistake."""
    encoding, content = split_mark(content)
    encoding = encoding or "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise LabelMistake(f"line {line}: is not {encoding.upper()} text. Save the file as UTF-8") from None
    if "\0" in text:
        raise LabelMistake(f"line {text.count(chr(10), 0, text.index(chr(0))) + 1}: holds a NUL byte. Expected text")
    return text


def read_lines(path: str) -> list[str]:
    """The lines of a text file, without blanks around them. Raises LabelMistake or OSError."""
    return [line.strip() for line in decode(storage.read(path)).replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def show(path: str) -> str:
    """A file's path for messages."""
    return path if storage.is_uri(path) else format_path(path)


def place(path: str, message: str) -> str:
    """A mistake with its file: `labels/a.txt, line 2: ...`, `labels/a.txt: ...`."""
    separator = ", " if message.startswith(("line ", "object ", "annotation ")) else ": "
    return f"{show(path)}{separator}{message}"


def _read_some(paths: Sequence[str]) -> list[bytes | str]:
    contents: list[bytes | str] = []
    for path in paths:
        try:
            contents.append(storage.read(path))
        except OSError as error:
            contents.append(f"{show(path)}: cannot be read. {describe(error)}")
    return contents


def _parse(path: str, content: bytes, parse: Callable[[bytes], T]) -> T | str:
    try:
        return parse(content)
    except LabelMistake as mistake:
        return place(path, str(mistake))


_CHUNK, _THREADS, _AHEAD = 64, 16, 128
