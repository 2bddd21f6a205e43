"""Which label file belongs to which image, in a folder of label files or beside the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from rayrml import storage
from rayrml.data.box_labels.class_names import LISTS
from rayrml.data.box_labels.coco import is_document
from rayrml.data.box_labels.image_lists import fold, stem_of
from rayrml.data.box_labels.text_files import show
from rayrml.data.discovery import Samples, list_files, quote_some
from rayrml.errors import DataError, Problem, explaining

Format = Literal["yolo", "coco", "voc"]
ENDING_OF: dict[str, str] = {"yolo": ".txt", "voc": ".xml"}
NAMES: dict[str, str] = {"yolo": "YOLO", "coco": "COCO", "voc": "VOC"}
# What the last folder of such a name is replaced by, to come from images to labels.
_FOLDERS = (("images", "labels"), ("JPEGImages", "Annotations"), ("images", "Annotations"), ("images", "annotations"))


@dataclasses.dataclass(frozen=True)
class LabelFiles:
    """The label files of images.

    Attributes:
        format: how boxes are written in them.
        folder: where they are; of COCO's labels, the path of the file itself.
        names: all of them, relative to the folder.
        of_image: (N,) int64, the label file of each image; -1 if it has none.
    """

    format: Format
    folder: str
    names: Sequence[str] = ()
    of_image: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def unused(self) -> list[str]:
        """The names of the files that belong to no image."""
        used = set(self.of_image.tolist())
        return [name for number, name in enumerate(self.names) if number not in used]

    def path(self, image: int) -> str:
        """The path of an image's label file."""
        return storage.join(self.folder, self.names[int(self.of_image[image])])

    def sharing(self) -> dict[int, list[int]]:
        """The images of each label file that several images would have."""
        owners: dict[int, list[int]] = {}
        for image, file in enumerate(self.of_image.tolist()):
            if file >= 0:
                owners.setdefault(file, []).append(image)
        return {file: images for file, images in owners.items() if len(images) > 1}


def find_label_files(images: Samples, path: str | None, wanted: str, where: str) -> LabelFiles:
    """The label files of images.

    Args:
        images: the images.
        path: a folder of label files, or COCO's JSON file; None to look where data sets usually have them.
        wanted: their format, or "auto".
        where: JSON path of the key that names them.

    Raises:
        DataError: nothing is there, formats are mixed, or no image has a label file.
    """
    if path is None:
        return _find_beside(images, wanted, where)
    with explaining(where, f"cannot read '{path}'"):
        if storage.is_file(path):
            return _check_document(path, wanted, where)
        if not storage.is_folder(path):
            raise DataError(Problem(where, f"no such folder or file: '{path}'"))
    listing = _Listing.of(path, where)
    document = _find_document(listing, wanted)
    if document is not None:
        return LabelFiles("coco", document)
    if wanted == "coco":
        raise DataError(Problem(where, f"'{path}' is a folder. Expected the path of COCO's JSON file"))
    return _match(images, listing, wanted, where)


def label_folder(folder: str, name: str, replacement: str) -> str | None:
    """A path whose last part of that name is replaced; None if it has no such part."""
    place, mark, options = folder.partition("?") if storage.is_uri(folder) else (folder, "", "")
    parts = place.split("/")
    if name not in parts:
        return None
    last = len(parts) - 1 - parts[::-1].index(name)
    return "/".join([*parts[:last], replacement, *parts[last + 1 :]]) + mark + options


@dataclasses.dataclass(frozen=True)
class _Listing:
    """What a folder has below it, relative to it."""

    folder: str
    text: Sequence[str]
    xml: Sequence[str]
    json: Sequence[str]

    @classmethod
    def of(cls, folder: str, where: str) -> _Listing:
        names = list_files(folder, (".txt", ".xml", ".json"), where).names
        of_ending = {ending: [n for n in names if n.lower().endswith(ending)] for ending in (".txt", ".xml", ".json")}
        text = [name for name in of_ending[".txt"] if not _is_no_label(name)]
        return cls(folder, text, of_ending[".xml"], of_ending[".json"])

    def of_format(self, kind: str) -> Sequence[str]:
        return self.text if kind == "yolo" else self.xml


def _is_no_label(name: str) -> bool:
    base = name.rpartition("/")[2].lower()
    return base in LISTS or base.startswith("readme.")


def _check_document(path: str, wanted: str, where: str) -> LabelFiles:
    if storage.suffix(path) != ".json":
        raise DataError(Problem(where, f"'{path}' is no file of labels. Expected a folder, or COCO's JSON file"))
    if wanted not in ("auto", "coco"):
        message = (
            f"'{path}' is a JSON file, which {NAMES[wanted]} does not have. Expected a folder, or another box_format"
        )
        raise DataError(Problem(where, message))
    return LabelFiles("coco", path)


def _find_document(listing: _Listing, wanted: str) -> str | None:
    """The only JSON file of COCO's labels in a folder that has no other label files."""
    if wanted not in ("auto", "coco") or (wanted == "auto" and (listing.text or listing.xml)):
        return None
    paths = [storage.join(listing.folder, name) for name in listing.json if "/" not in name]
    return paths[0] if len(paths) == 1 and is_document(paths[0]) else None


def _find_beside(images: Samples, wanted: str, where: str) -> LabelFiles:
    tried: list[str] = []
    for name, replacement in _FOLDERS:
        folder = label_folder(images.root, name, replacement)
        if folder is None or folder in tried:
            continue
        tried.append(folder)
        if storage.is_folder(folder):
            listing = _Listing.of(folder, where)
            if any(listing.of_format(kind) for kind in _kinds(wanted)):
                return _match(images, listing, wanted, where)
    listing = _Listing.of(images.root, where)
    document = _find_document(listing, wanted)
    if document is not None:
        return LabelFiles("coco", document)
    if not any(listing.of_format(kind) for kind in _kinds(wanted)):
        looked = quote_some([*map(show, tried), show(images.root)])
        found = f", but {quote_some(listing.json, 3)}" if listing.json else ""
        message = f"no label files in {looked}{found}. Expected target_path: a folder of them, or COCO's JSON file"
        raise DataError(Problem(where, message))
    return _match(images, listing, wanted, where)


def _kinds(wanted: str) -> Iterator[Format]:
    kinds: tuple[Format, ...] = ("voc", "yolo")
    for kind in kinds:
        if wanted in ("auto", kind):
            yield kind


def _match(images: Samples, listing: _Listing, wanted: str, where: str) -> LabelFiles:
    found: list[Format] = [kind for kind in _kinds(wanted) if listing.of_format(kind)]
    if not found:
        endings = " or ".join(ENDING_OF[kind] for kind in _kinds(wanted))
        others = (
            f". It has {quote_some(listing.json, 3)}: name a file, if it holds COCO's labels" if listing.json else ""
        )
        raise DataError(Problem(where, f"no label files ({endings}) in '{listing.folder}'{others}"))
    matched = {kind: _match_names(images.names, listing.of_format(kind)) for kind in found}
    fitting: list[Format] = [kind for kind in found if (matched[kind] >= 0).any()]
    if len(fitting) > 1:
        message = f"'{listing.folder}' has label files of both kinds, .xml (VOC) and .txt (YOLO)"
        raise DataError(Problem(where, f'{message}. Expected "box_format": "voc" or "yolo"'))
    if not fitting:
        raise DataError(Problem(where, _explain_unmatched(images, listing, found[0])))
    kind = fitting[0]
    return LabelFiles(kind, listing.folder, listing.of_format(kind), matched[kind])


def _match_names(images: Sequence[str], files: Sequence[str]) -> np.ndarray:
    """(N,) int64, the label file of each image, -1 for none: of the same name, else of one that differs in case."""
    stems = [stem_of(name) for name in images]
    exact = {stem_of(name): number for number, name in enumerate(files)}
    found = np.array([exact.get(stem, -1) for stem in stems], np.int64)
    if (found >= 0).all():
        return found
    if not (found >= 0).any():  # images in folders `images` below, beside folders `labels`
        for name, replacement in _FOLDERS:
            replaced = [label_folder(stem, name, replacement) for stem in stems]
            found = np.array([-1 if stem is None else exact.get(stem, -1) for stem in replaced], np.int64)
            if (found >= 0).any():
                stems = [other or stem for stem, other in zip(stems, replaced, strict=True)]
                break
    taken = set(found.tolist())
    free: dict[str, list[int]] = {}
    for number, name in enumerate(files):
        if number not in taken:
            free.setdefault(fold(stem_of(name)), []).append(number)
    for image in np.flatnonzero(found < 0).tolist():
        near = free.get(fold(stems[image]), [])
        if len(near) == 1:
            found[image] = near[0]
    return found


def _explain_unmatched(images: Samples, listing: _Listing, kind: Format) -> str:
    files = listing.of_format(kind)
    expected = stem_of(images.names[0]) + ENDING_OF[kind]
    owners = f"none of the {len(images)} images has a label file" if len(images) > 1 else "the image has no label file"
    return (
        f"{owners} in '{show(listing.folder)}', which has {len(files)}, such as '{files[0]}'. "
        f"Expected '{expected}' for '{images.names[0]}' in '{show(images.root)}'"
    )
