"""Fonts for the names of classes in pictures: whatever language they are in, they are shown as far as possible."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Searched for where the system keeps its fonts, if the one of matplotlib lacks a character.
_OTHERS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
)
_COMPARED = 16  # height in pixels
_ABSENT = "\U0010ffff"  # no font has it, so that it is drawn as any character that a font lacks


def find_font(text: str, size: int) -> Font | None:
    """A font of this height in pixels that has all characters of a text, None if none of this machine has."""
    for name in (_find_of_matplotlib(), *_OTHERS):
        font = _open(name, size)
        if font is not None and all(_has(name, character) for character in set(text)):
            return font
    return None


def find_usual_font(size: int) -> Font:
    """A font of this height for texts in English."""
    return _open(_find_of_matplotlib(), size) or ImageFont.load_default(size)


@functools.cache
def _find_of_matplotlib() -> str:
    """The path of the font that comes with matplotlib: for Latin, Greek, Cyrillic and other alphabets."""
    package = importlib.util.find_spec("matplotlib")  # which takes too long to be imported
    folder = Path((package and package.origin) or "").parent
    return str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@functools.lru_cache(256)
def _open(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@functools.lru_cache(4096)
def _has(name: str, character: str) -> bool:
    font = _open(name, _COMPARED)
    return font is not None and _draw(font, character) != _draw(font, _ABSENT)


def _draw(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    picture = Image.new("L", (2 * _COMPARED, 2 * _COMPARED))
    ImageDraw.Draw(picture).text((0, 0), character, fill=255, font=font)
    return picture.tobytes()
