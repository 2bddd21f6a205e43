"""Lists of images: text files with the name of an image a line, as VOC, darknet and Ultralytics use them."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from rayrml import storage
from rayrml.data.box_labels.mistakes import explain_bad
from rayrml.data.box_labels.text_files import LabelMistake, place, read_lines, show
from rayrml.data.discovery import quote_some
from rayrml.errors import DataError, Problem, describe


class ImageNames:
    """The names of images in a folder, and which of them others may mean.

    Args:
        names: relative to the folder, with `/` between their parts.
    """

    def __init__(self, names: Sequence[str]):
        self.names = names
        self._exact = {name: number for number, name in enumerate(names)}

    @functools.cached_property
    def _folded(self) -> dict[str, list[int]]:
        return _group(map(fold, self.names))

    @functools.cached_property
    def _stems(self) -> dict[str, list[int]]:
        return _group(fold(stem_of(name)) for name in self.names)

    def find(self, name: str, *, without_ending: bool = False) -> int | None:
        """The image of a name, or of the end of a path if no image has the whole one; None if it is not there.

        Args:
            name: relative to the folder of the images, or to one above it; or an absolute path.
            without_ending: whether the ending may be missing.

        Raises:
            ValueError: several images may be meant.
        """
        tail = name.replace("\\", "/").removeprefix("./")
        while tail:
            if tail in self._exact:
                return self._exact[tail]
            found = self._folded.get(fold(tail)) or (self._stems.get(fold(tail)) if without_ending else None)
            if found:
                if len(found) > 1:
                    raise ValueError(f"'{name}' may be {quote_some([self.names[i] for i in found], 3)}")
                return found[0]
            tail = tail.partition("/")[2]
        return None

    def elsewhere(self, name: str) -> str | None:
        """An image of the same last part in another folder, for messages."""
        end = "/" + fold(name.replace("\\", "/").rpartition("/")[2])
        return next((own for own in self.names if fold(own).endswith(end)), None)


def select_samples(names: Sequence[str], path: str, where: str) -> np.ndarray:
    """(K,) int64, ascending: the images that a list names, with or without endings.

    Args:
        names: all images, relative to their folder.
        path: of the list.
        where: JSON path of the key that names the list.

    Raises:
        DataError: the list cannot be read, or names images that are not there.
    """
    try:
        if not storage.is_file(path):
            raise DataError(Problem(where, f"no such file: '{path}'. Expected a text file with an image a line"))
        lines = read_lines(path)
    except LabelMistake as mistake:
        raise DataError(Problem("", place(path, str(mistake)))) from None
    except OSError as error:
        raise DataError(Problem(where, f"'{path}' cannot be read. {describe(error)}")) from None
    images = ImageNames(names)
    found: set[int] = set()
    wrong: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            image = images.find(line, without_ending=True)
            if image is None:
                raise ValueError(_explain_unknown(line, images))
            found.add(image)
        except ValueError as error:
            wrong.append(place(path, f"line {number}: {error}"))
    if wrong:
        raise DataError(*explain_bad(wrong))
    if not found:
        raise DataError(Problem(show(path), "names no images. Expected one a line"))
    return np.array(sorted(found), np.int64)


def stem_of(name: str) -> str:
    """A name without its ending."""
    return os.path.splitext(name)[0]  # noqa: PTH122 (keys of object stores)


def fold(name: str) -> str:
    """A name in the form that is the same for all ways to write it: case, and composed characters."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def _group(names: Iterable[str]) -> dict[str, list[int]]:
    """The numbers of each name."""
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(name, []).append(number)
    return groups


def _explain_unknown(line: str, images: ImageNames) -> str:
    first, _, flag = line.partition(" ")
    if flag.strip() in ("-1", "0", "1") and images.find(first, without_ending=True) is not None:
        return f"'{line[:60]}' has a second column, as VOC's lists of one class. Expected a list of images alone"
    other = images.elsewhere(line)
    hint = f" (there is '{other}')" if other else ""
    return f"no image '{line[:100]}' in the input path{hint}. Expected names relative to it, with or without ending"
