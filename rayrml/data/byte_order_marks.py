"""Byte order marks of text files: what a file's first bytes say of its encoding."""

from __future__ import annotations

import codecs

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # begins like UTF-16's
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def split_mark(content: bytes) -> tuple[str | None, bytes]:
    """The encoding that a byte order mark tells, None without a mark; and the content after the mark."""
    mark = next((mark for mark in BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    return BYTE_ORDER_MARKS.get(mark), content[len(mark) :]
