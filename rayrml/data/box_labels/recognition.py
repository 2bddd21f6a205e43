"""Data sets with boxes as others lay them out: which folders and files are for training, validation and the test.

Sources: Ultralytics's data.yaml; COCO's `annotations/instances_train2017.json` with `train2017/`; the VOC development
kit's `JPEGImages`, `Annotations` and `ImageSets/Main`; folders `images` and `labels` with the parts in them, or in
the parts; and label files beside the images, as labelImg and darknet have them.
"""

from __future__ import annotations

import dataclasses
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rayrml import storage
from rayrml.data.box_labels import yolo
from rayrml.data.box_labels.class_names import read_description, read_yaml
from rayrml.data.box_labels.coco import is_document
from rayrml.data.box_labels.image_lists import stem_of
from rayrml.data.box_labels.label_files import Format, label_folder
from rayrml.data.box_labels.text_files import LabelMistake, read_lines, show
from rayrml.data.layout import ROLES, Listing, Role, find_roles
from rayrml.data.readers.images import IMAGE_EXTENSIONS
from rayrml.errors import DataError, Problem, explaining


@dataclasses.dataclass(frozen=True)
class BoxPart:
    """Where the images of a part and their labels are.

    Attributes:
        input_path: folder of the images, or several.
        target_path: folder of the label files or COCO's JSON file; None if they are found from the images.
        samples: list of the images to use, None for all.
    """

    input_path: str | tuple[str, ...]
    target_path: str | None = None
    samples: str | None = None


@dataclasses.dataclass(frozen=True)
class Recognized:
    """A data set with boxes.

    Attributes:
        format: how its boxes are written.
        parts: "training" and, if there are any, "validation" and "test".
        source: the file or folder that tells.
        classes: the classes if a file of the data set names them, else ().
        notes: what else was found and is not used.
    """

    format: Format
    parts: Mapping[Role, BoxPart]
    source: str
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def recognize(folder: str) -> Recognized | None:
    """The data set with boxes in a folder, None if there is none.

    Raises:
        DataError: the folder cannot be listed, or its data.yaml names folders that are not there.
    """
    listing = Listing(folder)
    with explaining(folder, "cannot be read"):
        for home in _homes(listing):
            for look in (_from_yaml, _from_coco, _from_voc, _from_folders, _from_neighbours):
                if (found := look(listing, home)) is not None:
                    return found
    return None


def _homes(listing: Listing) -> Iterator[str]:
    """The folder itself, and those that it or the next one holds alone, as archives make them."""
    home = ""
    for _ in range(_MOST_WRAPPERS + 1):
        yield home
        below = listing.folders(home)
        if len(below) != 1:
            return
        home = below[0]


def _from_yaml(listing: Listing, home: str) -> Recognized | None:
    names = listing.files(home, {".yaml", ".yml"})
    for name in sorted(names, key=lambda own: (not own.lower().startswith("data."), own)):
        path = storage.join(listing.path(home), name)
        try:
            value = read_yaml(path)
            if "train" not in value or "names" not in value:
                continue
            described = read_description(path)
        except DataError:
            if name.lower() in ("data.yaml", "data.yml"):
                raise
            continue
        parts: dict[Role, BoxPart] = {}
        notes: list[str] = []
        for role, keys in _KEYS.items():
            key = next((key for key in keys if value.get(key)), None)
            if key is None:
                continue
            part = _part_of_yaml(listing.path(home), value, value[key])
            if part is not None:
                parts[role] = part
            elif role == "training":
                message = f"{key} is '{value[key]}', which is not there. Expected folders or lists of images"
                raise DataError(Problem(show(path), message))
            else:
                notes.append(f"{show(path)}: {key} is '{value[key]}', which is not there")
        if "training" in parts:
            classes = () if described is None else described.names
            return Recognized("yolo", parts, path, classes, tuple(notes))
    return None


def _part_of_yaml(folder: str, value: Mapping[str, Any], named: Any) -> BoxPart | None:
    """The images that a key names: a folder, a list of images, or several folders. None if one is not there."""
    items = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    paths = [_locate(folder, value.get("path"), item) if isinstance(item, str) else None for item in items]
    found = [path for path in paths if path is not None]
    if not found or len(found) < len(paths):
        return None
    if len(found) > 1:
        return BoxPart(tuple(found)) if all(map(storage.is_folder, found)) else None
    path = found[0]
    if not storage.is_file(path):
        return BoxPart(path, _labels_of(path))
    images = _folder_of_list(path)
    return None if images is None else BoxPart(images, _labels_of(images), path)


def _locate(folder: str, base: Any, item: str) -> str | None:
    """A path in a data.yaml: relative to its `path`, else to its folder; exports often have a `../` too many."""
    bases = [folder]
    if isinstance(base, str) and base:
        bases.insert(0, _joined(folder, base))
    plain = re.sub(r"^(\.\.?/)+", "", item)
    candidates = [*(_joined(own, item) for own in bases), *(_joined(own, plain) for own in bases)]
    return next((path for path in candidates if storage.exists(path)), None)


def _joined(folder: str, below: str) -> str:
    if storage.is_uri(below):
        return below
    if storage.is_uri(folder):
        parts = posixpath.normpath(below).split("/")
        while parts[:1] == [".."]:
            folder, parts = storage.parent(folder), parts[1:]
        return storage.join(folder, *(part for part in parts if part != ".")) if parts else folder
    return posixpath.normpath(posixpath.join(folder, below))


def _folder_of_list(path: str) -> str | None:
    """The folder that holds all images of a list, whose lines are relative to the list's own folder or absolute."""
    try:
        lines = [line.replace("\\", "/") for line in read_lines(path) if line]
    except LabelMistake:
        return None
    if not lines:
        return None
    absolute = [line for line in lines if line.startswith("/")]
    if absolute and len(absolute) < len(lines):
        return None
    below = posixpath.commonpath([posixpath.dirname(posixpath.normpath(line)) or "." for line in lines])
    folder = _joined(storage.parent(path), below)
    return folder if storage.is_folder(folder) else None


def _labels_of(images: str) -> str | None:
    folder = label_folder(images, "images", "labels")
    return folder if folder is not None and storage.is_folder(folder) else None


def _from_coco(listing: Listing, home: str) -> Recognized | None:
    parts: dict[Role, BoxPart] = {}
    notes: list[str] = []
    for below, name in _list_documents(listing, home):
        path = storage.join(listing.path(below), name)
        role = _role_of(name) or _role_of(below.rpartition("/")[2]) or "training"
        if not is_document(path):
            continue
        images = _images_of(listing, home, (below, name, path))
        if images is None:
            notes.append(f"{show(path)}: its images are not there")
        elif role in parts:
            notes.append(f"{show(path)}: not used, as there is {show(str(parts[role].target_path))}")
        else:
            parts[role] = BoxPart(listing.path(images), path)
    if not parts:
        return None
    if "training" not in parts:  # one file of another name
        first = next(iter(parts))
        parts["training"] = parts.pop(first)
    return Recognized("coco", parts, str(parts["training"].target_path), notes=tuple(notes))


def _list_documents(listing: Listing, home: str) -> Iterator[tuple[str, str]]:
    """Folders and names of the JSON files that may hold labels; those of instances alone, if there are any."""
    folders = [home, *(below for below in listing.folders(home) if len(listing.folders(home)) <= _MOST_FOLDERS)]
    named = [(below, listing.files(below, {".json"})) for below in folders]
    # More of them are files of one image each.
    found = [(below, name) for below, names in named if len(names) <= _MOST_DOCUMENTS for name in names]
    instances = [(below, name) for below, name in found if "instances" in name.lower()]
    for below, name in instances or found:
        if not name.lower().startswith(_OTHER_DOCUMENTS):
            yield below, name


def _images_of(listing: Listing, home: str, document: tuple[str, str, str]) -> str | None:
    """The folder in which the first image of a document is."""
    below, name, path = document
    first = _first_image(path)
    if first is None:
        return None
    mark = re.sub(r"^_?(instances|annotations)?[_.-]*|\.json$", "", name, flags=re.IGNORECASE)
    names = [mark, *ROLES.get(_role_of(name) or "training", ()), "images", "JPEGImages"]
    near = [*dict.fromkeys([below, home])]
    tried = [
        below,
        *(f"{own}/{n}".lstrip("/") for own in near for n in names if n),
        *(f"{own}/images/{n}".lstrip("/") for own in near for n in names if n),
        home,
    ]
    for folder in dict.fromkeys(tried):
        for tail in (first, first.rpartition("/")[2]):
            if storage.is_file(storage.join(listing.path(folder), *tail.split("/"))):
                return folder
    return None


def _first_image(path: str) -> str | None:
    """The name of an image of a document, from its beginning if that has one."""
    start = storage.read_start(path, _START_BYTES).decode(errors="replace")
    match = re.search(r'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")', start)
    try:
        name = json.loads(match[1]) if match else json.loads(storage.read(path))["images"][0]["file_name"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    return name.replace("\\", "/").removeprefix("./") if isinstance(name, str) and name else None


def _role_of(name: str) -> Role | None:
    words = re.split(r"[^a-z]+", name.lower())
    return next((role for role, names in ROLES.items() if any(word in names for word in words)), None)


def _from_voc(listing: Listing, home: str) -> Recognized | None:
    if (inner := _join(home, "VOCdevkit")) in listing.folders(home):
        home = inner
    candidates = [home, *(below for below in listing.folders(home) if len(listing.folders(home)) <= _MOST_FOLDERS)]
    names = ("JPEGImages", "Annotations")
    found = [own for own in candidates if {_join(own, name) for name in names} <= {*listing.folders(own)}]
    if not found or not listing.holds(_join(found[-1], "Annotations"), {".xml"}):
        return None
    folder = found[-1]  # the last year
    images, annotations = (listing.path(_join(folder, name)) for name in names)
    lists = {name: path for name in ("train", "val", "trainval", "test") if (path := _list_of(listing, folder, name))}
    both = {"train", "val"} <= lists.keys()
    chosen = {
        "training": lists.get("train") if both else lists.get("trainval") or lists.get("train"),
        "validation": lists.get("val") if both else None,
        "test": lists.get("test"),
    }
    parts: dict[Role, BoxPart] = {"training": BoxPart(images, annotations, chosen["training"])}
    for role in ROLES:
        if role != "training" and chosen[role]:
            parts[role] = BoxPart(images, annotations, chosen[role])
    notes = [f"{show(listing.path(below))} is not used" for below in found[:-1]]
    return Recognized("voc", parts, listing.path(folder), notes=tuple(notes))


def _list_of(listing: Listing, folder: str, name: str) -> str | None:
    path = storage.join(listing.path(_join(folder, "ImageSets/Main")), f"{name}.txt")
    return path if storage.is_file(path) else None


def _from_folders(listing: Listing, home: str) -> Recognized | None:
    """`images` and `labels` with the parts in them; the parts with `images` and `labels` in them; or no parts."""
    pair = _find_pair(listing, home)
    if pair is not None:
        inputs, targets, kind = pair
        roles = find_roles(listing.folders(inputs))
        found: dict[Role, str] = {role: own[0].rpartition("/")[2] for role, own in roles.items() if own}
        own_parts: dict[Role, BoxPart] = {
            role: _part(listing, _join(inputs, name), _join(targets, name))
            for role, name in found.items()
            if _join(targets, name) in listing.folders(targets)
        }
        if "training" not in own_parts:
            own_parts = {"training": _part(listing, inputs, targets)}
        return Recognized(kind, own_parts, listing.path(home))
    parts: dict[Role, BoxPart] = {}
    kinds: list[Format] = []
    for role, own in find_roles(listing.folders(home)).items():
        inner = _find_pair(listing, own[0]) if own else None
        if inner is not None:
            parts[role] = _part(listing, *inner[:2])
            kinds.append(inner[2])
    return Recognized(kinds[0], parts, listing.path(home)) if "training" in parts else None


def _from_neighbours(listing: Listing, home: str) -> Recognized | None:
    """Label files beside the images: of all of them, or in a folder for each part."""
    kind = _neighbours(listing, home)
    if kind is not None:
        return Recognized(kind, {"training": _part(listing, home, home)}, listing.path(home))
    parts: dict[Role, BoxPart] = {}
    kinds: set[Format] = set()
    for role, own in find_roles(listing.folders(home)).items():
        kind = _neighbours(listing, own[0]) if own else None
        if kind is not None:
            parts[role] = _part(listing, own[0], own[0])
            kinds.add(kind)
    return Recognized(kinds.pop(), parts, listing.path(home)) if "training" in parts and len(kinds) == 1 else None


def _neighbours(listing: Listing, folder: str) -> Format | None:
    """The format of label files that are named like the images beside them; None if other text files are."""
    stems = {stem_of(name) for name in listing.files(folder, IMAGE_EXTENSIONS)}
    for ending, kind in _ENDINGS.items():
        names = [name for name in listing.files(folder, {ending}) if stem_of(name) in stems]
        paths = [storage.join(listing.path(folder), name) for name in names[:_MOST_LOOKED_AT]]
        contents = [content for path in paths if (content := storage.read(path).strip())]
        if contents and all(_is_label(kind, content) for content in contents):
            return kind
    return None


def _is_label(kind: Format, content: bytes) -> bool:
    if kind == "voc":
        return b"<annotation" in content
    try:
        return bool(yolo.parse(content))
    except LabelMistake:
        return False


def _find_pair(listing: Listing, home: str) -> tuple[str, str, Format] | None:
    """The folders of images and of label files in a folder, and the format of the files."""
    names = {folder.rpartition("/")[2].casefold(): folder for folder in listing.folders(home)}
    inputs = next((names[name] for name in _INPUTS if name in names), None)
    if inputs is None or not listing.holds(inputs, IMAGE_EXTENSIONS):
        return None
    for name in _TARGETS:
        for ending, kind in _ENDINGS.items():
            if name in names and listing.holds(names[name], {ending}):
                return inputs, names[name], kind
    return None


def _part(listing: Listing, inputs: str, targets: str) -> BoxPart:
    return BoxPart(listing.path(inputs), listing.path(targets))


def _join(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name


_KEYS: dict[Role, Sequence[str]] = {"training": ("train",), "validation": ("val", "valid"), "test": ("test",)}
_INPUTS, _TARGETS = ("images", "jpegimages"), ("labels", "annotations", "annotation")
_ENDINGS: dict[str, Format] = {".xml": "voc", ".txt": "yolo"}
_OTHER_DOCUMENTS = ("captions", "person_keypoints", "stuff", "panoptic", "image_info")
_MOST_FOLDERS, _MOST_WRAPPERS, _START_BYTES = 20, 2, 2**16
_MOST_DOCUMENTS = 20  # of a folder
_MOST_LOOKED_AT = 5  # label files, to tell them from other text files
