"""`rayrml new`: write a configuration for a folder of images or arrays."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayrml.commands.first_words import announce_reading
from rayrml.errors import ConfigError, Problem, explaining

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rayrml.planning.starter_boxes import BoxesFound
    from rayrml.planning.starter_config import Found
    from rayrml.planning.starter_masks import MaskClasses
    from rayrml.reporting.console import Console

HELP = "write a configuration to start from, for a folder of images or arrays"
EXAMPLES = (
    "rayrml new images",
    "rayrml new images --output config.json",
    "rayrml new images --labels labels.csv",
)
_MOST_SHOWN = 10  # classes
KINDS = ("class", "classes", "number")  # of `target_kind`; its type would take long to import


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument(
        "folder",
        metavar="FOLDER",
        help="folders of images: one for each class, or train, val and test, or images and masks, or with a table, or "
        "with boxes (YOLO, COCO, VOC); or of arrays, such as x_train.npy and y_train.npy",
    )
    verb.add_argument("--labels", metavar="FILE", help="table with a row for each image: CSV, TSV, JSON Lines, Parquet")
    verb.add_argument("--columns", nargs="+", metavar="NAME", help="its columns of classes or numbers, if it has more")
    verb.add_argument("--file-column", metavar="NAME", help="its column of file names, if several may be that")
    verb.add_argument("--kind", choices=KINDS, help="what the columns hold, if it is not what they look like")
    verb.add_argument("--batch-size", type=_positive, metavar="N", help="samples of a batch (default: by their number)")
    verb.add_argument(
        "--output",
        metavar="FILE.json",
        help="output file (default: FOLDER.json in the current folder; boxes.json for images with boxes)",
    )


def do(options: argparse.Namespace) -> None:
    """Inspect the images, write the file and print what is in it. Raises ConfigError and DataError."""
    announce_reading(options.folder)
    from rayrml import storage
    from rayrml.planning import starter_config

    if storage.is_uri(options.folder):
        raise ConfigError(Problem(options.folder, "expected a folder on this machine"))
    folder = Path(options.folder)
    output = None if options.output is None else _check_output(Path(options.output))
    labels = None if options.labels is None else Path(options.labels)
    keys = {"target_column": options.columns, "file_column": options.file_column, "target_kind": options.kind}
    keys = {key: value for key, value in keys.items() if value is not None}
    boxes = None
    if labels is None and not keys:
        from rayrml.planning import starter_boxes

        boxes = starter_boxes.find_boxes(folder)
    if output is None:
        name = "boxes" if boxes is not None else folder.absolute().name or "images"
        output = _check_output(Path(f"{name}.json"))
    if boxes is not None:
        _refuse_inside(folder, boxes.training.images.root)
        _write_for_boxes(boxes, output, options.batch_size)
        return
    if starter_config.holds_arrays(folder):
        _write_for_arrays(folder, output, options.batch_size)
        return
    found = starter_config.look(folder, labels, keys)
    _refuse_inside(folder, found.training.root)
    document = _with_batch_size(starter_config.configuration(found, output.stem), options.batch_size)
    console = _write(starter_config.text(document), output)
    console.lines(_describe_samples(found))
    _show_folders(console, found)
    console.lines(_describe_images(found))
    _show_next(console, output)


def _positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number >= 1, got '{text}'")
    return int(text)


def _check_output(output: Path) -> Path:
    """The file to write. Raises ConfigError if it is there, or would be of another format."""
    if output.suffix.lower() in (".yaml", ".yml", ".toml"):
        raise ConfigError(Problem(str(output), "the configuration is written as JSON. Expected a name like FILE.json"))
    if output.exists():
        raise ConfigError(Problem(str(output), "already exists. `--output FILE.json` names another file"))
    return output


def _refuse_inside(folder: Path, images: str) -> None:
    """Raise ConfigError if a run in the current folder would write among the images."""
    if Path.cwd().is_relative_to(Path(images).resolve()):
        message = "is or contains the current folder: a run would write its plots among the images. Run this "
        raise ConfigError(Problem(str(folder), f"{message}from another folder, for example after `cd ..`"))


def _with_batch_size(document: dict[str, Any], batch_size: int | None) -> dict[str, Any]:
    if batch_size is not None:
        document["neural_network"]["data"]["batch_size"] = batch_size
    return document


def _write_for_boxes(found: BoxesFound, output: Path, batch_size: int | None) -> None:
    """Write the file for images with boxes, and print what is in it."""
    from rayrml.planning import starter_boxes, starter_config

    document = starter_boxes.configuration(found, output.stem, batch_size)
    console = _write(starter_config.text(document, starter_boxes.COMMENTS), output)
    console.lines(starter_boxes.describe(found, document["neural_network"]["data"]["batch_size"]))
    _show_next(console, output)


def _write_for_arrays(folder: Path, output: Path, batch_size: int | None) -> None:
    """Inspect arrays, write the file and print what is in it."""
    from rayrml.planning import starter_arrays, starter_config

    found = starter_arrays.find_arrays(folder)
    document = _with_batch_size(starter_arrays.configuration(found, output.stem), batch_size)
    console = _write(starter_config.text(document), output)
    console.lines(found.describe())
    _show_next(console, output)


def _write(content: str, output: Path) -> Console:
    """Write the file; return where to say what is in it."""
    from rayrml import storage
    from rayrml.reporting.console import Console

    with explaining(output, "cannot be written"):
        storage.write(output, content.encode())
    return Console(stamped=False)


def _show_next(console: Console, output: Path) -> None:
    console.line(f"Wrote {output}. Next:")
    console.commands("   ", [f"rayrml {shlex.quote(str(output))}"])


def _describe_samples(found: Found) -> Iterator[str]:
    """What the folder contains and how it is used."""
    training = found.training
    if found.table is not None:
        yield found.table.description[:1].upper() + found.table.description[1:]
        yield from found.table.notes
        what = "images"
    elif found.targets is None:
        shown = ", ".join(training.classes[:_MOST_SHOWN])
        more = f" and {found.num_classes - _MOST_SHOWN} more" if found.num_classes > _MOST_SHOWN else ""
        yield f"{found.num_classes} classes: {shown}{more}"
        what = "images"
    else:
        yield _describe_masks(found.targets.classes)
        what = "images with masks"
    if found.validation is None:
        share = "of each class " if found.learns == "class" else ""
        yield f"{len(training)} {what}; a fifth {share}is kept for the test"
    else:
        validates = found.final_test is not None or (found.layout is not None and found.layout.validation is not None)
        evaluated = "validation" if validates else "the test"
        final = f", {len(found.final_test)} for the final test" if found.final_test is not None else ""
        yield f"{len(training)} {what} for training, {len(found.validation)} for {evaluated}{final}"


def _describe_images(found: Found) -> Iterator[str]:
    """The sizes of the images, what becomes of them, and which files are none."""
    from rayrml.data.discovery import describe_ignored
    from rayrml.planning import starter_recipe

    heights, widths = zip(*found.sizes, strict=True)
    size = " x ".join(map(str, found.size))
    kind = "gray" if found.gray else "in colour"
    yield f"Images of {min(heights)} to {max(heights)} x {min(widths)} to {max(widths)} pixels become {size}, {kind}"
    yield from starter_recipe.describe(found.sizes, found.gray, found.learns)
    ignored = sum((Counter(samples.ignored) for samples in found.parts.values()), Counter())
    if left_out := describe_ignored(ignored):
        yield left_out
    if found.unused_tables:
        kind = "classes" if found.targets is None else "masks"
        yield f"Not used: {', '.join(found.unused_tables)}. Folders tell the {kind}; `--labels FILE` takes a table"


def _describe_masks(masks: MaskClasses) -> str:
    """The classes of pixels and the numbers that stand for them."""
    numbers = [str(number) for number in masks.numbers if number != masks.ignored]
    shown = ", ".join(numbers[:_MOST_SHOWN]) + (", ..." if len(numbers) > _MOST_SHOWN else "")
    ignored = "" if masks.ignored is None else f"; {masks.ignored} stands for no class"
    return f"Masks with {masks.num_classes} classes: they hold {shown}{ignored}"


def _show_folders(console: Console, found: Found) -> None:
    """Print the table of the folders, if there are several."""
    if found.layout is None:
        return
    from rayrml.planning import folder_table

    tested = found.layout.validation is None
    roles = {
        "training": folder_table.TRAINING,
        "validation": folder_table.TEST_AS_VALIDATION if tested else folder_table.VALIDATION,
        "final test": folder_table.FINAL_TEST,
    }
    rows = [(samples.root, roles[name], len(samples)) for name, samples in found.parts.items()]
    console.table(folder_table.make_rows(rows, found.layout.left_out), folder_table.HEADINGS)
