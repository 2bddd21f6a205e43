"""Prediction from a checkpoint alone, which contains the network and how inputs become samples.

The checkpoint is read, and torch imported for it, while Ray starts if it is needed at once.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayrml import storage
from rayrml.config.reading import Document, override
from rayrml.errors import ConfigError, Problem, explaining
from rayrml.formatting import format_path
from rayrml.reporting.file_names import RUN_LOG
from rayrml.runs.launch import run_found
from rayrml.saving.checkpoint_folder import find_model

if TYPE_CHECKING:
    from rayrml.config.tables import Choice
    from rayrml.inference.class_table import Row
    from rayrml.reporting.console import Console
    from rayrml.runs.prediction_tables import Tables
    from rayrml.runs.runner import RunResult
    from rayrml.saving.checkpoints import Checkpoint

OUTPUT = "predictions"  # default folder for the files
ASSEMBLED = "assembled.h5"
MOST_SHOWN = 20  # table rows on the screen


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The results of `predict`, and the files that it wrote.

    Attributes:
        count: number of samples with a prediction.
        files: paths of the HDF5 files: the one with a dataset per sample, then, for networks that take slices, the one
            with the assembled outputs. Of shards that an object store keeps, the index.
        table: path of the table of classes or numbers, None if it is not known what outputs stand for.
        rows: its rows.
        skipped: number of samples that could not be read and were skipped.
    """

    count: int
    files: tuple[str, ...]
    table: str | None
    rows: tuple[Row, ...]
    skipped: int


def predict(
    checkpoint: str | Path,
    inputs: str | Path | Sequence[str | Path] = (),
    output: str | Path | None = None,
    *,
    num_samples: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    quiet: bool = False,
    verbose: bool = False,
    on_mistake: Callable[[BaseException], None] | None = None,
) -> Predictions:
    """Predict like a configuration without targets, with the settings that a checkpoint keeps of its training.

    The samples' outputs are in `output_1.h5`, those that are images also in pictures. For classifiers,
    `predictions.csv` has the most probable classes; for networks that learned the columns of a table, the classes or
    the numbers of each sample. The probabilities are correct whether the network ends with softmax, log-softmax, a
    sigmoid or none of them; see `class_table.tabulator`. A generator has no inputs but makes `num_samples`:
    `sample_000000` and so on in `output_1.h5`, the first 64 of them in `samples.png`.

    Args:
        checkpoint: a file, or a run's folder, which means its best model.
        inputs: a file or a folder, or several; none for a generator.
        output: folder for the files; default: `predictions`.
        num_samples: how many samples a generator makes, None for another network.
        overrides: values for dotted keys of the configuration, such as `{"data.grayscale": True}`.
        quiet: print nothing.
        verbose: show Ray's own messages.
        on_mistake: called at once, in another thread, with an error that is raised only after Ray has started.

    Raises:
        ConfigError: the checkpoint does not contain enough information, or an override is invalid.
        DataError: files are missing, cannot be read or cannot be written.
        ClusterError: Ray cannot provide what was requested.
    """
    find_model(checkpoint)  # a mistyped path is told of at once, before anything slow is imported
    folder = storage.absolute(str(OUTPUT if output is None else output))
    wanted = _what_to_predict(inputs, num_samples)
    find = functools.cache(lambda: find_configuration(str(checkpoint), wanted, folder, overrides or {}))
    from rayrml.reporting.console import Console

    console = Console(quiet=quiet, brief=not verbose, verbose=verbose)
    how = {"quiet": quiet, "verbose": verbose, "on_mistake": on_mistake, "console": console}
    result = run_found(lambda: find().document, overrides or {}, **how)
    path, rows = _answer(result, find(), console)
    count, skipped = int(result.metrics["num_predictions"]), sum(result.skipped.values())
    return Predictions(count=count, files=tuple(result.predictions), table=path, rows=rows, skipped=skipped)


def _what_to_predict(inputs: str | Path | Sequence[str | Path], num_samples: int | None) -> Sequence[str] | int:
    """The paths of the inputs or, for a generator, the number of samples. Raises ConfigError for both or neither."""
    paths = [str(path) for path in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    if bool(paths) is (num_samples is not None):
        message = "of a generator takes the place of inputs. Expected either inputs, or --samples N"
        raise ConfigError(Problem("--samples", message))
    return paths if num_samples is None else num_samples


@dataclasses.dataclass(frozen=True)
class Found:
    """What a checkpoint says.

    Attributes:
        document: the configuration of the predictions.
        targets: how its targets were read, as keys of the section `data`.
        category_ids: COCO's id of each class, () without them.
    """

    document: Document
    targets: Mapping[str, Any]
    category_ids: Sequence[Any] = ()


def _answer(result: RunResult, found: Found, console: Console) -> tuple[str | None, tuple[Row, ...]]:
    """Write and show the tables if it is known what outputs stand for; return the path of the first, and its rows."""
    from rayrml.config.detection import Detection
    from rayrml.planning.application import application_of
    from rayrml.runs.prediction_tables import Predicted, tabulate

    nn = found.document.values["neural_network"]
    folder = nn["data"]["test_output_path"]
    with console.recording(storage.join(folder, RUN_LOG), append=True):
        known = Predicted(
            file=result.predictions[0],
            folder=folder,
            layers=nn["layers"],
            loss=nn.get("loss"),
            classes=result.classes,
            targets={**found.targets, **{key: nn["data"][key] for key in ("threshold",) if key in nn["data"]}},
            detection=Detection.model_validate(nn.get("detection", {})),
            category_ids=found.category_ids,
        )
        tables = tabulate(nn.get("app") or application_of(_choose_loss(nn)), known)
        if tables is None:
            return None, ()  # the HDF5 file's name has been printed already
        rows = _write(tables, console)
        _show(rows, tables.paths, console)
    return tables.paths[0], rows


def _choose_loss(nn: Mapping[str, Any]) -> Choice | None:
    from rayrml.config.tables import choose
    from rayrml.losses import LOSSES

    return choose(LOSSES, nn["loss"], "neural_network.loss", "function") if nn.get("loss") else None


def _write(tables: Tables, console: Console) -> tuple[Row, ...]:
    """Write the tables, say which of their files replace others, and return the rows."""
    for path in tables.paths:
        with explaining(path, "cannot be accessed"):
            replaces = storage.exists(path)
        if replaces:
            console.line(f"Replacing a file of an earlier run: {format_path(path)}")
    return tuple(tables.rows)


def find_configuration(path: str, inputs: Sequence[str] | int, folder: str, overrides: Mapping[str, Any]) -> Found:
    """The configuration for a checkpoint, inputs and an output folder, including the overrides.

    In place of inputs, there is the number of samples that a generator makes.

    Raises:
        ConfigError: the checkpoint does not contain enough information, or an override's key is unknown.
        DataError: the file does not exist, or is not a checkpoint.
    """
    from rayrml.data.reader_keys import forget_pictures, name_pictures
    from rayrml.saving import checkpoints

    kept = checkpoints.load_complete(path)
    if kept.generates is not isinstance(inputs, int):
        what = "is a generator and takes no inputs. `rayrml predict --samples N` makes samples with it"
        what = what if kept.generates else "is not a generator. Expected inputs in place of --samples"
        raise ConfigError(Problem(path, what))
    learned = _generated(kept, path, inputs) if isinstance(inputs, int) else _learned(kept, path, inputs, overrides)
    config = override(learned, overrides)
    data = config["neural_network"]["data"]
    if data.get("target_type") or data.get("type"):
        message = "has no effect: predictions are compared with nothing. `rayrml evaluate` compares them with targets"
        raise ConfigError(Problem("neural_network.data.target_type", message))
    data.setdefault("test_output_path", folder)
    name_pictures(data, kept.data)
    forget_pictures(data, overrides)
    if data.get("slicers"):
        data.setdefault("hdf5_outfile", storage.join(folder, ASSEMBLED))
    return Found(Document(config, replaced=list(overrides)), kept.targets, kept.category_ids)


def _generated(kept: Checkpoint, path: str, num_samples: int) -> dict[str, Any]:
    """The configuration for the checkpoint of a generator and a number of samples."""
    data = {"num_test_examples": num_samples}
    return {"neural_network": {"app": "gan", "layers": kept.layers, "checkpoints": {"load": path}, "data": data}}


def _learned(kept: Checkpoint, path: str, inputs: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration for a checkpoint and the paths of inputs.

    Raises:
        ConfigError: neither the checkpoint nor the `overrides` say how inputs become samples.
    """
    from rayrml.data.reader_keys import select_reading

    # Other keys could name files that the user did not ask to read or write.
    data = select_reading(kept.data)
    if not data and not any("data." in key for key in overrides):
        message = (
            "does not say how its inputs are read (it is from an older version, or they were computed). Use "
            "`--set data.input_type=images`, and other keys that differ from the defaults: `--set data.grayscale=true`"
        )
        raise ConfigError(Problem(path, message))
    data = {"input_type": "images", **data, "test_input_path": list(inputs)}
    loss = {"loss": dict(kept.loss)} if kept.loss else {}
    detection = {"detection": dict(kept.detection)} if kept.detection else {}
    return {"neural_network": {"layers": kept.layers, "checkpoints": {"load": path}, "data": data, **loss, **detection}}


def _show(rows: Sequence[Row], paths: Sequence[str], console: Console) -> None:
    """Print the first rows, the number of the others, how many there are of each class, and the tables' paths."""
    shown = [row.brief for row in rows[:MOST_SHOWN]]
    console.line()
    console.table([tuple(cells.values()) for cells in shown], tuple(shown[0]))
    if len(rows) > MOST_SHOWN:
        console.line(f"and {len(rows) - MOST_SHOWN} more")
        if counts := collections.Counter(name for row in rows for name in row.counted).most_common():
            console.line()
            console.table(counts[:MOST_SHOWN], ("Class", "Predictions"))
        if len(counts) > MOST_SHOWN:
            console.line(f"and {len(counts) - MOST_SHOWN} more classes")
    console.line()
    console.lines(f"Saved table: {format_path(path)}" for path in paths)
