"""Which folders hold the samples for training, validation and the final test, as their names tell.

People keep them as `train`, `val` and `test`, often with `images` and `masks` in each, or the other way round. Names
that could mean two things are an error: nothing is merged or left out in silence.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from rayrml import storage
from rayrml.data.discovery import Samples, quote_some
from rayrml.data.scanning import is_passed_over
from rayrml.errors import DataError, Problem

Role = Literal["training", "validation", "test"]

ROLES: dict[Role, tuple[str, ...]] = {
    "training": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_INPUTS = ("images", "image", "imgs", "img", "inputs", "input")
_TARGETS = ("masks", "mask", "labels", "label", "annotations", "annotation", "targets", "target")
_MOST_SIBLINGS = 8  # folders that are searched for parts: more of them are classes
_MOST_WRAPPERS = 2  # folders that hold nothing but the next one, as archives make them
_CURE = (
    "Expected nothing beside the folders of one data set; or, in a configuration, input_path and test_input_path that "
    "name the folders, or test_share if all of them are classes"
)


@dataclasses.dataclass(frozen=True)
class Kinds:
    """What the files of samples look like.

    Attributes:
        inputs: extensions of the inputs' files.
        targets: extensions of the targets' files, if these are to be found, too; None otherwise.
        classes: whether the folders of inputs are their classes.
    """

    inputs: frozenset[str]
    targets: frozenset[str] | None = None
    classes: bool = False

    @property
    def all(self) -> frozenset[str]:
        """The extensions of inputs and targets."""
        return self.inputs | (self.targets or frozenset())


@dataclasses.dataclass(frozen=True)
class Part:
    """The folders of some samples: their inputs, and their targets if these have a folder of their own."""

    input: str
    target: str | None = None


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A folder that is not used, and why."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Layout:
    """The folders of a data set.

    Attributes:
        training: samples to train on.
        validation: samples to evaluate on after each epoch, None if there is no folder for them.
        test: samples that are kept for the end, None likewise.
        left_out: what else was found and is not used.
    """

    training: Part
    validation: Part | None = None
    test: Part | None = None
    left_out: tuple[LeftOut, ...] = ()

    @property
    def evaluated(self) -> Part | None:
        """The samples to evaluate on after each epoch: the test samples if there are no others."""
        return self.validation or self.test

    @property
    def final_test(self) -> Part | None:
        """The samples to evaluate on once, None if epochs need them."""
        return None if self.validation is None else self.test


class Listing:
    """What is in a folder and in those below it, here or in an object store; each is listed once, when it is needed."""

    def __init__(self, root: str):
        self.root = root
        self._known: dict[str, tuple[list[str], list[str]]] = {}

    def path(self, below: str) -> str:
        """The whole path of a folder below the root, which is "" itself."""
        return storage.join(self.root, *below.split("/")) if below else self.root

    def folders(self, below: str) -> list[str]:
        """The folders directly in a folder, relative to the root."""
        return [_join(below, name) for name in self._list(below)[1]]

    def files(self, below: str, extensions: Collection[str]) -> list[str]:
        """The names of the files directly in a folder that have one of the extensions."""
        return sorted(name for name in self._list(below)[0] if _belongs(name, extensions))

    def holds(self, below: str, extensions: Collection[str]) -> bool:
        """Whether there is such a file in a folder or anywhere below it."""
        pending, seen = [below], set[str]()
        while pending:
            folder = pending.pop()
            real = self.path(folder) if storage.is_uri(self.root) else os.path.realpath(self.path(folder))
            if real in seen:  # a link leads back
                continue
            seen.add(real)
            if any(_belongs(name, extensions) for name in self._list(folder)[0]):
                return True
            pending += self.folders(folder)
        return False

    def _list(self, below: str) -> tuple[list[str], list[str]]:
        if below not in self._known:
            files, folders = storage.list_folder(self.path(below))
            self._known[below] = files, sorted(name for name in folders if not is_passed_over(name))
        return self._known[below]


def find_layout(listing: Listing, kinds: Kinds, where: str) -> Layout | None:
    """The layout of a folder, None if its names tell of none.

    There is one if there are a folder for training and another for validation or the test: in the folder, or in one of
    its folders; with `kinds.targets` also if there are a folder of inputs and one of targets.

    Raises:
        DataError: the names can mean several things.
        OSError: a folder cannot be listed.
    """
    return _Finder(listing, kinds, where).find()


def find_roles(names: Sequence[str]) -> dict[Role, list[str]]:
    """Those of the folder names that tell what the samples are for."""
    found: dict[Role, list[str]] = {}
    for role, known in ROLES.items():
        if own := [name for name in names if _name(name) in known]:
            found[role] = own
    return found


def find_misread(names: Sequence[str]) -> list[str]:
    """Those of the names of classes that, as folders, would be read as parts of a data set, or as images and masks."""
    roles = find_roles(names)
    sides = [[name for name in names if _name(name) in known] for known in (_INPUTS, _TARGETS)]
    if "training" in roles and len(roles) > 1:
        return [name for own in roles.values() for name in own]
    return [*sides[0], *sides[1]] if all(sides) else []


def refuse_names_of_parts(samples: Samples, where: str) -> None:
    """Raise DataError if the classes of samples are named like the parts of a data set, in the folder of each class."""
    names = {name.casefold() for name in samples.classes}
    if len(names) == 2 and names & set(_INPUTS) and names & set(_TARGETS):
        message = f"the classes would be {quote_some(samples.classes)}, which look like images and their masks"
        raise DataError(Problem(where, f'{message}. Expected "target_type": "images"'))
    roles = find_roles(sorted(names))
    inner = [folder for folder in samples.folders if "/" in folder and folder.rpartition("/")[2] in samples.classes]
    if "training" in roles and len(roles) > 1 and sum(map(len, roles.values())) == len(names) and inner:
        message = f"the classes would be {quote_some(samples.classes)}, the names of the folders in '{samples.root}'"
        raise DataError(Problem(where, f"{message}. Expected folders for training and the test that hold the others"))


class _Finder:
    def __init__(self, listing: Listing, kinds: Kinds, where: str):
        self.listing = listing
        self.kinds = kinds
        self.where = where

    def find(self) -> Layout | None:
        top = self._unwrapped()
        if roles := self._roles(top):
            return self._of_home(top, roles)
        below = self.listing.folders(top)
        inner = below if len(below) <= _MOST_SIBLINGS else []
        homes = {home: roles for home in inner if (roles := self._roles(home))}
        if not homes:
            return None if self.kinds.targets is None else self._pair_alone([top, *inner])
        sides = None if self.kinds.targets is None else self._sides(list(homes))
        if sides is not None:
            self._refuse_others(top, list(sides))
            return self._of_sides(homes[sides[0]], homes[sides[1]], sides)
        if len(homes) > 1:
            message = f"{self._quote(homes)} in '{self.listing.path(top)}' each hold folders for training and the test"
            raise self._error(f"{message}. Expected folders for training and the test that hold the others")
        (home, roles) = next(iter(homes.items()))
        self._refuse_others(top, [home])
        return self._of_home(home, roles)

    def _unwrapped(self) -> str:
        """The folder below those that hold nothing but one other folder."""
        top = ""
        for _ in range(_MOST_WRAPPERS):
            folders = self.listing.folders(top)
            if len(folders) != 1 or self.listing.files(top, self.kinds.all):
                break
            top = folders[0]
        return top

    def _roles(self, home: str) -> dict[Role, str]:
        """The folder of each role in a folder that holds samples; none unless some are for training and some not.

        Raises:
            DataError: there are several for one role.
        """
        named = find_roles(self.listing.folders(home))
        if "training" not in named or len(named) == 1:
            return {}
        found: dict[Role, str] = {}
        for role, folders in named.items():
            own = [folder for folder in folders if self.listing.holds(folder, self.kinds.all)]
            if len(own) > 1:
                message = f"{self._quote(own)} in '{self.listing.path(home)}' could both be the {role} samples"
                raise self._error(f"{message}. Expected one of them")
            if own:
                found[role] = own[0]
        return found if "training" in found and len(found) > 1 else {}

    def _of_home(self, home: str, roles: Mapping[Role, str]) -> Layout:
        """The layout of a folder with a folder for each role."""
        self._refuse_others(home, list(roles.values()), roles)
        left_out = self._files_beside(home)
        empty = [f for own in find_roles(self.listing.folders(home)).values() for f in own if f not in roles.values()]
        left_out += [LeftOut(self.listing.path(folder), "holds no samples") for folder in empty]
        parts: dict[Role, Part] = {}
        pairs = {role: self._pair_in(folder) for role, folder in roles.items()}
        for role, folder in roles.items():
            own = pairs[role]
            if role == "test" and self._is_unlabelled(folder):
                left_out.append(LeftOut(self.listing.path(folder), "has no class folders"))
            elif pairs["training"] is None or own is not None:
                parts[role] = own or Part(self.listing.path(folder))
            elif role == "test":
                left_out.append(LeftOut(self.listing.path(folder), "has no targets"))
            else:
                raise self._error(f"'{self.listing.path(folder)}' holds no folders of inputs and targets")
        return Layout(**parts, left_out=tuple(left_out))

    def _of_sides(self, inputs: Mapping[Role, str], targets: Mapping[Role, str], sides: tuple[str, str]) -> Layout:
        """The layout of a folder of inputs and one of targets, each with a folder for each role."""
        left_out = [entry for side in sides for entry in self._files_beside(side)]
        for side, roles in zip(sides, (inputs, targets), strict=True):
            self._refuse_others(side, list(roles.values()), roles)
        parts: dict[Role, Part] = {}
        for role in ROLES:
            if role not in inputs and role not in targets:
                continue
            if role in inputs and role in targets:
                parts[role] = Part(self.listing.path(inputs[role]), self.listing.path(targets[role]))
            elif role == "test" and role in inputs:
                left_out.append(LeftOut(self.listing.path(inputs[role]), "has no targets"))
            else:
                alone = inputs.get(role) or targets[role]
                other = sides[1] if role in inputs else sides[0]
                raise self._error(f"'{self.listing.path(alone)}' has no partner in '{self.listing.path(other)}'")
        return Layout(**parts, left_out=tuple(left_out))

    def _pair_alone(self, homes: Sequence[str]) -> Layout | None:
        """The layout of a folder that has folders of inputs and targets, but none for the test."""
        for depth, some in enumerate((homes[:1], homes[1:])):
            found = {home: pair for home in some if (pair := self._pair_in(home)) is not None}
            if len(found) > 1:
                raise self._error(f"{self._quote(found)} each hold folders of inputs and targets. Expected one of them")
            for home, pair in found.items():
                if depth:
                    self._refuse_others(homes[0], [home])
                return Layout(pair, left_out=tuple(self._files_beside(home)))
        return None

    def _pair_in(self, home: str) -> Part | None:
        """The folders of inputs and targets in a folder, if targets are looked for and both are there."""
        if self.kinds.targets is None:
            return None
        folders = self.listing.folders(home)
        sides = self._sides([folder for folder in folders if self.listing.holds(folder, self.kinds.all)])
        if sides is None:
            return None
        self._refuse_others(home, list(sides))
        return Part(*map(self.listing.path, sides))

    def _sides(self, folders: Sequence[str]) -> tuple[str, str] | None:
        """Those of the folders that hold inputs and targets, None unless there are both.

        Raises:
            DataError: there are several of one kind.
        """
        found = [[folder for folder in folders if _name(folder) in names] for names in (_INPUTS, _TARGETS)]
        found = [
            [folder for folder in own if self.listing.holds(folder, extensions)]
            for own, extensions in zip(found, (self.kinds.inputs, self.kinds.targets or ()), strict=True)
        ]
        if not all(found):
            return None
        for own, what in zip(found, ("inputs", "targets"), strict=True):
            if len(own) > 1:
                raise self._error(f"{self._quote(own)} could both be the {what}. Expected one of them")
        return found[0][0], found[1][0]

    def _is_unlabelled(self, folder: str) -> bool:
        """Whether samples whose folders should be their classes are in no further folder."""
        below = self.listing.folders(folder)
        direct = self.kinds.classes and self.listing.files(folder, self.kinds.inputs)
        return bool(direct) and not any(self.listing.holds(inner, self.kinds.inputs) for inner in below)

    def _files_beside(self, home: str) -> list[LeftOut]:
        """An entry for the files directly in a folder whose folders are used."""
        names = self.listing.files(home, self.kinds.all)
        what = quote_some(names, 3)
        return [LeftOut(self.listing.path(home), f"files beside the folders: {what}")] if names else []

    def _refuse_others(self, home: str, used: Sequence[str], roles: Mapping[Role, str] | None = None) -> None:
        """Raise DataError if further folders beside those that are used hold samples."""
        named = {f for own in find_roles(self.listing.folders(home)).values() for f in own} if roles else set()
        others = [
            folder
            for folder in self.listing.folders(home)
            if folder not in used and folder not in named and self.listing.holds(folder, self.kinds.all)
        ]
        if others:
            message = f"'{self.listing.path(home)}' holds {self._quote(used)}, which look like the parts of a data set"
            raise self._error(f"{message}, and also samples in {self._quote(others)}. {_CURE}")

    def _quote(self, folders: Collection[str]) -> str:
        return quote_some(folder.rpartition("/")[2] for folder in folders)

    def _error(self, message: str) -> DataError:
        return DataError(Problem(self.where, message))


def _belongs(name: str, extensions: Collection[str]) -> bool:
    return storage.suffix(name) in extensions and not is_passed_over(name)


def _join(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name


def _name(folder: str) -> str:
    return folder.rpartition("/")[2].casefold()
