"""The folders of training, validation and test samples that a configuration does not name one by one.

The paths of a configuration are completed once, before anything else reads them: whatever is recorded, shown or checked
later has the same paths.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

from rayrml import storage
from rayrml.config.sections import Config, Data
from rayrml.data.data_set_folders import find_part
from rayrml.data.discovery import quote_some
from rayrml.data.layout import Kinds, Layout, LeftOut, Listing, Part, find_layout, find_roles
from rayrml.data.reader_keys import DATA, LABELS, NO_FILES, choose_reader, has_table
from rayrml.data.readers import Reader
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.storage.containers import find_container

# Each of them says which samples are for the test, or that all are for training.
_EXPLICIT = (
    "test_input_path",
    "test_target_path",
    "final_test_input_path",
    "final_test_target_path",
    "test_share",
    "split_column",
    "training_tag",
    "test_tag",
    "num_examples",
)
_INPUT, _TARGET = f"{DATA}.input_path", f"{DATA}.target_path"


@dataclasses.dataclass(frozen=True)
class Folders:
    """What became of the folders that a configuration names.

    Attributes:
        layout: the folders that were told apart by their names, None if the configuration names them all.
        notes: sentences on folders that look like parts of the data set and are not used as such.
    """

    layout: Layout | None = None
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The folders that are not used."""
        return () if self.layout is None else self.layout.left_out

    @property
    def tests_with_test(self) -> bool:
        """Whether epochs are evaluated on the test samples, because there is no folder for validation."""
        return self.layout is not None and self.layout.validation is None and self.layout.test is not None


def complete_paths(config: Config) -> tuple[Config, Folders]:
    """The configuration with the paths of validation and test samples that are folders in `input_path`.

    One that names test samples itself stays as it is.

    Raises:
        DataError: folders can mean several things, or cannot be listed.
    """
    data = config.neural_network.data
    reader = _find_reader(data, "input")
    if data.input_path is None or reader is None or reader.find is not None or reader.generate is not None:
        return config, Folders()
    if not _is_folder(data.input_path):
        return config, Folders()
    layout = None
    if all(getattr(data, key) is None for key in _EXPLICIT):
        with explaining(_INPUT, f"cannot read '{data.input_path}'"):
            layout = _find_layout(data, data.input_path, reader)
    if layout is None:
        return config, Folders(notes=_find_unused(data, data.input_path))
    paths = {
        "input_path": layout.training.input,
        "target_path": layout.training.target,
        **_paths("test_", layout.evaluated),
        **_paths("final_test_", layout.final_test),
    }
    changed = data.model_copy(update={key: path for key, path in paths.items() if path is not None})
    section = config.neural_network.model_copy(update={"data": changed})
    return config.model_copy(update={"neural_network": section}), Folders(layout)


def _paths(prefix: str, part: Part | None) -> dict[str, str | None]:
    return {} if part is None else {f"{prefix}input_path": part.input, f"{prefix}target_path": part.target}


def _find_reader(data: Data, side: str) -> Reader | None:
    """The reader of a side, None if there is none, or it has a mistake that is reported later."""
    if (data.inputs if side == "input" else data.targets) in (None, *NO_FILES):
        return None
    with contextlib.suppress(ConfigError):
        return choose_reader(data, "input" if side == "input" else "target").build()
    return None


def _is_folder(path: str) -> bool:
    with contextlib.suppress(OSError):
        return storage.is_folder(path)
    return False


def _find_layout(data: Data, path: str, reader: Reader) -> Layout | None:
    """The layout of the inputs' folder and, if the targets have another one, of that, too."""
    targets = _find_reader(data, "target")
    looks_for_targets = data.target_path is None and targets is not None and targets.labels is None
    by_folder = data.targets == LABELS and data.target_path is None and reader.labels is None
    kinds = Kinds(
        reader.extensions, targets.extensions if looks_for_targets and targets is not None else None, by_folder
    )
    layout = find_layout(Listing(path), kinds, _INPUT)
    if data.target_path is None or has_table(data) or (targets is not None and targets.find is not None):
        return layout
    if not _is_folder(data.target_path):
        if layout is not None:
            message = f"is one file, but '{path}' holds folders for training and the test"
            raise DataError(Problem(_TARGET, f"{message}. Expected a folder with the same folders"))
        return None
    extensions = reader.extensions if targets is None else targets.extensions
    theirs = layout if data.target_path == path else find_layout(Listing(data.target_path), Kinds(extensions), _TARGET)
    if layout is None and theirs is None:
        return None
    return _combine(layout, theirs, (path, data.target_path))


def _combine(inputs: Layout | None, targets: Layout | None, paths: tuple[str, str]) -> Layout:
    """The layout of inputs whose targets have a folder of their own with the same parts."""
    if inputs is None or targets is None:
        has, lacks = paths if targets is None else paths[::-1]
        message = f"'{has}' holds folders for training and the test, but '{lacks}' does not"
        raise DataError(Problem(_TARGET, f"{message}. Expected the same folders in both"))
    left_out = [*inputs.left_out, *(entry for entry in targets.left_out if entry not in inputs.left_out)]
    parts: dict[str, Part] = {}
    for role in ("training", "validation", "test"):
        own: Part | None = getattr(inputs, role)
        other: Part | None = getattr(targets, role)
        if own is not None and other is not None:
            parts[role] = Part(own.input, other.input)
        elif own is not None and role == "test":
            left_out.append(LeftOut(own.input, "has no targets"))
        elif own is not None or other is not None:
            alone = own or other
            lacking = paths[1] if own is not None else paths[0]
            raise DataError(Problem(_TARGET, f"'{alone.input if alone else ''}' has no partner in '{lacking}'"))
    return Layout(**parts, left_out=tuple(left_out))


def _find_unused(data: Data, path: str) -> tuple[str, ...]:
    """Sentences on folders that look like parts of the data set, which the configuration does not use as such."""
    notes: list[str] = []
    with contextlib.suppress(OSError, DataError):  # whoever needs the folders says what is wrong with them
        notes += _find_merged(data, path)
        notes += _find_mixed_tars(path)
        notes += _find_beside(data, path)
    return tuple(notes)


def _find_merged(data: Data, path: str) -> Iterator[str]:
    """A sentence if folders in `path` look like parts of the data set, but all of it is read; none for stores."""
    if storage.is_uri(path) or data.training_tag is not None:
        return
    inside = find_roles(Listing(path).folders(""))
    if "training" in inside and len(inside) > 1:
        names = [name for own in inside.values() for name in own]
        yield f"'{path}' holds {quote_some(names)}: all of them are read as training samples, as the keys say"


def _find_mixed_tars(path: str) -> Iterator[str]:
    """A sentence if the names of tar files in a folder tell of parts of the data set, but all of it is read."""
    found = find_container(path)
    parts = {find_part(storage.split(shard)[1]) for shard in found[0].shards} if found else set()
    if len(named := sorted(parts - {""})) > 1:
        message = f"'{path}' holds tar files named {quote_some(named)}: all of them are read as training samples"
        yield f"{message}. A pattern such as train-{{0000..0099}}.tar names some of them, also in test_input_path"


def _find_beside(data: Data, path: str) -> Iterator[str]:
    """A sentence if there are unused parts of the data set beside `path`, or beside the folder that holds it."""
    used = _list_used(data)
    for training in (path, storage.parent(path)):
        above, name = storage.split(training)
        if not name or "training" not in find_roles([name]):
            continue
        beside = find_roles([folder for folder in Listing(above).folders("") if folder != name])
        unused = [
            folder
            for folder in (storage.join(above, other) for own in beside.values() for other in own)
            if not any(other == folder or other.startswith(f"{folder}/") for other in used)
        ]
        if unused:
            yield f"{quote_some(unused)} beside '{training}': looks like a part of the data set, and is not used"


def _list_used(data: Data) -> Sequence[str]:
    tests = data.test_input_path
    inputs = tests if isinstance(tests, list) else [tests]
    paths = [*inputs, data.target_path, data.test_target_path, data.final_test_input_path, data.final_test_target_path]
    return [path for path in paths if path is not None]
