"""Reading the labels of images: which files, which format, which classes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rayrml import storage
from rayrml.data.box_labels import coco, voc, yolo
from rayrml.data.box_labels.class_names import Description, check_names, find_description, read_names
from rayrml.data.box_labels.image_lists import ImageNames, select_samples
from rayrml.data.box_labels.label_files import NAMES, LabelFiles, find_label_files
from rayrml.data.box_labels.labels import LabelOptions, Labels
from rayrml.data.box_labels.mistakes import explain_bad
from rayrml.data.box_labels.table import Rows, no_rows
from rayrml.data.box_labels.text_files import read_files, show
from rayrml.data.discovery import Samples, quote_some
from rayrml.errors import MOST_NAMED, ConfigError, DataError, Problem, printable
from rayrml.formatting import shorten


def read_labels(images: Samples, options: LabelOptions) -> Labels:
    """What label files say of images.

    Args:
        images: all images of the input path.
        options: where labels are, and what they mean.

    Raises:
        DataError: there are no labels, or they have a mistake that concerns more than some images. What is wrong with
            the labels of single images is in `bad`.
        ConfigError: `box_origin` is given for another format than VOC.
    """
    files = find_label_files(images, options.target_path, options.box_format, options.where)
    if options.box_origin != "auto" and files.format != "voc":
        message = f"has no effect on labels of {NAMES[files.format]}. Expected it for VOC alone"
        raise ConfigError(Problem(f"{options.section}box_origin", message))
    given = _given_classes(options)
    selected = np.arange(len(images))
    if options.samples is not None:
        selected = select_samples(images.names, options.samples, f"{options.prefix}samples")
    if files.format == "coco":
        labels = _read_coco(images, selected, (files, given), options)
    else:
        start = _start(images, selected, files, options)
        read = _read_yolo if files.format == "yolo" else _read_voc
        labels = read(start, given, options)
    return dataclasses.replace(labels, notes=tuple(map(printable, labels.notes)))


def _given_classes(options: LabelOptions) -> tuple[str, ...] | None:
    where = f"{options.section}classes"
    if options.classes is None:
        return None
    if isinstance(options.classes, str):
        return read_names(options.classes, where)
    return check_names(list(options.classes), where)


def _start(images: Samples, selected: np.ndarray, files: LabelFiles, options: LabelOptions) -> Labels:
    """The images and their label files, without the objects."""
    own = dataclasses.replace(files, of_image=files.of_image[selected])
    labelled = int((own.of_image >= 0).sum())
    if not labelled:
        message = f"none of the images that '{options.samples}' lists has a label file in '{show(files.folder)}'"
        raise DataError(Problem(options.where, message))
    unused = files.unused
    count = f"{labelled}" if labelled == len(selected) else f"{labelled} of {len(selected)}"
    notes = [f"Labels: {NAMES[files.format]} in {show(files.folder)}, for {count} images"]
    if unused:
        whose = "1 label file of no image is" if len(unused) == 1 else f"{len(unused)} label files of no image are"
        notes.append(f"{whose} not used: {quote_some(unused, 3)}")
    return Labels(
        samples=images.only(selected.tolist()),
        numbers=selected,
        files=own,
        rows=no_rows(),
        names=(),
        are_named=True,
        classes=(),
        told_sizes=np.zeros((len(selected), 2), np.int64),
        bad=_explain_shared(own, images, selected),
        notes=tuple(notes),
        counts={
            "labelled": labelled,
            "unlabelled": len(selected) - labelled,
            "unused_files": len(unused),
            "unused_images": 0,
        },
    )


def _explain_shared(files: LabelFiles, images: Samples, selected: np.ndarray) -> dict[int, str]:
    bad: dict[int, str] = {}
    for group in files.sharing().values():
        called = quote_some([images.name(selected[image]) for image in group], 3)
        message = f"{show(files.path(group[0]))}: belongs to several images, {called}. Expected different names"
        bad |= dict.fromkeys(group, message)
    return bad


def _parse_files(labels: Labels, parse: Any) -> tuple[dict[int, Any], dict[int, str]]:
    """What `parse` makes of each image's label file, by image; and what is wrong with the others."""
    owners = [i for i in np.flatnonzero(labels.files.of_image >= 0).tolist() if i not in labels.bad]
    parsed: dict[int, Any] = {}
    bad = dict(labels.bad)
    for image, content in zip(owners, read_files([labels.files.path(i) for i in owners], parse), strict=True):
        if isinstance(content, str):
            bad[image] = content
        else:
            parsed[image] = content
    return parsed, bad


def _read_yolo(labels: Labels, given: tuple[str, ...] | None, options: LabelOptions) -> Labels:
    folders = list(dict.fromkeys([labels.files.folder, labels.samples.root]))
    described, notes = (None, []) if given is not None else find_description(folders)
    pose = 5 + described.keypoints if described is not None and described.keypoints else 0
    parsed, bad = _parse_files(labels, functools.partial(yolo.parse, pose=pose))
    paths = _Paths(labels.files)
    rows, wrong = yolo.join_rows(parsed.items(), paths)
    own = described.names if described is not None else options.known or _number_classes(rows, labels)
    names = given or own
    named_by = "" if described is None else described.path
    return dataclasses.replace(
        labels,
        rows=rows,
        names=names,
        classes=names,
        are_named=given is not None or described is not None,
        bad=bad | wrong,
        named_by=named_by,
        notes=(*labels.notes, *([] if given else _describe_names(described, names, options.known)), *notes),
    )


def _describe_names(described: Description | None, names: Sequence[str], known: Sequence[str]) -> list[str]:
    if known and names == known and described is not None:
        return []
    if described is None and known:
        return ["No names of classes found (data.yaml, classes.txt, obj.names): numbers taken as those of training"]
    if described is None:
        count = "1 class" if len(names) == 1 else f"{len(names)} classes"
        return [f"No names of classes found (data.yaml, classes.txt, obj.names): {count}, named by number"]
    order = ", in another order than in training" if known and set(names) == set(known) and names != known else ""
    return [f"Classes from {show(described.path)}{order}: {shorten(names)}"]


def _number_classes(rows: Rows, labels: Labels) -> tuple[str, ...]:
    largest = int(rows.codes.max()) if len(rows) else 0
    if largest >= _MOST_NUMBERED:
        row = int(rows.codes.argmax())
        place = dataclasses.replace(labels, rows=rows).place_of_row(
            row, f"class {largest} would be the last of as many"
        )
        raise DataError(Problem("", f"{place}. Expected the names of classes, in a data.yaml or classes.txt"))
    return tuple(map(str, range(largest + 1)))


class _Paths(Sequence[str]):
    """The path of each image's label file, made when it is needed."""

    def __init__(self, files: LabelFiles):
        self._files = files

    def __len__(self) -> int:
        return len(self._files.of_image)

    def __getitem__(self, image: Any) -> Any:
        return self._files.path(image)


def _read_voc(labels: Labels, given: tuple[str, ...] | None, options: LabelOptions) -> Labels:
    parsed, bad = _parse_files(labels, voc.parse)
    origin, note = _find_origin(labels.files, parsed, options)
    found = {each.name for one in parsed.values() for each in one.objects}
    names = tuple(sorted(found | set(given or ())))
    rows, sizes = voc.join_rows(parsed, {name: code for code, name in enumerate(names)}, origin)
    told = labels.told_sizes.copy()
    for image, size in sizes.items():
        told[image] = size
    classes = given or options.known or names
    if not classes:
        message = f"no label file in '{show(labels.files.folder)}' has an object, so there are no classes"
        raise DataError(*explain_bad(bad.values()), Problem(options.where, f'{message}. Expected some, or "classes"'))
    if origin == 0:
        _refuse_shares(rows, labels.files.folder)
    return dataclasses.replace(
        labels,
        rows=rows,
        names=names,
        classes=classes,
        told_sizes=told,
        bad=bad,
        origin=origin,
        notes=(*labels.notes, note),
    )


def _find_origin(files: LabelFiles, parsed: Mapping[int, voc.Annotation], options: LabelOptions) -> tuple[int, str]:
    """What the first pixel is called in the whole folder, and what to say of it."""
    if options.box_origin != "auto":
        return options.box_origin, f"VOC: pixels counted from {options.box_origin}, as configured"
    one = voc.counts_from_one(parsed.values())
    if one:  # also files that are not used count
        used = set(files.of_image.tolist())
        others = [storage.join(files.folder, n) for number, n in enumerate(files.names) if number not in used]
        one = voc.counts_from_one(a for a in read_files(others, voc.parse) if not isinstance(a, str))
    if one:
        return 1, "VOC: pixels counted from 1, as all coordinates are whole numbers of at least 1 (box_origin)"
    return 0, "VOC: pixels counted from 0, as some coordinates are 0 or fractions (box_origin)"


def _read_coco(
    images: Samples, selected: np.ndarray, found: tuple[LabelFiles, tuple[str, ...] | None], options: LabelOptions
) -> Labels:
    files, given = found
    document = coco.read(files.folder)
    owners, missing = _find_images(document, images, options)
    wanted = set(selected.tolist())
    numbers = np.array(sorted(number for number in owners if number in wanted), np.int64)
    if not len(numbers):
        message = f"'{show(document.path)}' names none of the images that '{options.samples}' lists"
        raise DataError(Problem(options.where, message))
    keys = [owners[number] for number in numbers.tolist()]
    rows, bad = coco.join_rows(document, {key: image for image, key in enumerate(keys)})
    _refuse_shares(rows, document.path)
    entries = [document.entries[key] for key in keys]
    unused = len(selected) - len(numbers)
    notes = [f"Labels: COCO in {show(document.path)}, for {len(numbers)} images"]
    if unused:
        them = "1 image that it does not name is" if unused == 1 else f"{unused} images that it does not name are"
        notes.append(f"{them} not used")
    return Labels(
        samples=images.only(numbers.tolist(), missing if options.samples is None else ()),
        numbers=numbers,
        files=files,
        rows=rows,
        names=document.names,
        are_named=True,
        classes=given or document.names,
        told_sizes=np.array([entry.size for entry in entries], np.int64),
        bad=bad,
        notes=tuple(notes),
        counts={"labelled": len(numbers), "unlabelled": 0, "unused_files": 0, "unused_images": unused},
        named_by=document.path,
        document=document,
        image_ids=tuple(entry.id for entry in entries),
        category_ids=dict(zip(document.names, document.category_ids, strict=True)),
    )


def _find_images(
    document: coco.Document, images: Samples, options: LabelOptions
) -> tuple[dict[int, coco.Key], list[str]]:
    """The id of each image that the file names, and what to say of those that are not there.

    Raises:
        DataError: images are not there, unless they are to be skipped; or an image has several ids.
    """
    names = ImageNames(images.names)
    owners: dict[int, coco.Key] = {}
    missing: list[str] = []
    twice: list[str] = []
    for key, entry in document.entries.items():
        try:
            number = names.find(entry.file_name)
        except ValueError as error:
            twice.append(str(error))
            continue
        if number is None:
            missing.append(entry.file_name)
        elif number in owners:
            both = f"'{document.entries[owners[number]].file_name}' and '{entry.file_name}'"
            twice.append(f"images {owners[number]} and {key}, {both}, are the same file '{images.names[number]}'")
        else:
            owners[number] = key
    reasons = [f"{show(document.path)}: no image '{name}' in '{show(images.root)}'" for name in missing]
    if twice:
        raise DataError(*explain_bad(f"{show(document.path)}: {line}" for line in twice))
    if missing and not (owners and (options.skips or options.samples is not None)):
        raise _explain_missing(document, images, missing)
    return owners, reasons


def _explain_missing(document: coco.Document, images: Samples, missing: Sequence[str]) -> DataError:
    names = ImageNames(images.names)
    other = names.elsewhere(missing[0])
    hint = f"There is '{other}': expected names relative to the input path" if other else _EXPECTED_IMAGES
    count = f"{len(missing)} of {len(document.entries)} images" if len(document.entries) > 1 else "the image"
    message = f"{count} not in '{show(images.root)}': {quote_some(missing, MOST_NAMED)}. {hint}"
    return DataError(Problem(show(document.path), message))


def _refuse_shares(rows: Rows, path: str) -> None:
    """Raise DataError if boxes are shares of the size: none reaches beyond the first pixel."""
    if len(rows) < _FEW_ROWS or rows.corners.max() > 1 or (rows.corners == np.floor(rows.corners)).all():
        return
    message = "all boxes lie within the first pixel, as shares of the size do. Expected pixels"
    raise DataError(Problem(show(path), message))


_FEW_ROWS, _MOST_NUMBERED = 3, 10_000
_EXPECTED_IMAGES = 'Expected all of them; "on_bad_sample": "skip" leaves such images out'
