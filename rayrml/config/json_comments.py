"""JSON as people write it: with comments (`//`, `#`, `/* */`) and with a comma after the last value."""

from __future__ import annotations

import re
from typing import Any

from rayrml.config.json_files import decode
from rayrml.errors import ConfigError

_TEXT_OR_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|#[^\n]*|/\*.*?\*/', re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{}",:]+', re.DOTALL)


def decode_with_comments(content: bytes, place: str) -> tuple[Any, str]:
    """The value of JSON with comments, and its text as plain JSON with everything in the same line and column.

    Raises:
        ConfigError: it is not JSON, or an object has a key twice; names the line in `place`.
    """
    try:
        return decode(content, place), content.decode("utf-8-sig")
    except ConfigError:  # plain JSON, the most frequent, is read only once
        text = _decode_text(content)
        plain = make_plain(text)
        if plain == text:
            raise
    return decode(plain.encode(), place), plain


def make_plain(text: str) -> str:
    """The text with spaces in place of comments and of commas after the last value of a list or an object."""
    characters = list(_TEXT_OR_COMMENT.sub(_hide_comment, text))
    before, comma = "", None
    for match in _TOKEN.finditer("".join(characters)):
        token = match[0]
        if token in "]}" and comma is not None:
            characters[comma] = " "
        # A comma without a value before it is a mistake.
        comma = match.start() if token == "," and before not in ("", ",", ":", "[", "{") else None
        before = token
    return "".join(characters)


def _decode_text(content: bytes) -> str:
    """The text of a file, "" if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""


def _hide_comment(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else re.sub(r"[^\n]", " ", match[0])
