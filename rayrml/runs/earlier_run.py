"""An earlier run where this one writes: it is moved aside, so that no folder has files of two runs."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rayrml import storage
from rayrml.errors import DataError, Problem, explaining
from rayrml.formatting import format_path
from rayrml.inference.outputs import destination_of
from rayrml.inference.picture_destination import CLASSES, FOLDERS
from rayrml.inference.shard_folder import ShardFolder, is_index, list_own_shards
from rayrml.planning.plan import Plan
from rayrml.reporting import history, trackers
from rayrml.reporting.file_names import FILES, PLOTS, RUN_LOG, SEARCH, SEARCH_FILES, TRIALS_FOLDER
from rayrml.reporting.stored_logs import PARTS
from rayrml.reporting.tensorboard import EVENTS_FOLDER
from rayrml.saving import checkpoint_folder

_FAILED = "cannot be accessed"
_PREDICTIONS = re.compile(r"output_(\d+)\.h5")
_CLASSES = re.compile(rf"{CLASSES}_(\d+)\.csv")
_RECORD = (*FILES, *SEARCH_FILES, trackers.IDS_FILE)


@dataclasses.dataclass(frozen=True)
class MadeRoom:
    """What became of an earlier run's files.

    Attributes:
        lines: the messages about them.
        moved: the new path of each file that was moved, and of the folders that they were in, by the old one.
    """

    lines: tuple[str, ...] = ()
    moved: Mapping[str, str] = dataclasses.field(default_factory=dict)


def make_room(plan: Plan) -> MadeRoom:
    """Move aside an earlier run's files where a training run writes, or remove them if the configuration says so.

    Files that no run has written stay where they are. Evaluation and inference replace files of the same names, and add
    to the pictures, and the lines say which.

    Raises:
        DataError: a folder cannot be read, or a file not be moved, or this run reads one of the files.
    """
    if plan.training is None:
        said = {"Replacing files": _find_replaced(plan), "Adding to the pictures": _find_pictures(plan)}
        return MadeRoom(tuple(f"{what} of an earlier run: {', '.join(paths)}" for what, paths in said.items() if paths))
    outfile = plan.config.neural_network.data.hdf5_outfile
    return _make_room(plan, _list_folders(plan), [outfile] if outfile is not None and _exists(outfile) else [])


def make_room_in(folder: str, plan: Plan) -> MadeRoom:
    """Like `make_room`, for a search in this folder, whose trials have such plans. Raises DataError likewise."""
    return _make_room(plan, [folder])


def _make_room(plan: Plan, places: Sequence[str], lone: Sequence[str] = ()) -> MadeRoom:
    """Move or remove what runs have written in these folders, and the lone files."""
    nn = plan.config.neural_network
    folders = {folder: files for folder in places if (files := list(_find_own(folder)))}
    if not (any(map(_is_worth_keeping, folders.values())) or lone):
        return MadeRoom()  # what an attempt without a result has left is replaced
    own = {folder: [name.split("/") for name in names] for folder, names in folders.items()} | {
        path: [[]] for path in lone
    }
    _refuse_inputs(plan, {storage.join(place, *name) for place, names in own.items() for name in names})
    if nn.checkpoints.exist == "overwrite":
        for place, names in own.items():
            for name in names:
                checkpoint_folder.remove(storage.join(place, *name))
            _remove_emptied(place, names)
        return MadeRoom((f"Overwriting the earlier run in {', '.join(map(format_path, own))}",))
    targets = _choose_targets(list(own))
    searched = any(SEARCH in names for names in folders.values())
    unfinished = any(map(checkpoint_folder.is_interrupted, folders))
    moved = {
        storage.join(place, *name): storage.join(targets[place], *name)
        for place, names in own.items()
        for name in names
    }
    for source, target in moved.items():
        with explaining(source, "cannot be moved"):
            storage.move(source, target)
    for place, names in own.items():
        _remove_emptied(place, names)
    lines = [f"The earlier run in {format_path(old)} is now in {format_path(new)}" for old, new in targets.items()]
    if unfinished or searched:
        keys = {"checkpoints.save": nn.checkpoints.save, "ray.storage_path": plan.config.ray.storage_path}
        places = [f"{key}={format_path(targets[path])}" for key, path in keys.items() if path in targets]
        state = "It did not finish. " if unfinished else ""
        lines.append(f"{state}To continue it instead: {' '.join(places)} --resume")
    return MadeRoom(tuple(lines), targets | moved)


def _refuse_inputs(plan: Plan, files: Collection[str]) -> None:
    """Raise DataError if this run reads one of the earlier run's files that it would move or remove."""
    sides = [side for source in plan.sources for side in source.sides.values()]
    read = [side.samples.path(i) for side in sides for i in range(len(side.samples))]
    section = plan.config.neural_network.checkpoints
    if section.load is not None and section.exist == "overwrite":  # the record says where one that is moved is
        read.append(checkpoint_folder.find_model(section.load))
    for path in read:
        if path in files:
            message = (
                "is an output of an earlier run, and this one reads it. Expected another folder for its own outputs"
            )
            raise DataError(Problem(path, message))


def _choose_targets(places: Sequence[str]) -> dict[str, str]:
    """A new name for each folder or file, all with the first number that none of them has had before.

    What is inside one of the folders stays inside it.
    """
    outer = {place: max(_find_outer(place, places), key=len, default=None) for place in places}
    for number in itertools.count(1):
        targets: dict[str, str] = {}
        for place in sorted(places, key=len):
            around = outer[place]
            targets[place] = _beside(place, number) if around is None else targets[around] + place[len(around) :]
        if not any(map(_exists, targets.values())):
            return targets
    return {}


def _remove_emptied(place: str, files: Iterable[Sequence[str]]) -> None:
    """Remove the folders inside `place` that held only these files, which are gone."""
    if storage.is_uri(place):
        return  # a store has no folders
    inside = {tuple(name[:i]) for name in files for i in range(1, len(name))}
    for parts in sorted(inside, key=len, reverse=True):
        with contextlib.suppress(OSError):  # other files are in it
            Path(place, *parts).rmdir()


def _find_outer(place: str, places: Iterable[str]) -> Iterator[str]:
    """The folders on this machine, of these, that a path is in."""
    if not storage.is_uri(place):
        yield from (other for other in places if place.startswith(other.rstrip("/") + "/"))


def _list_folders(plan: Plan) -> list[str]:
    """The folders that a training run writes to, each once."""
    nn = plan.config.neural_network
    folders = (nn.checkpoints.save, plan.config.ray.storage_path, nn.data.test_output_path)
    return list(dict.fromkeys(filter(None, folders)))


def _find_own(folder: str) -> Iterator[str]:
    """The files in a folder that a run has written, relative to it."""
    names = _list_files(folder)
    for name in names:
        if checkpoint_folder.is_checkpoint(name) or _PREDICTIONS.fullmatch(name) or name in _RECORD:
            yield name
        if name == RUN_LOG and storage.is_uri(folder):
            yield from (f"{name}{PARTS}/{path}" for path in _walk(storage.join(folder, f"{name}{PARTS}")))
        if name == SEARCH:
            yield from (f"{TRIALS_FOLDER}/{path}" for path in _walk(storage.join(folder, TRIALS_FOLDER)))
    for plots in {name.rpartition("/")[0] for name in PLOTS.values()}:
        there = _list_files(storage.join(folder, plots))
        yield from (name for name in PLOTS.values() if name.rpartition("/")[2] in there)
    with explaining(folder, _FAILED):
        yield from list_own_shards(folder)
    yield from _find_own_pictures(folder, names)
    if not storage.is_uri(folder):  # TensorBoard's files are on this machine only
        yield from (f"{EVENTS_FOLDER}/{path}" for path in _walk(storage.join(folder, EVENTS_FOLDER)))


def _find_own_pictures(folder: str, names: Iterable[str]) -> Iterator[str]:
    """The pictures in a folder with these files, and the tables of their classes, relative to it.

    Folders of pictures belong to a run only if its predictions or its table are beside them: a user's may have such
    names, too.
    """
    epochs: set[str] = set()
    for name in names:
        table = _CLASSES.fullmatch(name)
        if table:
            yield name
        epochs.update(found[1] for found in (table, _PREDICTIONS.fullmatch(name)) if found)
    for pictures in (f"{kind}_{epoch}" for epoch in sorted(epochs) for kind in FOLDERS):
        yield from (f"{pictures}/{path}" for path in _walk(storage.join(folder, pictures)))


def _is_worth_keeping(names: Sequence[str]) -> bool:
    """Whether a run has come so far that it left a result."""
    results = (history.FILE, SEARCH)
    return any(
        name in results or checkpoint_folder.is_checkpoint(name) or _PREDICTIONS.fullmatch(name) or is_index(name)
        for name in names
    )


def _beside(place: str, number: int) -> str:
    """The new name of a folder or file, next to it; inside a folder without a name, or around the current folder."""
    parent, name = storage.split(place)
    if not name or (not storage.is_uri(place) and Path.cwd().is_relative_to(place)):
        return storage.join(place, f"run-{number}")
    stem, dot, ending = name.rpartition(".") if name.endswith(".h5") else (name, "", "")
    return storage.join(parent, f"{stem}-{number}{dot}{ending}")


def _find_replaced(plan: Plan) -> list[str]:
    """The prediction files that an evaluation or inference run replaces."""
    data = plan.config.neural_network.data
    paths = [] if data.test_output_path is None else [storage.join(data.test_output_path, "output_1.h5")]
    paths += [ShardFolder(path).index for path in paths]
    paths += [] if data.hdf5_outfile is None else [data.hdf5_outfile]
    return [format_path(path) for path in paths if plan.test is not None and _exists(path)]


def _find_pictures(plan: Plan) -> list[str]:
    """The folders with pictures that an evaluation or inference run adds to."""
    if plan.test is None:
        return []
    config = plan.config.neural_network
    pictures = destination_of(plan.test, config, 1, plan.classes, drawing=plan.pictures.drawing).pictures
    return [] if pictures is None else [format_path(folder) for folder in pictures.folders if _exists(folder)]


def _exists(path: str) -> bool:
    with explaining(path, _FAILED):
        return storage.exists(path)


def _walk(folder: str) -> list[str]:
    with explaining(folder, _FAILED):
        return storage.walk(folder)[0]


def _list_files(folder: str) -> dict[str, float]:
    with explaining(folder, _FAILED):
        return storage.files(folder)
