"""Evaluation from a checkpoint alone, which contains the network, its loss, and how samples and targets are read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayrml import storage
from rayrml.config.reading import Document, override
from rayrml.config.tables import choose
from rayrml.errors import ConfigError, Problem
from rayrml.runs.launch import run_found
from rayrml.saving.checkpoint_folder import find_model

if TYPE_CHECKING:
    from rayrml.runs.runner import RunResult
    from rayrml.saving.checkpoints import Checkpoint

OUTPUT = "evaluation"  # default folder for the files


def evaluate(
    checkpoint: str | Path,
    inputs: str | Path,
    output: str | Path | None = None,
    *,
    targets: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    quiet: bool = False,
    verbose: bool = False,
    on_mistake: Callable[[BaseException], None] | None = None,
) -> RunResult:
    """Compare a network's predictions with targets, with the settings that a checkpoint keeps of its training.

    The output folder gets the predictions (`output_1.h5`), pictures of those that are images, the figures of each class
    (`metrics.json`), plots and, for classifiers, `predictions.csv` with the true class beside the most probable ones.

    Args:
        checkpoint: a file, or a run's folder, which means its best model.
        inputs: a folder or file; folders of classes if targets are labels.
        output: folder for the files; default: `evaluation`.
        targets: folder or file of the targets, if they are files of their own.
        overrides: values for dotted keys of the configuration, such as `{"metric": "f1"}`.
        quiet: print nothing.
        verbose: show Ray's own messages.
        on_mistake: called at once, in another thread, with an error that is raised only after Ray has started.

    Raises:
        ConfigError: the checkpoint does not contain enough information, or an override is invalid.
        DataError: files are missing, cannot be read or cannot be written.
        ClusterError: Ray cannot provide what was requested.
    """
    find_model(checkpoint)  # a mistyped path is told of at once, before anything slow is imported
    data: dict[str, Any] = {"test_input_path": str(inputs)}
    data["test_output_path"] = storage.absolute(str(OUTPUT if output is None else output))
    if targets is not None:
        data["test_target_path"] = str(targets)
    find = functools.cache(lambda: find_configuration(str(checkpoint), data, overrides or {}))
    from rayrml.reporting.console import Console

    console = Console(quiet=quiet, brief=not verbose, verbose=verbose)
    how = {"quiet": quiet, "verbose": verbose, "on_mistake": on_mistake, "console": console}
    return run_found(find, overrides or {}, report=True, **how)


def find_configuration(path: str, paths: Mapping[str, Any], overrides: Mapping[str, Any]) -> Document:
    """The configuration of the evaluation of a checkpoint, including the overrides.

    Args:
        path: of the checkpoint.
        paths: keys of the section `data` that name the samples and the files to write.
        overrides: values for dotted keys of the configuration.

    Raises:
        ConfigError: the checkpoint does not contain enough information, or an override's key is unknown.
        DataError: the file does not exist, or is not a checkpoint.
    """
    from rayrml.data.reader_keys import forget_columns, forget_pictures, name_pictures
    from rayrml.saving import checkpoints

    kept = checkpoints.load_complete(path)
    data = _select_data(kept, paths)
    section: dict[str, Any] = {"layers": kept.layers, "checkpoints": {"load": path}, "data": data}
    if kept.loss:
        section["loss"] = dict(kept.loss)
    if kept.detection:
        section["detection"] = dict(kept.detection)
    if kept.metric:
        section["metric"] = kept.metric
    config = override({"neural_network": section}, overrides)
    name_pictures(config["neural_network"]["data"], kept.data)
    for forget in (forget_pictures, forget_columns):
        forget(config["neural_network"]["data"], overrides)
    if not kept.generates:  # which compares samples with images alone
        _refuse_unknown(config["neural_network"], path)
    return Document(config, replaced=list(overrides))


def _select_data(kept: Checkpoint, paths: Mapping[str, Any]) -> dict[str, Any]:
    """The section `data`: how the checkpoint's samples and targets are read, with these paths."""
    from rayrml.data.reader_keys import select_reading, select_targets

    data = {"input_type": "images", **select_reading(kept.data), **select_targets(kept.targets), **paths}
    if data.get("transforms"):
        data.pop("input_transforms", None)  # a part of them
    if data.get("scale") is not None and data.get("target_type") == "images":
        data.setdefault("target_scale", "range")  # the inputs' own scale is not that of masks
    if not kept.targets and kept.classes and "test_target_path" not in paths:
        data["target_type"] = "labels"  # of a checkpoint from an older version
    if data.get("target_suffix"):
        data.setdefault("test_target_path", data["test_input_path"])
    return data


def _has_labels(kind: str, data: Mapping[str, Any]) -> bool:
    """Whether the inputs' files hold their classes, too, if targets are of this kind."""
    from rayrml.data.readers import READERS

    inputs = data.get("input_type") or data.get("type")
    return kind == inputs and kind in READERS and choose(READERS, {"type": kind}, "data").build().labels is not None


def _refuse_unknown(section: Mapping[str, Any], path: str) -> None:
    """Raise ConfigError unless the configuration says what outputs are compared with, and how."""
    from rayrml.data.reader_keys import BOXES, LABELS, TABLE

    data = section["data"]
    kind = data.get("target_type") or data.get("type")
    if kind is None:
        message = "does not say what its targets are. Use `--set data.target_type=labels`, or images, numpy and so on"
        raise ConfigError(Problem(path, message))
    if kind == TABLE and data.get("test_target_path") is None:
        message = "the network's targets are columns of a table. Expected its file: `--target-path labels.csv`"
        raise ConfigError(Problem("--target-path", f"{message}, or `--set data.target_type=labels` for folders"))
    if kind not in (LABELS, BOXES) and data.get("test_target_path") is None and not _has_labels(kind, data):
        message = "the network's targets are files. Expected their folder: `--target-path FOLDER`"
        raise ConfigError(Problem("--target-path", message))
    if not section.get("loss"):
        raise ConfigError(Problem(path, "does not name its loss. Use `--set loss.function=NLL`, or another one"))
