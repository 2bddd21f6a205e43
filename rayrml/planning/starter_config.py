"""A configuration to start from for a folder of images: a small network that fits its classes or masks."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rayrml.config.sections import Data, TargetKind
from rayrml.data.discovery import Samples, find_samples, label_by_folder, quote_some
from rayrml.data.layout import Kinds, Layout, Listing, Part, find_layout, find_roles, refuse_names_of_parts
from rayrml.data.pairing import pair
from rayrml.data.readers.images import IMAGE_EXTENSIONS, ImageHeader, read_header
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.planning import starter_recipe
from rayrml.planning.starter_masks import MaskClasses, look_at_masks
from rayrml.planning.starter_network import build_classifier, build_unet
from rayrml.planning.starter_table import TableFound, find_table, find_tables_beside, look_at_table
from rayrml.planning.table_targets import PREFIXES

_SHARE = 0.2  # of the images is kept for the test if there is no test folder
_MOST_LOOKED_AT = 100
_MOST_PRELOADED = 2**30  # bytes
# What is said of keys to people who edit them.
_COMMENTS = {
    "num_epochs": "Training ends earlier if the test loss no longer falls; best.pt is the network of the best epoch.",
    "layers": "One line per layer. The last one has one output for each class or number.",
    "batch_size": "Smaller batches need less memory.",
    "transforms": "What is random happens in training only. Larger sizes show more detail and take more time.",
    "optimizer": "If the loss jumps or stays where it is, try a third of the learning rate.",
}


@dataclasses.dataclass(frozen=True)
class Masks:
    """The masks of images, in the same order.

    Attributes:
        training: those of the images to train on.
        validation: those of the images to evaluate on, None if there are none.
        final_test: likewise for the final test.
        classes: what they hold.
    """

    training: Samples
    validation: Samples | None
    final_test: Samples | None
    classes: MaskClasses


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder of images contains.

    Attributes:
        training: the images to train on, with their classes if folders are classes.
        validation: those to evaluate on after each epoch; None if a share of the training images is kept for that.
        final_test: those to evaluate on once, None if there are none.
        targets: the masks of the images, None if their folders are their classes.
        num_classes: the number of classes of images, or of the pixels of masks.
        sizes: heights and widths of some of the images.
        gray: whether these are all grayscale.
        layout: the folders for training, validation and the final test; None if their names tell of none.
        table: what a table says of the images, None without one.
        unused_tables: the tables in the folder if they are not used.
    """

    training: Samples
    validation: Samples | None
    final_test: Samples | None
    targets: Masks | None
    num_classes: int
    sizes: tuple[tuple[int, int], ...]
    gray: bool
    layout: Layout | None = None
    table: TableFound | None = None
    unused_tables: tuple[str, ...] = ()

    @property
    def learns(self) -> TargetKind | Literal["masks"]:
        """What the network is to tell of an image."""
        if self.targets is not None:
            return "masks"
        return "class" if self.table is None else self.table.data.target_kind or "class"

    @property
    def parts(self) -> dict[str, Samples]:
        """The images of each part that there is."""
        found = {"training": self.training, "validation": self.validation, "final test": self.final_test}
        return {name: samples for name, samples in found.items() if samples is not None}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in the network."""
        return starter_recipe.choose_size(self.sizes)


def holds_arrays(folder: Path) -> bool:
    """Whether there are arrays in a folder, and no image in it or below."""
    return any(folder.glob("*.npy")) and not Listing(str(folder)).holds("", IMAGE_EXTENSIONS)


def look(folder: Path, labels: Path | None = None, keys: Mapping[str, Any] | None = None) -> Found:
    """The images in a folder: what they are for, their classes, masks or numbers, and their sizes.

    Args:
        folder: the images.
        labels: a table of their classes or numbers; by default the one in the folder, if they are in no class folders.
        keys: the keys of the section `data` that say how the table is read, as far as they are known.

    Raises:
        ConfigError: there is only one class.
        DataError: there are none, they are neither in class folders nor in a table, their folders or a table beside
            them can mean several things, or none of those inspected can be read.
    """
    if labels is not None:
        return _look_at_rows(look_at_table(folder, {"target_path": str(labels)}, keys))
    problem: ConfigError | DataError = DataError(Problem(str(folder), "holds no table. Expected `--labels FILE`"))
    if not keys:
        try:
            found = _look_at_folders(folder)
        except (ConfigError, DataError) as error:
            problem = error
        else:
            return dataclasses.replace(found, unused_tables=_check_tables(folder, found))
    table = find_table(folder, keys)
    if table is None:
        raise problem
    return _look_at_rows(table)


def _check_tables(folder: Path, found: Found) -> tuple[str, ...]:
    """The tables in a folder whose images have classes or masks already. Raises DataError if one has other classes."""
    contrary, others = find_tables_beside(folder, found.training)
    if contrary and found.targets is None:
        names = "names" if len(contrary) == 1 else "name"
        message = f"{quote_some(contrary, 3)} {names} the images, but they are in folders like classes"
        message = f"{message}, {quote_some(found.training.classes, 3)}"
        cure = f"`--labels {shlex.quote(str(folder / contrary[-1]))}` takes the table"
        raise DataError(Problem(str(folder), f"{message}. {cure}; move it elsewhere to learn the folders"))
    return (*contrary, *others)


def _look_at_rows(found: TableFound) -> Found:
    """The images that a table has rows for."""
    training, validation, final_test = (found.parts.get(part) for part in PREFIXES)
    if training is None:
        raise DataError(Problem(found.data.target_path or "", "has no row for training"))
    if found.data.target_kind == "class" and len(training.classes) < 2:
        message = f"all rows for training are of the class '{''.join(training.classes)}'. Expected several classes"
        raise DataError(Problem(found.data.target_path or "", message))
    sizes, gray = _look_at_sizes(training)
    return Found(training, validation, final_test, None, found.num_outputs, sizes, gray, table=found)


def _look_at_folders(folder: Path) -> Found:
    """The images in folders of classes, or of images and masks."""
    where, listing = str(folder), Listing(str(folder))
    with explaining(folder, "cannot be read"):
        layout = find_layout(listing, Kinds(IMAGE_EXTENSIONS, IMAGE_EXTENSIONS), where)
        if layout is not None and layout.training.target is not None:
            return _look_at_pairs(layout, where)
        layout = find_layout(listing, Kinds(IMAGE_EXTENSIONS, classes=True), where)
        root = _find_training(listing) if layout is None else layout.training.input
    training = _labelled(root, where)
    if len(training.classes) < 2:
        message = f"only one class found: '{''.join(training.classes)}'. Expected a folder for each of several classes"
        raise ConfigError(Problem(where, message))
    others = (None, None) if layout is None else (layout.evaluated, layout.final_test)
    validation, final_test = (part and _labelled(part.input, where, training.classes) for part in others)
    return Found(
        training, validation, final_test, None, len(training.classes), *_look_at_sizes(training), layout=layout
    )


def _look_at_pairs(layout: Layout, where: str) -> Found:
    """The images and masks in the folders of a layout."""
    training, masks = _pair(layout.training, where)
    pairs = [part and _pair(part, where) for part in (layout.evaluated, layout.final_test)]
    (validation, its_masks), (final_test, their_masks) = (pair or (None, None) for pair in pairs)
    classes = look_at_masks(masks)
    targets = Masks(masks, its_masks, their_masks, classes)
    return Found(
        training, validation, final_test, targets, classes.num_classes, *_look_at_sizes(training), layout=layout
    )


def _pair(part: Part, where: str) -> tuple[Samples, Samples]:
    """The images of a part and the mask of each. Raises DataError if one has none."""
    inputs, targets = (find_samples(path, IMAGE_EXTENSIONS, where) for path in (part.input, part.target or part.input))
    return pair(inputs, targets, where)


def _look_at_sizes(samples: Samples) -> tuple[tuple[tuple[int, int], ...], bool]:
    """Heights and widths of some of the images, and whether these are all grayscale."""
    headers = _read_headers(samples)
    return tuple(header.size for header in headers), all(header.gray for header in headers)


def _find_training(listing: Listing) -> str:
    """The folder of all images: one that is named so if it alone holds some."""
    filled = [folder for folder in listing.folders("") if listing.holds(folder, IMAGE_EXTENSIONS)]
    alone = len(filled) == 1 and "training" in find_roles(filled)
    return listing.path(filled[0]) if alone else listing.root


def configuration(found: Found, name: str) -> dict[str, Any]:
    """A configuration that trains a small network on the images; the run's files are named after `name`."""
    size, channels = found.size, 1 if found.gray else 3
    training = starter_recipe.choose_training(len(found.training))
    count = sum(map(len, found.parts.values()))
    data = {
        "input_type": "images",
        "target_type": "images" if found.targets is not None else "labels" if found.table is None else "table",
        **(_paths(found) if found.table is None else _columns(found, found.table.data)),
        "batch_size": starter_recipe.choose_batch_size(len(found.training)),
        **_kinds(found),
        "preload": count * channels * size[0] * size[1] <= _MOST_PRELOADED,
        "on_bad_sample": "skip",
        **starter_recipe.choose_transforms(found.sizes, found.gray, found.learns),
    }
    network = {
        "outfile": f"out_{name}.txt",
        "num_epochs": training["num_epochs"],
        "layers": _network(found, (*size, channels)),
        "checkpoints": {"save": f"./{name}_model/", "interval": training["num_epochs"]},
        "data": data,
        "optimizer": training["optimizer"],
        "loss": _loss(found),
        "early_stopping": training["early_stopping"],
    }
    return {"neural_network": network}


def _paths(found: Found) -> dict[str, Any]:
    """The keys that name the samples."""
    targets = found.targets
    sides = {
        "": (found.training, targets and targets.training),
        "test_": (found.validation, targets and targets.validation),
        "final_test_": (found.final_test, targets and targets.final_test),
    }
    paths: dict[str, Any] = {}
    for prefix, (inputs, masks) in sides.items():
        if inputs is not None:
            paths[f"{prefix}input_path"] = inputs.root
        if masks is not None:
            paths[f"{prefix}target_path"] = masks.root
    return paths if found.validation is not None else {**paths, "test_share": _SHARE}


def _columns(found: Found, data: Data) -> dict[str, Any]:
    """The keys that name the samples and the columns of a table."""
    keys = [f"{prefix}{key}" for prefix in PREFIXES.values() for key in ("input_path", "target_path")]
    keys += ["file_column", "target_column", "target_kind", "separator", "split_column"]
    named = {key: value for key in keys if (value := getattr(data, key)) is not None}
    return named if found.validation is not None else {**named, "test_share": _SHARE}


def _kinds(found: Found) -> dict[str, Any]:
    """The keys that say how images and masks are read."""
    if found.targets is None:
        return {"grayscale": found.gray}
    return {"input_grayscale": found.gray, "target_grayscale": True, "target_is_mask": True}


def _network(found: Found, shape: tuple[int, int, int]) -> list[dict[str, Any]]:
    """The layers of a network for the images."""
    if found.targets is None:
        ending = "log_softmax" if found.learns == "class" else None
        return build_classifier(shape, found.num_classes, len(found.training), ending)
    return build_unet(shape, 1 if _is_object(found.targets) else found.num_classes, len(found.training))


def _loss(found: Found) -> dict[str, Any]:
    """The loss for the network's output."""
    if found.targets is None:
        if found.learns == "number":
            return {"function": "MSE", "standardize": True}
        return {"function": "NLL"} if found.learns == "class" else {"function": "BCE", "source": "logits"}
    if _is_object(found.targets):
        return {"function": "Dice", "source": "sigmoid"}
    ignored = found.targets.classes.ignored
    return {"function": "NLL", "source": "softmax", **({} if ignored is None else {"ignore_index": ignored})}


def _is_object(masks: Masks) -> bool:
    """Whether masks tell one kind of object from its background, for which one probability is enough."""
    return masks.classes.num_classes == 2 and masks.classes.ignored is None


def text(configuration: dict[str, Any], comments: Mapping[str, str] = _COMMENTS) -> str:
    """The configuration as a file for people to edit: one line per key and per layer, with a few comments on keys."""
    lists: list[list[Any]] = []
    content = json.dumps(_take_out(configuration, lists), indent=4, ensure_ascii=False)
    for number, entries in enumerate(lists):
        content = re.sub(rf'^( *)(.*)"<{number}>"', functools.partial(_put_back, entries), content, flags=re.MULTILINE)
    for key, comment in comments.items():
        content = re.sub(rf'^( *)("{key}":)', rf"\1// {comment}\n\1\2", content, count=1, flags=re.MULTILINE)
    return f"{content}\n"


def _take_out(value: Any, lists: list[list[Any]]) -> Any:
    """A copy of `value` with a mark for each list of objects, which is appended to `lists`."""
    if isinstance(value, dict):
        return {key: _take_out(item, lists) for key, item in value.items()}
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        lists.append(value)
        return f"<{len(lists) - 1}>"
    return value


def _put_back(entries: list[Any], mark: re.Match[str]) -> str:
    """The line with a mark and, in place of it, a line for each entry."""
    indent, before = mark.groups()
    lines = ",\n".join(f"{indent}    {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
    return f"{indent}{before}[\n{lines}\n{indent}]"


def _labelled(folder: str, where: str, classes: tuple[str, ...] | None = None) -> Samples:
    samples = label_by_folder(find_samples(folder, IMAGE_EXTENSIONS, where), None, where, classes)
    refuse_names_of_parts(samples, where)
    return samples


def _read_headers(samples: Samples) -> list[ImageHeader]:
    """The headers of evenly sampled images. Raises DataError if none can be read."""
    found: list[ImageHeader] = []
    problems: list[Problem] = []
    for index in samples.spread(_MOST_LOOKED_AT):
        try:
            found.append(read_header(samples.path(index)))
        except DataError as error:
            problems += error.problems
    if not found:
        raise DataError(problems[0])
    return found
