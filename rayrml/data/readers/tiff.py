"""TIFF files: their pages, and bands of any number and type; `tifffile` reads what Pillow refuses or would shorten.

Source: TIFF Revision 6.0, 1992; the tag 254 is in its section 8.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image, ImageMode, ImageOps, UnidentifiedImageError

from rayrml import extras
from rayrml.data.readers.depth import BYTE, Pixels
from rayrml.formatting import format_bytes

Pages = Literal["first", "channels", "samples"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KIND, _WIDTH, _HEIGHT, _BITS, _COLORS, _DESCRIPTION = 254, 256, 257, 258, 262, 270
_ORIENTATION, _SAMPLES, _EXTRA, _FORMAT, _XMP = 274, 277, 338, 339, 700
_REDUCED, _IS_MASK = 1, 4  # bits of the kind of a page that repeats another one
_UNSIGNED, _SIGNED = 1, 2
_MIN_IS_WHITE, _RGB = 0, 2
_ALPHA = (1, 2)
_TURNED = (5, 6, 7, 8)
_MOST_BYTES = 2**30  # of one page


def is_tiff(content: bytes) -> bool:
    """Whether a file begins like a TIFF."""
    return content[:4] in _MAGIC


class Tiff(Protocol):
    """An open file.

    Attributes:
        pages: the numbers of its pages in the file, without previews and masks of others.
    """

    pages: list[int]

    def size(self, page: int) -> tuple[int, int]:
        """Height and width, upright."""
        ...

    def is_gray(self, page: int) -> bool:
        """Whether it has one channel, or gray with alpha."""
        ...

    def bits(self, page: int) -> int:
        """8 or 16 bits per value; 32 for numbers of their own."""
        ...

    def orientation(self, page: int) -> int:
        """The tag that says how it is turned."""
        ...

    def read(self, page: int, *, grayscale: bool, native: bool) -> Pixels:
        """Its pixels, upright, with three channels, or one if `grayscale`; or as many as it has if `native`."""
        ...


@contextlib.contextmanager
def opened(content: bytes) -> Iterator[Tiff]:
    """The pages in a file. Whatever its libraries raise is raised in the block, too."""
    with contextlib.ExitStack() as stack:
        try:
            image = stack.enter_context(Image.open(io.BytesIO(content), formats=("TIFF",)))
        except UnidentifiedImageError:
            yield stack.enter_context(_with_tifffile(content))
            return
        file = _OfPillow(image)
        yield file if file.is_faithful else stack.enter_context(_with_tifffile(content))


def list_own_pages(image: Image.Image) -> list[int]:
    """The pages of an image that Pillow has opened, as `Tiff` has them; those of other formats are one."""
    return _OfPillow(image).pages if image.format == "TIFF" else [0]


def select_pages(own: list[int], pages: Pages | None) -> list[int]:
    """The pages that are to be read. Raises ValueError if there are several, and it is not said what they are."""
    if len(own) == 1 or pages == "first":
        return own[:1]
    if pages is None:
        ways = '"pages": "first" reads one of them, "channels" all as channels, "samples" each as a sample'
        raise ValueError(f"It has {len(own)} pages. {ways}")
    return own


class _Tagged:
    """What the tags of pages say, whoever reads them."""

    def __init__(self, tags: list[dict[int, Any]]):
        _refuse_hidden(tags[0].get(_DESCRIPTION), len(tags))
        self._tags = tags
        self.pages = _list_pages([int(own.get(_KIND, 0)) for own in tags])

    def size(self, page: int) -> tuple[int, int]:
        """As `Tiff` has it."""
        height, width = int(self._tags[page][_HEIGHT]), int(self._tags[page][_WIDTH])
        return (width, height) if self.orientation(page) in _TURNED else (height, width)

    def bits(self, page: int) -> int:
        """As `Tiff` has it."""
        return _count_bits(self._tags[page])

    def orientation(self, page: int) -> int:
        """As `Tiff` has it."""
        return int(self._tags[page].get(_ORIENTATION, 1))


class _OfPillow(_Tagged):
    def __init__(self, image: Any):
        self._image = image
        tags: list[dict[int, Any]] = []
        for number in range(image.n_frames):
            image.seek(number)
            own = dict(image.tag_v2)
            if _XMP in own:
                own[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)  # Pillow turns pages by XMP, too
            tags.append(own)
        image.seek(0)
        super().__init__(tags)

    @property
    def is_faithful(self) -> bool:
        """Whether Pillow reads all bits of all bands."""
        return all(_is_plain(self._tags[page]) for page in self.pages)

    def is_gray(self, page: int) -> bool:
        """As `Tiff` has it."""
        self._image.seek(page)
        return ImageMode.getmode(self._image.mode).basemode == "L"

    def read(self, page: int, *, grayscale: bool, native: bool) -> Pixels:
        """As `Tiff` has it."""
        gray = grayscale or (native and self.is_gray(page))
        self._image.seek(page)
        image = ImageOps.exif_transpose(self._image)
        if self.bits(page) == 8:
            return Pixels.of_bytes(np.asarray(image.convert("L" if gray else "RGB")))
        white = 2 ** int(self._tags[page][_BITS][0]) - 1 if self.bits(page) == 16 else None
        values = _with_black_zero(np.asarray(image)[:, :, None], white, self._tags[page])
        return Pixels(values, white, "gray").in_color(grayscale=grayscale, native=native)


class _OfTifffile(_Tagged):
    def __init__(self, file: Any):
        self._file = file
        super().__init__([{tag.code: tag.value for tag in page.tags} for page in map(_whole, file.pages)])

    def is_gray(self, page: int) -> bool:
        """As `Tiff` has it."""
        return int(self._tags[page].get(_SAMPLES, 1)) == 1

    def read(self, page: int, *, grayscale: bool, native: bool) -> Pixels:
        """As `Tiff` has it."""
        tags, own = self._tags[page], self._file.pages[page]
        if own.nbytes > _MOST_BYTES:
            raise ValueError(f"It holds {format_bytes(own.nbytes)}. Expected at most {format_bytes(_MOST_BYTES)}")
        try:
            values = own.asarray()
        except ValueError as error:
            raise ValueError(f"{error}{_hint('imagecodecs') if 'imagecodecs' in str(error) else ''}") from None
        if own.axes == "SYX":
            values = values.transpose(1, 2, 0)
        elif own.axes not in ("YX", "YXS"):
            raise ValueError(f"Its axes are {own.axes}, expected an image: YX, YXS or SYX")
        values = values[:, :, None] if values.ndim == 2 else values
        kinds = _tuple(tags.get(_EXTRA))
        if values.shape[2] in (2, 4) and len(kinds) == 1 and kinds[0] in _ALPHA:
            values = values[:, :, :-1]
        colors = "gray" if values.shape[2] == 1 else "bands"
        colors = "rgb" if int(tags.get(_COLORS, 1)) == _RGB and values.shape[2] == 3 else colors
        white = None if self.bits(page) == 32 else 2 ** _tuple(tags[_BITS])[0] - 1
        pixels = Pixels(_with_black_zero(values, white, tags), white, colors).upright(self.orientation(page))
        return pixels.in_color(grayscale=grayscale, native=native)


@contextlib.contextmanager
def _with_tifffile(content: bytes) -> Iterator[Tiff]:
    if extras.missing("tifffile", "tiff"):
        raise ValueError(f"It has bands or numbers that Pillow does not read{_hint('tifffile')}")
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        yield _OfTifffile(file)


def _hint(package: str) -> str:
    lacking = extras.missing(package, "tiff")
    return "" if lacking is None else f", and {lacking}"


def _whole(page: Any) -> Any:
    """A page with its own tags; tifffile gives pages like the first one without them."""
    return page.aspage() if hasattr(page, "aspage") else page


def _list_pages(kinds: list[int]) -> list[int]:
    own = [number for number, kind in enumerate(kinds) if not kind & (_REDUCED | _IS_MASK)]
    return own or [0]


def _refuse_hidden(description: Any, count: int) -> None:
    """Raise ValueError for a stack of ImageJ whose further images have no pages of their own."""
    found = re.search(r"^images=(\d+)", str(description), re.MULTILINE) if description else None
    if found and str(description).startswith("ImageJ=") and int(found[1]) > count:
        raise ValueError(f"It is an ImageJ stack of {found[1]} images in {count} page. Expected a page for each")


def _is_plain(tags: dict[int, Any]) -> bool:
    """Whether Pillow keeps all bits and bands of a page."""
    bits, kinds = _tuple(tags.get(_BITS, 1)), _tuple(tags.get(_EXTRA))
    number, number_format = int(tags.get(_SAMPLES, 1)), _tuple(tags.get(_FORMAT, _UNSIGNED))[0]
    if number == 1:
        return (max(bits) >= 16 or number_format == _UNSIGNED) and not (max(bits) == 32 and number_format == _UNSIGNED)
    if max(bits) > 8 or number_format != _UNSIGNED or any(kind not in _ALPHA for kind in kinds):
        return False
    colors = number - len(kinds)
    return len(kinds) <= 1 and colors == {0: 1, 1: 1, 5: 4}.get(int(tags.get(_COLORS, 1)), 3)


def _count_bits(tags: dict[int, Any]) -> int:
    bits, number_format = _tuple(tags.get(_BITS, 1)), _tuple(tags.get(_FORMAT, _UNSIGNED))[0]
    if number_format != _UNSIGNED or max(bits) > 16:
        return 32
    return 8 if max(bits) <= 8 else 16


def _with_black_zero(values: np.ndarray, white: int | None, tags: dict[int, Any]) -> np.ndarray:
    """Values whose smallest one is black; no library turns those of more than 8 bits round."""
    turned = white is not None and white >= BYTE and int(tags.get(_COLORS, 1)) == _MIN_IS_WHITE
    return (white - values.astype(np.uint16)).astype(values.dtype) if turned and white is not None else values


def _tuple(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(map(int, value)) if isinstance(value, (tuple, list)) else (int(value),)
