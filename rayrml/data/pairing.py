"""Which target file belongs to which input file: by their names, without the extensions.

The names are equal, or those of all targets differ from the inputs' in the same parts: `x_1.tif` and `x_1_mask.tif`, or
`img_001.png` and `mask_001.png`.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from rayrml.data.addresses import take_places
from rayrml.data.discovery import Samples, quote_some
from rayrml.data.names import take_names
from rayrml.errors import DataError, Problem

_KEY = "neural_network.data.target_suffix"


def pair(inputs: Samples, targets: Samples, where: str, suffix: str | None = None) -> tuple[Samples, Samples]:
    """Inputs and their targets in the same order, paired by relative path without the extension.

    With a `suffix`, the target of `x` is `x` with that suffix; both may be in one folder. Without one, the parts in
    which the names of all targets differ from those of all inputs are found by themselves.

    Raises:
        DataError: an input has no target or vice versa, or several files could be the partner.
    """
    if suffix is not None and inputs.root == targets.root:
        inputs, targets = _part(inputs, suffix)
    if len(inputs) == len(targets) == 1:
        return inputs, targets  # they belong together whatever their names
    input_stems, target_stems = _stems(inputs), _stems(targets)
    if suffix is None:
        _refuse_mixed(inputs, targets, input_stems)
    keys = input_stems if suffix is None else [stem + suffix for stem in input_stems]
    partners = {stem: index for index, stem in enumerate(target_stems)}
    differing = _without_equal_parts(input_stems, target_stems) if suffix is None else None
    if differing is not None:
        keys, others = differing
        partners = {stem: index for index, stem in enumerate(others)}
    else:
        _refuse_unpaired(inputs, targets, keys, where)
    order = [partners[key] for key in keys]
    names, places = take_names(targets.names, order), take_places(targets.places, order)
    return inputs, dataclasses.replace(targets, names=names, places=places)


def _part(samples: Samples, suffix: str) -> tuple[Samples, Samples]:
    """The inputs and the targets of one folder. Raises DataError if it has only one of both."""
    ends = [stem.endswith(suffix) for stem in _stems(samples)]
    if all(ends) or not any(ends):
        which = "all" if all(ends) else "none"
        message = f"{which} of the files in '{samples.root}' end with '{suffix}'. Expected some: the targets"
        raise DataError(Problem(_KEY, message))
    inputs, targets = ([i for i, end in enumerate(ends) if end == is_target] for is_target in (False, True))
    return samples.only(inputs), samples.only(targets)


def _refuse_mixed(inputs: Samples, targets: Samples, stems: Sequence[str]) -> None:
    """Raise DataError if inputs and targets are the same files, and half of them are named like targets."""
    if inputs.root != targets.root or len(stems) % 2:
        return
    every, first = set(stems), min(stems)  # files come in the order of their names with endings: `a-mask.png`, `a.png`
    for stem in stems:
        suffix = stem.removeprefix(first) if stem.startswith(first) else ""
        if suffix and 2 * sum(s + suffix in every for s in stems) == len(stems):
            message = f'is missing: inputs and targets are the same files. Expected "target_suffix": "{suffix}"'
            raise DataError(Problem(_KEY, f"{message}, which half of them end with"))


def _without_equal_parts(inputs: list[str], targets: list[str]) -> tuple[list[str], list[str]] | None:
    """What tells the inputs apart and what tells the targets apart, if the names are not equal but these are.

    Numbers are no parts that may differ: 1 and 2 are not the partners of 11 and 12.
    """
    if len(inputs) != len(targets) or inputs == targets or set(inputs) == set(targets):
        return None
    ends = [_equal_ends([stem.rpartition("/")[2] for stem in stems]) for stems in (inputs, targets)]
    (before, after), (their_before, their_after) = ends
    if any(_number(a, b) for a, b in ((before, their_before), (after[::-1], their_after[::-1]))):
        return None
    keys, others = ([_cut(stem, *own) for stem in stems] for stems, own in zip((inputs, targets), ends, strict=True))
    return (keys, others) if set(keys) == set(others) and len(set(keys)) == len(keys) else None


def _equal_ends(names: Sequence[str]) -> tuple[str, str]:
    """What all names begin with, and what the rest of all of them ends with."""
    before = _common_start(names)
    after = _common_start([name[len(before) :][::-1] for name in names])[::-1]
    return before, after


def _common_start(texts: Sequence[str]) -> str:
    """What all texts begin with: what the first and the last one in alphabetical order have in common."""
    first, last = min(texts), max(texts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _number(text: str, other: str) -> bool:
    """Whether two beginnings differ only by digits, apart from what both end with."""
    same = len(_common_start([text[::-1], other[::-1]]))
    own, their = text[: len(text) - same], other[: len(other) - same]
    return bool(own or their) and all(part.isdecimal() for part in (own, their) if part)


def _cut(stem: str, before: str, after: str) -> str:
    """A path without these ends of its last name."""
    folder, slash, name = stem.rpartition("/")
    return f"{folder}{slash}{name[len(before) : len(name) - len(after)]}"


def _refuse_unpaired(inputs: Samples, targets: Samples, keys: Sequence[str], where: str) -> None:
    """Raise DataError unless each input, whose target's name is its key, has exactly one target and vice versa."""
    target_stems = _stems(targets)
    partners = set(target_stems)
    complaints = [
        *_unpaired(inputs, keys, partners, "target"),
        *_unpaired(targets, target_stems, set(keys), "input"),
    ]
    if complaints:
        owners = _stems(inputs)
        if inputs.root == targets.root:  # further targets have been taken for inputs
            alone = {stem for stem, key in zip(owners, keys, strict=True) if key not in partners}
            owners = [stem for stem in owners if stem not in alone]
            partners |= alone
        complaints += _several(set(owners), sorted(partners))
        raise DataError(*(Problem(where, complaint) for complaint in complaints))


def _several(inputs: Collection[str], targets: Sequence[str]) -> Iterator[str]:
    """What to do about an input with several targets, such as one for each object: `x_mask` and `x_mask_1`."""
    found: dict[str, list[str]] = {}
    for target in targets:
        ends = (n for n in range(len(target), 0, -1) if target[:n] in inputs and not target[n : n + 1].isalnum())
        if (end := next(ends, 0)) > 0:
            found.setdefault(target[:end], []).append(target)
    many = {stem: names for stem, names in found.items() if len(names) > 1}
    if many:
        stem, names = next(iter(many.items()))
        more = f" and {len(many) - 1} others" if len(many) > 1 else ""
        yield f"several targets for '{stem}'{more}: {quote_some(names)}. Expected one file each: combine them"


def describe(inputs: Samples, targets: Samples) -> str | None:
    """How targets are named, by the example of the first one; None if they are named like their inputs."""
    names = [samples.path(0).rpartition("/")[2] for samples in (inputs, targets)]
    stems = [os.path.splitext(name)[0] for name in names]  # noqa: PTH122 (keys of object stores)
    return None if stems[0] == stems[1] else f"'{names[1]}' for '{names[0]}'"


def _stems(samples: Samples) -> list[str]:
    """The names without their extensions."""
    return [os.path.splitext(name)[0] for name in samples.names]  # noqa: PTH122 (a million splits)


def _unpaired(samples: Samples, stems: Sequence[str], partners: Collection[str], partner: str) -> Iterator[str]:
    """What keeps the samples with these `stems` from having exactly one `partner` each, an input or a target."""
    alone = [name for name, stem in zip(samples.names, stems, strict=True) if stem not in partners]
    if alone:
        yield f"no {partner} for {quote_some(alone)} in '{samples.root}'"
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice:
        yield f"several files with the same name in '{samples.root}': {quote_some(twice)}"
