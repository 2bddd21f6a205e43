"""Checkpoint files `model_checkpoint_<epoch>.pt`: what they hold, and how they get onto and off the disk."""

from __future__ import annotations

import dataclasses
import io
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rayrml import storage
from rayrml.errors import ConfigError, DataError, Problem, describe, explaining
from rayrml.storage import archives

_FORMAT = 1
_KINDS = {
    "epoch": int,
    "input_shape": tuple,
    "classes": tuple,
    "optimizer": Mapping,
    "scheduler": Mapping,
    "stopping": Mapping,
    "unfinished": Mapping,
    "history": list,
    "rows": list,
    "seconds": float,
    "run_id": str,
    "data": Mapping,
    "loss": Mapping,
}
_STATE, _INTERRUPTED = "last_epoch.pt", "interrupted.pt"
_NAME = re.compile(r"model_checkpoint_(\d+)\.pt")


@dataclasses.dataclass
class Checkpoint:
    """A network at the end of an epoch, with all that is needed to train on or to predict.

    Attributes:
        epoch: epochs trained so far.
        network: parameters and buffers by name, `<layer name>.weight` and so on.
        layers: the network's Keras JSON.
        input_shape: (C, *spatial) of the samples.
        classes: class names in the order of the outputs, () if there are none.
        optimizer: the optimizer's state.
        scheduler: the learning rate schedule's state.
        stopping: the state of early stopping.
        history: the figures of all epochs so far.
        rows: the figures of the last steps, as far as they may be missing in the log.
        seconds: of training so far.
        run_id: which run wrote it.
        unfinished: how far the epoch after that was when the run was interrupted: `batch`, the number of batches, their
            `losses`, the `random` states of each worker, and the `layout` that all this is good for. Else empty.
        data: how inputs become samples, as keys of the section of that name; {} if that is not known.
        loss: the section of that name, which may prescribe values of outputs; {} if that is not known.
    """

    epoch: int
    network: dict[str, torch.Tensor]
    layers: Any
    input_shape: tuple[int | None, ...]
    classes: tuple[str, ...] = ()
    optimizer: dict[str, Any] = dataclasses.field(default_factory=dict)
    scheduler: dict[str, Any] = dataclasses.field(default_factory=dict)
    stopping: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    rows: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    run_id: str = ""
    unfinished: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    loss: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a file of weights and a network had in common.

    Attributes:
        loaded: parameters that were taken from the file.
        skipped: what the file has and the network lacks.
        initial: parameters that the file leaves at their initial values.
    """

    loaded: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    initial: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A line for each thing that was not loaded."""
        return [
            *(f"Skipping layer {name}: not found in model" for name in self.skipped),
            *(f"Layer {name} keeps its initial weights: not found in file" for name in self.initial),
        ]


def checkpoint_path(folder: str | Path, epoch: int) -> str:
    """Where the checkpoint of an epoch lies."""
    return storage.join(folder, f"model_checkpoint_{epoch}.pt")


def state_path(folder: str | Path) -> str:
    """Where the last finished epoch of a run that goes on is kept, whatever the interval of checkpoints is."""
    return storage.join(folder, _STATE)


def interrupted_path(folder: str | Path) -> str:
    """Where a run that was interrupted within an epoch is kept."""
    return storage.join(folder, _INTERRUPTED)


def kept(folder: str | Path) -> dict[int, str]:
    """The checkpoints in a folder by their epochs, in order; none if there is no such folder.

    Raises:
        DataError: the folder cannot be listed.
    """
    matches = (_NAME.fullmatch(name) for name in _files(folder))
    numbers = sorted(int(match[1]) for match in matches if match)
    return {number: checkpoint_path(folder, number) for number in numbers}


def is_interrupted(folder: str | Path) -> bool:
    """Whether the last run in a folder did not come to its end."""
    return not _files(folder).keys().isdisjoint((_STATE, _INTERRUPTED))


def newest(folder: str | Path) -> list[str]:
    """The files that the last run in a folder can go on from, the best first: of part of an epoch, of whole epochs.

    Raises:
        DataError: the folder cannot be listed, or a file cannot be loaded.
    """
    states = [state_path(folder), interrupted_path(folder)]
    numbers = {path: number for number, path in kept(folder).items()} | dict.fromkeys(states, 0)
    changed = {storage.join(folder, name): when for name, when in _files(folder).items()}
    paths = [path for path in numbers if path in changed]
    if not paths:
        return []
    last, longest = max(paths, key=lambda path: (changed[path], numbers[path])), max(paths, key=numbers.__getitem__)
    asked = {last, longest, *states} & set(paths)
    if asked == {longest} and numbers[longest]:
        return [longest]
    # Copied files have no times to go by; but those of an earlier and longer run have another history.
    found = {path: load(path) for path in asked}
    epochs = {path: numbers[path] or found[path].epoch for path in asked}
    same = [path for path in asked if _agree(found[path].history, found[last].history)] or [last]
    whole = sorted((path for path in same if not found[path].unfinished), key=lambda path: (epochs[path], path))[-1:]
    furthest = epochs[whole[0]] if whole else 0
    return [path for path in same if found[path].unfinished and epochs[path] >= furthest] + whole


def save(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that under its name there is a whole one or none, even if the machine fails.

    Raises:
        DataError: the file cannot be written.
    """
    fields = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
    failing = explaining(path, "cannot be written", (OSError, RuntimeError))
    with failing, storage.Unfinished(path, durable=True) as file:
        try:
            torch.save({"format": _FORMAT, **fields}, file)
        except RuntimeError as error:  # torch's own writer does not say what went wrong
            raise file.error or error from None
        file.commit()


def remove(path: str) -> None:
    """Remove a checkpoint or a file beside one, if it is there. Raises DataError if that fails."""
    with explaining(path, "cannot be removed"):
        storage.remove(path)


class Writer:
    """Writes checkpoints in a thread of its own, one at a time, while training goes on.

    Args:
        saved: called with the path of each checkpoint that is on disk; in the thread.
    """

    def __init__(self, saved: Callable[[str], None]):
        self._saved = saved
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(
        self,
        checkpoint: Checkpoint,
        path: str | None,
        state: str | None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to write the checkpoint as it is now to `path`, as one that stays, and to `state`, over the last one.

        `then` is called when both are on disk; in the thread.

        Raises:
            DataError: the checkpoint before this one could not be written.
        """
        self.wait()
        copied = dataclasses.replace(
            checkpoint,
            network=_copied(checkpoint.network),
            optimizer=_copied(checkpoint.optimizer),
            history=list(checkpoint.history),
        )
        self._thread = threading.Thread(target=self._write, args=(copied, path, state, then))
        self._thread.start()

    def wait(self) -> None:
        """Wait until everything is on disk. Raises DataError if it cannot be written."""
        if self._thread is not None:
            self._thread.join()
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error

    def _write(self, checkpoint: Checkpoint, path: str | None, state: str | None, then: Callable[[], None]) -> None:
        try:
            if path is not None:
                save(path, checkpoint)
                self._saved(path)
            if state is not None:
                save(state, checkpoint)
            then()
        except BaseException as error:  # handed to the thread that waits
            self._error = error


def load(path: str | Path, where: str = "") -> Checkpoint:
    """The checkpoint in a file. Only tensors and plain values are read: a file cannot bring code along.

    Raises:
        DataError: there is no such file, or it is no checkpoint; `where` is the JSON path that names it.
    """
    place = where or str(path)
    try:
        file = _opened(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch finds strange in a foreign file is said below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(Problem(place, f"no such file: '{path}'")) from None
    except OSError as error:
        raise DataError(Problem(place, f"cannot read '{path}'. {describe(error)}{_hint(path)}")) from None
    except DataError as error:
        raise DataError(*(Problem(place, str(p)) for p in error.problems)) from None
    except Exception as error:
        # From UnpicklingError to AssertionError: it depends on the byte that is wrong.
        # torch goes on with advice for programmers, to trust the file.
        reason = describe(error).partition(". ")[0]
        if "TorchScript" in reason:
            reason = "It is a TorchScript archive. Expected tensors by the names of layers"
        raise DataError(Problem(place, f"'{path}' is no checkpoint, or a damaged one. {reason}")) from None
    if not isinstance(content, Mapping):
        raise DataError(Problem(place, f"'{path}' is no checkpoint"))
    if "network" not in content:
        # A file with nothing but a state_dict, as PyTorch's own tutorials save it.
        return Checkpoint(0, _tensors(content, path, place), None, ())
    names = {f.name for f in dataclasses.fields(Checkpoint)}
    missing = {"epoch", "layers", "input_shape"} - set(content)
    if missing:
        raise DataError(Problem(place, f"'{path}' is no checkpoint of rayrml: it has no {', '.join(sorted(missing))}"))
    fields = {name: value for name, value in content.items() if name in names}
    wrong = [name for name, kinds in _KINDS.items() if name in fields and not isinstance(fields[name], kinds)]
    if wrong:
        raise DataError(Problem(place, f"'{path}' is a damaged checkpoint: what it holds as {', '.join(wrong)} is not"))
    fields["network"] = _tensors(fields["network"], path, place)
    return Checkpoint(**fields)


def _hint(path: str | Path) -> str:
    """The last checkpoint of the folder that was given for one."""
    names = list(kept(path).values()) if Path(path).is_dir() else []
    return f". Expected a file in it, for example '{names[-1]}'" if names else ""


def whole(path: str | Path) -> Checkpoint:
    """The checkpoint in a file that holds its network, too.

    Raises:
        ConfigError: the file holds weights alone.
        DataError: there is no such file, or it is no checkpoint.
    """
    checkpoint = load(path)
    if checkpoint.layers is None:
        raise ConfigError(Problem(str(path), "holds no network, only weights. Expected one saved by rayrml"))
    if not isinstance(checkpoint.layers, Mapping | list):  # a string would be another file's path
        raise DataError(Problem(str(path), "is a damaged checkpoint: what it holds as layers is not"))
    return checkpoint


def found(path: str) -> Checkpoint | None:
    """The checkpoint in a file, None if there is no such file. Raises DataError as `load` does."""
    with explaining(path, "cannot be read"):
        there = storage.exists(path)
    return load(path) if there else None


def load_into(network: nn.Module, state: Mapping[str, torch.Tensor], path: str | Path, where: str = "") -> LoadReport:
    """Put a file's tensors into the parameters and buffers of the same names.

    Raises:
        ConfigError: shapes that do not fit, each with both shapes.
    """
    own = network.state_dict()
    misfits = [
        Problem(
            where or str(path),
            f"'{name}' has the shape {list(state[name].shape)} in '{path}', but {list(own[name].shape)} in the network",
        )
        for name in own
        if name in state and own[name].shape != state[name].shape
    ]
    if misfits:
        raise ConfigError(*misfits)
    common = {name: state[name] for name in own if name in state}
    network.load_state_dict(common, strict=False)
    return LoadReport(
        loaded=tuple(common),
        skipped=_layers(name for name in state if name not in own),
        initial=_layers(name for name in own if name not in state),
    )


def _opened(path: str | Path) -> Path | io.BytesIO:
    """A checkpoint's file, or its content if it is no file of this machine.

    Raises:
        DataError: a part of it takes more memory than there is, or says so.
    """
    content = io.BytesIO(storage.read(path)) if storage.is_uri(path) else Path(path)
    if zipfile.is_zipfile(content):
        with zipfile.ZipFile(content) as archive:
            for info in archive.infolist():
                archives.check_size(info, f"{path}: {info.filename}")
    if isinstance(content, io.BytesIO):
        content.seek(0)
    return content


def _files(folder: str | Path) -> dict[str, float]:
    with explaining(folder, "cannot be listed"):
        return storage.files(folder)


def _agree(history: list[dict[str, float]], other: list[dict[str, float]]) -> bool:
    """Whether one of the histories goes on where the other one ends."""
    return all(mine == theirs for mine, theirs in zip(history, other, strict=False))


def _layers(names: Any) -> tuple[str, ...]:
    """The layers that parameters belong to, each once."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _copied(state: Any) -> Any:
    """Nested lists and mappings of tensors, the tensors copied into the CPU's memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state


def _tensors(state: Any, path: str | Path, place: str) -> dict[str, torch.Tensor]:
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()) or not state:
        raise DataError(Problem(place, f"'{path}' is no checkpoint: it holds no network's parameters"))
    return {str(name): tensor for name, tensor in state.items()}
