"""Reads a network's weights from Keras's `.h5`, `.weights.h5` and `.keras` files, and writes the first two."""

from __future__ import annotations

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from rayrml import storage
from rayrml.config.json_files import decode
from rayrml.errors import ConfigError, DataError, Problem, describe
from rayrml.networks.graph import Graph, KerasPath, read_graph
from rayrml.networks.layers.layer import Layer, Weight
from rayrml.networks.layers.weighted_sum import WeightedSum
from rayrml.networks.layers.wrappers import INNER
from rayrml.networks.network import Network
from rayrml.saving.checkpoints import LoadReport
from rayrml.saving.name_matching import pair_by_last_name, pair_numbered, snake_case
from rayrml.storage import archives, hdf5_reading
from rayrml.storage.hdf5_writing import Hdf5Output

# The attributes of an HDF5 object must fit into its header; Keras splits longer ones into several.
_ATTRIBUTE_BYTES = 64512
_CURE = "A layer of another name starts anew: rename it in the network to leave the file's out"
_CURE_OF_FAMILY = "Expected weights of this network, for as many channels"
KERAS_3_ENDING = ".weights.h5"
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


@dataclasses.dataclass(frozen=True, slots=True)
class _Stored:
    """A file's weights for one layer or, in Keras 2's format, one nested model, in Keras's order."""

    path: KerasPath
    names: tuple[str, ...]
    values: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    """A weight of the network: its layer's name in the network and in Keras, and the layer that holds it."""

    name: str
    keras_name: str
    layer: Layer
    weight: Weight
    trainable: bool

    def value(self) -> np.ndarray:
        """The array as Keras holds it."""
        return self.weight.to_keras(getattr(self.layer, self.weight.attribute).detach().cpu()).float().numpy()

    def __str__(self) -> str:
        return f"{self.weight.name} of layer '{self.name}'"


def load_weights(network: Network, path: str | Path, where: str = "", *, of_family: bool = False) -> LoadReport:
    """Load the weights of a Keras file into the network, layer by layer, by name; reports unmatched layers.

    Args:
        network: the network that gets them.
        path: the file.
        where: the JSON path that names it.
        of_family: the network is one of a family that the file may have been written for with other classes and in
            another session of Keras: last layers of another shape keep their initial weights, and layers that Keras has
            named by numbers match in the order of these.

    Raises:
        ConfigError: the shapes do not match.
        DataError: the file cannot be read.
    """
    place = where or str(path)
    stored, whole_models = _read(path, network.graph, place)
    if of_family:
        stored = _renumbered(stored, network, place)
    targets = _targets(network, whole_models)
    partners = _partners(stored, list(targets))
    stored = _add_layers(network, stored, targets, partners)
    matches: list[tuple[_Target, np.ndarray]] = []
    problems: list[Problem] = []
    differing: list[str] = []
    for group in stored:
        if group.path in partners:
            own = targets[partners[group.path]]
            try:
                matches += _match(group, own)
            except ValueError as error:
                if of_family and _is_head(own):
                    differing.append(own[0].name)
                else:
                    cure = _CURE_OF_FAMILY if of_family else _CURE
                    problems.append(Problem(place, f"the weights in '{path}' do not fit the network: {error}. {cure}"))
    if problems:
        raise ConfigError(*problems)
    for target, value in matches:
        with torch.no_grad():
            getattr(target.layer, target.weight.attribute).copy_(target.weight.to_torch(torch.from_numpy(value)))
    loaded = {target.name for target, _ in matches}
    modules = network.layers()
    names = [layer.name for layer in network.graph.layers if layer.name in modules and modules[layer.name].weights]
    return LoadReport(
        loaded=tuple(name for name in names if name in loaded),
        skipped=tuple("/".join(map(str, group.path)) for group in stored if group.path not in partners),
        initial=tuple(name for name in names if name not in loaded and name not in differing),
        differing=tuple(differing),
    )


def export_weights(network: Network, path: str | Path) -> None:
    """Write the network's weights in the format of Keras's `save_weights`, which `load_weights` of Keras loads.

    With the ending `.weights.h5` it is the format of Keras 3, which goes by the classes and the order of the layers;
    otherwise that of Keras 2, which goes by their names or their order.

    Raises:
        DataError: the file cannot be written.
    """
    output = Hdf5Output(path)
    try:
        with output.writing():
            if str(path).endswith(KERAS_3_ENDING):
                _write_keras_3(output.hdf5, network)
            else:
                _write_keras_2(output.hdf5, network)
        output.close()
    finally:
        output.discard()


def _read(path: str | Path, graph: Graph, place: str) -> tuple[list[_Stored], bool]:
    """The weights in a file, and whether it stores a nested model as one group, like Keras 2."""
    try:
        local = storage.local_copy(path)
        if zipfile.is_zipfile(local):
            with zipfile.ZipFile(local) as archive:
                graph = read_graph(
                    decode(archives.read_member(archive, "config.json", path), f"{path}: config.json"), str(path)
                )
                content = archives.read_member(archive, "model.weights.h5", path)
                with hdf5_reading.opened_in_memory(content, f"{path}: model.weights.h5") as file:
                    return list(_keras_3_groups(file, graph, ())), False
        with hdf5_reading.opened(local) as file:
            if any(name in file for name in _CONTAINERS) and "layer_names" not in file.attrs:
                return list(_keras_3_groups(file, graph, ())), False
            return list(_keras_2_groups(_member(file, "model_weights") if "model_weights" in file else file)), True
    except FileNotFoundError:
        raise DataError(Problem(place, f"no such file: '{path}'")) from None
    except DataError as error:
        raise DataError(*(Problem(place, str(p)) for p in error.problems)) from None
    except (OSError, LookupError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        message = f"'{path}' is not a Keras weights file, or damaged. {describe(error)}"
        raise DataError(Problem(place, message)) from None


def _keras_2_groups(file: h5py.Group) -> Iterator[_Stored]:
    """The groups with weights. The file's layer list decides, not its tree: names may contain slashes."""
    for layer in _attribute(file, "layer_names"):
        group = _member(file, layer)
        names = _attribute(group, "weight_names")
        if names:
            yield _Stored((layer,), tuple(names), tuple(_values(group, name) for name in names))


def _keras_3_groups(file: h5py.Group, graph: Graph, path: KerasPath) -> Iterator[_Stored]:
    """The layers with weights. Groups are named by class; newer files contain layer names, else `graph` has them."""
    container = next((_member(file, name) for name in _CONTAINERS if name in file), None)
    groups = {} if container is None else {str(name): _member(container, str(name)) for name in container}
    variables = {key: _member(group, "vars") for key, group in groups.items() if "vars" in group}
    names: dict[str, Any] = {key: group.attrs.get("name") for key, group in variables.items()}
    if not any(names.values()):
        names = _names_by_class(groups, graph, path)
    for key, group in groups.items():
        here = (*path, names.get(key) or key)
        inside = group
        while INNER in inside:
            inside = _member(inside, INNER)
        values = _member(inside, "vars") if "vars" in inside else None
        if values is not None and len(values):
            yield _Stored(here, (), tuple(_values(values, n) for n in sorted(values, key=int)))
        yield from _keras_3_groups(inside, graph, here)


def _names_by_class(groups: Mapping[str, h5py.Group], graph: Graph, path: KerasPath) -> dict[str, Any]:
    """The names of the layers in a model's groups: the groups of a class are in the model's order."""
    names: dict[str, Any] = {}
    for class_name, own in _members_by_class(graph, path).items():
        keys = [key for key in groups if re.fullmatch(rf"{class_name}(_\d+)?", key)]
        keys.sort(key=lambda key: int(key.removeprefix(class_name).removeprefix("_") or 0))
        names.update(zip(keys, (member[-1] for member in own), strict=False))
    return names


def _members_by_class(graph: Graph, path: KerasPath) -> dict[str, list[KerasPath]]:
    """The layers and models directly in a model, in its order, by what Keras 3 calls the groups of their classes."""
    classes = {layer.keras_path: layer.class_name for layer in graph.layers}
    classes |= {model: "Functional" if name == "Model" else name for model, name in graph.models.items()}
    members: dict[str, list[KerasPath]] = {}
    for member in dict.fromkeys(layer.keras_path[: len(path) + 1] for layer in graph.layers):
        if member[:-1] == path:
            members.setdefault(snake_case(classes[member]), []).append(member)
    return members


def _targets(network: Network, whole_models: bool) -> dict[KerasPath, list[_Target]]:
    """The network's weights, grouped and ordered like the file's.

    A nested model that is stored as one group has first all its trainable weights, then all others.
    """
    groups: dict[KerasPath, list[_Target]] = {}
    modules = network.layers()
    for layer in network.graph.layers:
        module = modules.get(layer.name)
        key = layer.keras_path[:1] if whole_models else layer.keras_path
        for weight in module.weights if module is not None else ():
            trainable = weight.trainable and layer.trainable
            target = _Target(layer.name, str(layer.keras_path[-1]), modules[layer.name], weight, trainable)
            groups.setdefault(key, []).append(target)
    if whole_models:
        for key, targets in groups.items():
            if key in network.graph.models:
                groups[key] = sorted(targets, key=lambda target: not target.trainable)
    return groups


def _partners(stored: Sequence[_Stored], keys: Sequence[KerasPath]) -> dict[KerasPath, KerasPath]:
    """The network's group for each group of the file: by name, or in order for layers without a name."""
    partners = {group.path: group.path for group in stored if group.path in keys}
    nameless = (key for key in keys if any(isinstance(part, int) for part in key))
    rest = (group.path for group in stored if group.path not in partners)
    return partners | dict(zip(rest, nameless, strict=False))


def _renumbered(stored: Sequence[_Stored], network: Network, place: str) -> list[_Stored]:
    """The groups with the network's names in place of those that end with numbers of Keras. Raises ConfigError."""
    modules = network.layers()
    own = {layer.name: layer.class_name for layer in network.graph.layers if layer.name in modules}
    weighted = {name: snake_case(kind) for name, kind in own.items() if modules[name].weights}
    names = pair_numbered([str(group.path[0]) for group in stored if len(group.path) == 1], weighted, place)
    return [
        dataclasses.replace(group, path=(names.get(str(group.path[0]), group.path[0]), *group.path[1:]))
        for group in stored
    ]


def _is_head(targets: Sequence[_Target]) -> bool:
    """Whether the weights are those of a layer that no layer with weights follows."""
    return all(isinstance(target.layer, WeightedSum) and target.layer.is_last for target in targets)


def _add_layers(
    network: Network,
    stored: Sequence[_Stored],
    targets: dict[KerasPath, list[_Target]],
    partners: dict[KerasPath, KerasPath],
) -> list[_Stored]:
    """Match single layers where models are around them on one side only; return the groups with those parted.

    A layer whose name occurs once on both sides matches at any depth. Adds to `targets` and `partners`.
    """
    used = set(partners.values())
    layers = _targets(network, whole_models=False)
    free = {path: group for path, group in layers.items() if path not in used and path[:1] not in used}
    pieces = [piece for group in stored if group.path not in partners for piece in _split(group)]
    paths = [piece.path for piece in pieces]
    pairs = pair_by_last_name(paths, free, lambda path: path[-1])
    targets.update({path: free[path] for path in pairs.values()})
    matched = [group for group in stored if group.path in partners]
    partners.update(pairs)
    return [*matched, *pieces]


def _split(group: _Stored) -> list[_Stored]:
    """The layers of a group that holds those of a nested model, as its weights' names tell; else the group itself."""
    layers = [name.split(":")[0].split("/")[-2:-1] for name in group.names]
    if not all(layers) or len({layer[0] for layer in layers}) < 2:
        return [group]
    pieces: list[_Stored] = []
    for name in dict.fromkeys(layer[0] for layer in layers):
        own = [i for i, layer in enumerate(layers) if layer[0] == name]
        values = tuple(group.values[i] for i in own)
        pieces.append(_Stored((*group.path, name), tuple(group.names[i] for i in own), values))
    return pieces


def _match(stored: _Stored, targets: Sequence[_Target]) -> list[tuple[_Target, np.ndarray]]:
    """Each weight of the network with its value: by name where the names are unique, otherwise by position.

    Raises:
        ValueError: the numbers of weights or their shapes differ.
    """
    name = "/".join(map(str, stored.path))
    if len(stored.values) != len(targets):
        wanted = f"but {len(targets)} in the network: {', '.join(map(str, targets))}"
        raise ValueError(f"layer '{name}' has {len(stored.values)} weights in the file, {wanted}")
    places = [_places(target, stored.names) for target in targets]
    by_name = all(len(place) == 1 for place in places) and len({place[0] for place in places}) == len(places)
    order = [place[0] for place in places] if by_name else range(len(targets))
    matches = [(target, stored.values[i]) for target, i in zip(targets, order, strict=True)]
    for target, value in matches:
        if target.weight.shape != value.shape:
            raise ValueError(f"{target} has shape {value.shape} in the file, but {target.weight.shape} in the network")
    return matches


def _places(target: _Target, names: Sequence[str]) -> list[int]:
    """The positions of the target's name in `names`: `c1/kernel:0`, possibly preceded by the names of models."""
    wanted = f"/{target.keras_name}/{target.weight.name}"
    return [i for i, name in enumerate(names) if f"/{name.split(':')[0]}".endswith(wanted)]


def _write_keras_3(file: h5py.File, network: Network) -> None:
    file.create_group("vars").attrs["name"] = network.graph.name
    _write_members(file, (), network.graph, _targets(network, whole_models=False))


def _write_members(
    place: h5py.Group, path: KerasPath, graph: Graph, groups: Mapping[KerasPath, Sequence[_Target]]
) -> None:
    """Write the layers of a model, and those of the models in it; also layers without weights, which count."""
    container = place.create_group("layers")
    for class_name, members in _members_by_class(graph, path).items():
        for number, member in enumerate(members):
            group = container.create_group(f"{class_name}_{number}" if number else class_name)
            variables = group.create_group("vars")
            variables.attrs["name"] = _group_name(member, graph)
            for i, target in enumerate(groups.get(member, ())):
                wrappers = target.weight.attribute.split(".")[graph.steps_around(member[:-1]) : -1]
                group.require_group("/".join([*wrappers, "vars"])).create_dataset(str(i), data=target.value())
            if member in graph.models:
                inside = group.require_group(f".{f'/{INNER}' * graph.per_step.get(member, 0)}")
                _write_members(inside, member, graph, groups)


def _write_keras_2(file: h5py.File, network: Network) -> None:
    groups = _targets(network, whole_models=True)
    layers = list(dict.fromkeys(_group_name(layer.keras_path[:1], network.graph) for layer in network.graph.layers))
    _set_attribute(file, "layer_names", layers)
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = b"2.4.0"
    values = {_group_name(key, network.graph): targets for key, targets in groups.items()}
    # In sorted order, a group is created before those whose names continue its name after a slash.
    for name in sorted(layers):
        group = file.require_group(name)
        targets = values.get(name, [])
        names = [f"{target.keras_name}/{target.weight.name}:0" for target in targets]
        _set_attribute(group, "weight_names", names)
        for target, weight_name in zip(targets, names, strict=True):
            group.create_dataset(weight_name, data=target.value())


def _group_name(path: KerasPath, graph: Graph) -> str:
    """The name of a layer's or nested model's group: the JSON's or, without one, the name that the network gave it."""
    if isinstance(path[-1], str):
        return path[-1]
    return next((layer.name for layer in graph.layers if layer.keras_path == path), f"model_{path[-1]}")


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """A list of strings, which may be split into `name0`, `name1`, ..."""
    if name in group.attrs:
        items = list(np.asarray(group.attrs[name]))
    else:
        chunks = [key for key in group.attrs if re.fullmatch(rf"{name}\d+", key)]
        chunks.sort(key=lambda key: int(key.removeprefix(name)))
        items = [item for chunk in chunks for item in np.asarray(group.attrs[chunk])]
        if not chunks:
            raise KeyError(f"it has no '{name}'")
    return [item.decode() if isinstance(item, bytes) else str(item) for item in items]


def _set_attribute(group: h5py.Group, name: str, items: Sequence[str]) -> None:
    encoded = np.array([item.encode() for item in items], dtype="S" if items else "S1")
    num_chunks = -(-max(encoded.nbytes, 1) // _ATTRIBUTE_BYTES)
    if num_chunks == 1:
        group.attrs[name] = encoded
        return
    for i, chunk in enumerate(np.array_split(encoded, num_chunks + 1)):
        group.attrs[f"{name}{i}"] = chunk


def _member(group: h5py.Group, name: str) -> h5py.Group:
    member = hdf5_reading.member(group, name, group.file.filename)
    if not isinstance(member, h5py.Group):
        raise KeyError(f"it has no group '{name}'")
    return member


def _values(group: h5py.Group, name: str) -> np.ndarray:
    dataset = hdf5_reading.member(group, name, group.file.filename)
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf":
        raise KeyError(f"it has no numeric dataset '{name}'")
    return hdf5_reading.values(dataset, f"{group.file.filename}: {name}")
