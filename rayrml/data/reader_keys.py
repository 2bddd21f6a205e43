"""The keys of the `data` section that say how samples are read: the options of readers, and a few others."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

from rayrml.config.names import find
from rayrml.config.sections import Data, SideName
from rayrml.config.tables import Choice, choose, make_model
from rayrml.data.readers import READERS
from rayrml.errors import ConfigError, Problem

DATA = "neural_network.data"
LABELS = "labels"  # targets that are the classes of folders
TABLE = "table"  # targets that are columns of a table
BOXES = "boxes"  # targets that are the boxes of images
NO_FILES = (LABELS, TABLE, BOXES)
BOX_KEYS = ("box_format", "box_origin", "classes", "samples", "test_samples", "final_test_samples")
TARGET_PATHS = ("target_path", "test_target_path", "final_test_target_path")
_TEXT_TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson")
TABLE_ENDINGS = (*_TEXT_TABLES, *(f"{ending}.gz" for ending in _TEXT_TABLES), ".parquet")
TABLE_KEYS = ("file_column", "target_column", "target_kind", "separator", "split_column")
_OF_TABLES = ("target_column", "target_kind", "separator", "threshold")
_OF_TARGETS = (
    "target_is_mask",
    "target_suffix",
    "transforms",
    "target_transforms",
    *_OF_TABLES,
    "box_format",
    "box_origin",
)
SAMPLES = "num_test_examples"  # how many are computed or, by a generator, generated
PICTURES, ALWAYS = "test_output_images", "always"
FLIPS = "test_transforms"


@functools.cache
def list_reader_options() -> tuple[str, ...]:
    """The options of all readers, each of which is also a key of the `data` section."""
    return tuple(sorted({key for row in READERS.values() for key in make_model(row).model_fields}))


def is_table(path: str | None) -> bool:
    """Whether a path names a table of targets."""
    return path is not None and path.lower().endswith(TABLE_ENDINGS)


def has_table(data: Data) -> bool:
    """Whether targets are columns of a table."""
    return data.targets == TABLE or (
        data.targets == LABELS and any(is_table(getattr(data, key)) for key in TARGET_PATHS)
    )


def choose_reader(data: Data, side: SideName) -> Choice:
    """The reader row for the inputs or the targets, with the options that are set.

    Raises:
        ConfigError: the type is missing or unknown, or does not take an option that is set.
    """
    name = data.inputs if side == "input" else data.targets
    if name is None:
        raise ConfigError(Problem(DATA, f"'{side}_type' is missing. Expected one of {', '.join(READERS)}"))
    key = f"{side}_type" if getattr(data, f"{side}_type") else "type"
    if side == "target":
        find({**READERS, **dict.fromkeys(NO_FILES)}, name, f"{DATA}.{key}")
    options = {
        option: data.option(option, side) for option in list_reader_options() if not _is_for_other(data, option, side)
    }
    if not _takes(name, SAMPLES):
        options.pop(SAMPLES)  # that of a generator, which reads other samples
    given = {option: value for option, value in options.items() if value != Data.model_fields[option].default}
    return choose(READERS, {key: name, **given}, DATA, key)


def _is_for_other(data: Data, option: str, side: SideName) -> bool:
    """Whether a key that is given for both sides can only be meant for the other one, whose reader alone takes it."""
    if getattr(data, f"{side}_{option}", None) is not None:
        return False
    names = {"input": data.inputs, "target": data.targets}
    takes = {name: _takes(row, option) for name, row in names.items()}
    return not takes[side] and any(takes.values())


def _takes(name: str | None, option: str) -> bool:
    with contextlib.suppress(ConfigError):  # an unknown name is reported by whoever needs the reader
        return option in make_model(READERS[find(READERS, name, DATA)]).model_fields
    return False


def describe_reading(data: Data) -> dict[str, Any]:
    """The keys that say how inputs become samples and these outputs, wherever they are; {} if nothing is read."""
    if data.inputs is None:
        return {}
    reader = choose_reader(data, "input")
    if reader.build().generate is not None:
        return {}
    return {
        "input_type": data.inputs,
        **reader.settings,
        "input_transforms": data.transforms or data.input_transforms,
        "slicers": data.slicers,
        **({} if data.test_transforms == "none" else {FLIPS: data.test_transforms}),
    }


def describe_targets(data: Data) -> dict[str, Any]:
    """The keys that say how targets become what outputs are compared with, wherever they are; {} if there are none."""
    files = data.targets not in (None, *NO_FILES)
    if data.targets is None or (files and choose_reader(data, "target").build().generate is not None):
        return {}
    given = {key: data.option(key, "target") for key in list_reader_options() if f"target_{key}" in Data.model_fields}
    return {
        "target_type": data.targets,
        **{f"target_{key}": value for key, value in given.items() if files and _takes(data.targets, key)},
        **{key: getattr(data, key) for key in _OF_TARGETS},
        "test_tag": data.test_tag or data.training_tag,
    }


def select_targets(described: Mapping[str, Any]) -> dict[str, Any]:
    """Only the keys that `describe_targets` can set, without those that have no effect."""
    options = (key for key in list_reader_options() if f"target_{key}" in Data.model_fields)
    keys = ("target_type", *(f"target_{key}" for key in options), *_OF_TARGETS, "test_tag")
    return {key: described[key] for key in keys if described.get(key)}


def forget_pictures(data: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Remove the kind of pictures that a checkpoint names, if inputs are no images, unless it is an override."""
    if not any(key.endswith(f"data.{PICTURES}") for key in overrides) and data.get("input_type") != "images":
        data.pop(PICTURES, None)


def name_pictures(data: dict[str, Any], kept: Mapping[str, Any]) -> None:
    """Replace the request for any pictures by the kind that a checkpoint's section `data` names, if it names one."""
    if data.get(PICTURES) == ALWAYS and kept.get(PICTURES) not in (None, "none"):
        data[PICTURES] = kept[PICTURES]


def forget_columns(data: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Remove the columns that a checkpoint names if targets are not in a table, unless they are overrides."""
    if data.get("target_type") != TABLE and not any(is_table(data.get(key)) for key in TARGET_PATHS):
        for key in (*TABLE_KEYS, "threshold"):
            if not any(name.endswith(f"data.{key}") for name in overrides):
                data.pop(key, None)


def select_reading(described: Mapping[str, Any]) -> dict[str, Any]:
    """Only the keys that `describe_reading` can set, and the kind of pictures; none names a file to read or write."""
    keys = ("input_type", *list_reader_options(), "input_transforms", "slicers", PICTURES, FLIPS)
    return {key: described[key] for key in keys if key in described}
