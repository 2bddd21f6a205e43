"""Checkpoint files: their contents, and how they are written, read and loaded into a network."""

from __future__ import annotations

import dataclasses
import io
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rayrml import storage
from rayrml.errors import ConfigError, DataError, Problem, describe, explaining
from rayrml.saving.checkpoint_fields import find_wrong_fields
from rayrml.saving.checkpoint_folder import find_model
from rayrml.saving.foreign_files import describe_foreign, describe_value
from rayrml.saving.name_matching import pair_by_last_name
from rayrml.storage import archives
from rayrml.version import __version__

_FORMAT = 1
_REFERENCE = "same_as"  # names another file of the folder
_STATE_KEYS = ("state_dict", "model_state_dict", "model")  # of files that hold more than weights
_PARALLEL = "module."
_BOOKKEEPING = "num_batches_tracked"  # of torch's normalization, which no layer here uses


@dataclasses.dataclass
class Checkpoint:
    """A network at the end of an epoch, with everything needed to continue training or to predict.

    Attributes:
        epoch: number of epochs trained so far.
        network: parameters and buffers by name, `<layer name>.weight` and so on.
        layers: the network's Keras JSON.
        input_shape: (C, *spatial) of the samples.
        classes: class names in the order of the outputs, () if there are none.
        optimizer: the optimizer's state, as PyTorch gives it.
        optimizer_type: the optimizer's row, "" if that is not known.
        parameters: the names of the optimizer's parameters in its order, [] if they are not known.
        history: the figures of all epochs so far.
        rows: the figures of the latest steps that may be missing from the log.
        seconds: training time so far.
        run_id: the run that wrote it.
        unfinished: for a run that was interrupted in the next epoch: the number of batches done (`batch`), their
            `losses`, each worker's `random` states and running `statistics`, and the `layout` of the batches for which
            all of this is valid. Otherwise empty.
        data: how inputs become samples, as keys of the section of that name; {} if unknown.
        loss: the section of that name, which may prescribe values of outputs; {} if unknown.
        targets: how outputs are compared with targets, as keys of the section `data`; {} if unknown.
        metric: the metric that the configuration names, "" if it names none.
        ema: if `network` is a moving average, what is needed to continue it: its number of `steps` and its `decay`,
            and the weights in training, `raw`. Otherwise empty.
        loss_scaling: what is needed to continue the scaling of the loss, {} without it.
        detection: the section of that name, {} if the network does not find objects.
        category_ids: COCO's id of each class, () without them.
        critic: the critic of a generator: its `layers`, its weights (`network`), its `optimizer`, `optimizer_type`,
            `parameters` and `loss_scaling`, each as the generator's, and the number of its `updates`. Otherwise empty.
    """

    epoch: int
    network: dict[str, torch.Tensor]
    layers: Any
    input_shape: tuple[int | None, ...]
    classes: tuple[str, ...] = ()
    optimizer: dict[str, Any] = dataclasses.field(default_factory=dict)
    optimizer_type: str = ""
    parameters: list[str] = dataclasses.field(default_factory=list)
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    rows: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    run_id: str = ""
    unfinished: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    loss: dict[str, Any] = dataclasses.field(default_factory=dict)
    targets: dict[str, Any] = dataclasses.field(default_factory=dict)
    metric: str = ""
    ema: dict[str, Any] = dataclasses.field(default_factory=dict)
    loss_scaling: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    detection: dict[str, Any] = dataclasses.field(default_factory=dict)
    category_ids: tuple[Any, ...] = ()
    critic: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def in_training(self) -> dict[str, torch.Tensor]:
        """The network with the weights that training continues with; only these differ, if `network` is an average."""
        return {**self.network, **self.ema.get("raw", {})}

    @property
    def generates(self) -> bool:
        """Whether the network makes samples of random numbers."""
        return bool(self.critic)

    def of_critic(self) -> Checkpoint | None:
        """The critic as it would be kept by itself, None without one."""
        if not self.critic:
            return None
        own = {name: value for name, value in self.critic.items() if name != "updates"}
        return dataclasses.replace(self, **{"ema": {}, "critic": {}, **own})


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Which weights were loaded from a file into a network.

    Attributes:
        loaded: parameters that were loaded from the file.
        skipped: layers in the file that the network lacks.
        initial: layers that keep their initial values because the file lacks them.
        skipped_weights: weights in the file that a layer which was loaded lacks.
        initial_weights: weights of such layers that the file lacks.
        averaged: whether they are a moving average.
        differing: layers that keep their initial values because those of the file have another shape.
        warnings: sentences on what is probably wrong with the weights in this network.
    """

    loaded: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    initial: tuple[str, ...] = ()
    skipped_weights: tuple[str, ...] = ()
    initial_weights: tuple[str, ...] = ()
    averaged: bool = False
    differing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A line for an average, for each layer and for each weight of another layer that was not loaded."""
        return [
            *(["The weights are the checkpoint's moving average (ema)"] if self.averaged else []),
            *(f"Unused layer {name} of the file: not found in network" for name in self.skipped),
            *(f"Unused weight {name} of the file: not found in network" for name in self.skipped_weights),
            # In the predecessor's words, for which the model is the file's.
            *(f"Skipping layer {name}: not found in model; it keeps its initial weights" for name in self.initial),
            *(f"Skipping weight {name}: not found in model; it keeps its values" for name in self.initial_weights),
            *(
                f"Skipping layer {name}: the file has other classes; it keeps its initial weights"
                for name in self.differing
            ),
        ]


def save(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: even if the machine fails, its path holds a complete file or none.

    Raises:
        DataError: the file cannot be written.
    """
    fields = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
    failing = explaining(path, "cannot be written", (OSError, RuntimeError))
    with failing, storage.Unfinished(path, durable=True) as file:
        try:
            torch.save({"format": _FORMAT, "version": __version__, **fields}, file)
        except RuntimeError as error:  # torch's own writer hides the cause
            raise file.error or error from None
        file.commit()


class LostReference(DataError):
    """A file stands for a checkpoint that is no longer there."""


def save_reference(path: str | Path, other: str) -> None:
    """Write a file that stands for the checkpoint `other` in the same folder.

    Raises:
        DataError: the file cannot be written.
    """
    name = storage.split(other)[1]
    with explaining(path, "cannot be written"), storage.Unfinished(path, durable=True) as file:
        torch.save({"format": _FORMAT, "version": __version__, _REFERENCE: name}, file)
        file.commit()


def load(path: str | Path, where: str = "") -> Checkpoint:
    """The checkpoint in a file, or the best one in a run's folder.

    Only tensors and plain values are read, so a file cannot execute code. A file may stand for another one beside it.

    Raises:
        DataError: the file does not exist, or is not a checkpoint; `where` is the JSON path that names it.
    """
    place = where or str(path)
    path = find_model(path, where)
    content = _read(path, place)
    if isinstance(name := content.get(_REFERENCE), str):
        path = storage.join(storage.parent(path), storage.split(name)[1])
        if not storage.is_file(path):
            raise LostReference(Problem(place, f"stands for '{path}', which does not exist"))
        content = _read(path, place)
    if "network" not in content:
        # Only a state_dict, as PyTorch's own tutorials save it, perhaps beside an optimizer's.
        inner = next((content[key] for key in _STATE_KEYS if isinstance(content.get(key), Mapping)), content)
        return Checkpoint(0, _without_prefix(_tensors(inner, path, place)), None, ())
    newer = content.get("format")
    if isinstance(newer, int) and newer > _FORMAT:
        message = f"'{path}' was written by a newer rayrml, {content.get('version')}; this is {__version__}"
        raise DataError(Problem(place, f"{message}. Expected that version or a later one to read it"))
    missing = sorted({"epoch", "layers", "input_shape"} - set(content))
    if missing:
        raise DataError(Problem(place, f"'{path}' is not a rayrml checkpoint: it has no {', '.join(missing)}"))
    fields = {f.name: content[f.name] for f in dataclasses.fields(Checkpoint) if f.name in content}
    if wrong := find_wrong_fields(fields):
        raise DataError(Problem(place, f"'{path}' is a damaged checkpoint: invalid {', '.join(wrong)}"))
    return Checkpoint(**{**fields, "network": _tensors(fields["network"], path, place)})


def _read(path: str | Path, place: str) -> Mapping[str, Any]:
    """The values that torch saved in a file, by name. Raises DataError for any error of torch's in a damaged file."""
    file: Path | io.BytesIO = Path(path)
    try:
        file = _opened(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # problems in a foreign file are reported below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(Problem(place, f"no such file: '{path}'")) from None
    except OSError as error:
        raise DataError(Problem(place, f"cannot read '{path}'. {describe(error)}")) from None
    except DataError as error:
        raise DataError(*(Problem(place, str(p)) for p in error.problems)) from None
    except Exception as error:
        # From UnpicklingError to AssertionError, depending on which byte is wrong. torch's message is for programmers.
        reason = describe_foreign(file, error)
        raise DataError(Problem(place, f"'{path}' is not a checkpoint, or damaged. {reason}")) from None
    if not isinstance(content, Mapping):
        raise DataError(Problem(place, f"'{path}' is not a checkpoint. {describe_value(content)}"))
    return content


def load_complete(path: str | Path) -> Checkpoint:
    """The checkpoint in a file that also contains its network.

    Raises:
        ConfigError: the file contains only weights.
        DataError: the file does not exist, or is not a checkpoint.
    """
    checkpoint = load(path)
    if checkpoint.layers is None:
        raise ConfigError(Problem(str(path), "contains only weights, no network. Expected one saved by rayrml"))
    if not isinstance(checkpoint.layers, Mapping | list):  # a string would be another file's path
        raise DataError(Problem(str(path), "is a damaged checkpoint: invalid layers"))
    return checkpoint


def load_if_exists(path: str) -> Checkpoint | None:
    """The checkpoint in a file, None if the file does not exist. Raises DataError as `load` does."""
    with explaining(path, "cannot be read"):
        there = storage.exists(path)
    return load(path) if there else None


def load_into(
    network: nn.Module,
    state: Mapping[str, torch.Tensor],
    path: str | Path,
    where: str = "",
    *,
    part: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = lambda own, whole: whole,
) -> LoadReport:
    """Load a file's tensors into the parameters and buffers of the same names, or that `part` of them.

    The names of models around a layer do not matter if its own name occurs once on both sides.

    Raises:
        ConfigError: shapes do not match; names both shapes of each tensor.
    """
    own = network.state_dict()
    state = _renamed(state, own)
    misfits = [
        Problem(
            where or str(path),
            f"'{name}' has shape {list(state[name].shape)} in '{path}', but {list(own[name].shape)} in the network. "
            "A layer of another name starts anew: rename it in the network to leave the file's out",
        )
        for name in own
        if name in state and own[name].shape != state[name].shape
    ]
    if misfits:
        raise ConfigError(*misfits)
    common = {name: part(own[name], state[name]) for name in own if name in state}
    network.load_state_dict(common, strict=False)
    shown = {module: layer for layer, module in getattr(network, "module_names", {}).items()}
    skipped, skipped_weights = _part(common, [name for name in state if name not in own])
    initial, initial_weights = _part(common, [name for name in own if name not in state])
    return LoadReport(
        loaded=tuple(common),
        skipped=skipped,
        initial=tuple(shown.get(name, name) for name in initial),
        skipped_weights=tuple(name for name in skipped_weights if not name.endswith(_BOOKKEEPING)),
        initial_weights=initial_weights,
    )


def _part(loaded: Iterable[str], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The layers of parameters that were not loaded; of layers with others that were, the parameters themselves."""
    partly = set(_layers(loaded))
    whole = [name for name in names if _split(name)[0] not in partly]
    return _layers(whole), tuple(name for name in names if _split(name)[0] in partly)


def _renamed(state: Mapping[str, torch.Tensor], own: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """A file's tensors under the network's names."""
    theirs = dict.fromkeys(_split(name)[0] for name in state if name not in own)
    ours = dict.fromkeys(_split(name)[0] for name in own if name not in state)
    partners = pair_by_last_name(theirs, ours, _last)
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        layer, attribute = _split(name)
        partner = partners.get(layer)
        new = name if name in own or partner is None else f"{partner}.{attribute}"
        renamed[new if new in own else name] = tensor
    return renamed


def _split(name: str) -> tuple[str, str]:
    """The layer of a parameter, and the parameter's own name."""
    layer, _, attribute = name.rpartition(".")
    return layer, attribute


def _last(layer: str) -> str:
    """A layer's name without those of the models around it."""
    return re.split(r"[./]", layer)[-1]


def _without_prefix(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors without the name that DataParallel puts before all of theirs."""
    if not all(name.startswith(_PARALLEL) for name in state):
        return state
    return {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}


def _opened(path: str | Path) -> Path | io.BytesIO:
    """A checkpoint's file, or its content if the file is not on this machine.

    Raises:
        DataError: a part of it takes, or claims to take, more memory than is available.
    """
    content = io.BytesIO(storage.read(path)) if storage.is_uri(path) else Path(path)
    if zipfile.is_zipfile(content):
        with zipfile.ZipFile(content) as archive:
            for info in archive.infolist():
                archives.check_size(info, f"{path}: {info.filename}")
    if isinstance(content, io.BytesIO):
        content.seek(0)
    return content


def _layers(names: Iterable[str]) -> tuple[str, ...]:
    """The layers to which parameters belong, each once."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _tensors(state: Any, path: str | Path, place: str) -> dict[str, torch.Tensor]:
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()) or not state:
        raise DataError(Problem(place, f"'{path}' is not a checkpoint: it contains no network parameters"))
    return {str(name): tensor for name, tensor in state.items()}
