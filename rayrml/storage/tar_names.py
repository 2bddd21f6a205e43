"""Which tar files a path stands for: one, several by a pattern with braces, or those of a folder."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from rayrml.errors import DataError, Problem
from rayrml.storage.paths import is_uri, join

_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(\d+)\.\.(\d+)")
_COMPRESSED = re.compile(r"\.(?:tar\.(?:gz|bz2|xz|zst|lz4)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_BESIDE = (".json", ".txt", ".md", ".idx", ".csv", ".yaml", ".yml", ".jsonl", ".tsv")  # notes on the shards
_MOST_SHARDS = 1_000_000
UNPACK = "Expected tar files without compression, of which parts can be read: unpack them first, as with `gunzip`"


def state_of_tars(path: str, *, searched: bool = False) -> tuple[object, ...] | None:
    """What changes when the tar files at a path do; None if there are none.

    A folder is one of tar files if there are no folders and no other files than notes beside them; one in a store is
    listed only if it was `searched` for other files.
    """
    shards = list_shards(path, searched=searched)
    if shards is None or is_uri(path):  # a request for each takes too long; a change shows when a member is read
        return None if shards is None else tuple(shards)
    return tuple((shard, version_of(shard)) for shard in shards)


def expand(pattern: str) -> list[str]:
    """The paths that a pattern with braces stands for: `{00..12}` for numbers, `{a,b}` for alternatives."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    numbers = _NUMBERS.fullmatch(match[1])
    if numbers is None:
        options = match[1].split(",")
    else:
        first, last = int(numbers[1]), int(numbers[2])
        if not 0 <= last - first < _MOST_SHARDS:
            raise DataError(Problem(pattern, f"'{match[0]}' is not a range. Expected one like {{0000..0099}}"))
        options = [f"{number:0{len(numbers[1])}}" for number in range(first, last + 1)]
    ends = expand(pattern[match.end() :])
    return [pattern[: match.start()] + option + end for option in options for end in ends]


def list_shards(path: str, *, searched: bool) -> list[str] | None:
    """The tar files at a path, sorted; None if it is something else."""
    place = path.partition("?")[0]
    if _COMPRESSED.search(place) and _is_there(path):
        raise DataError(Problem(path, f"is compressed. {UNPACK}"))
    if place.lower().endswith(".tar"):
        shards = expand(place)
        mark = path[len(place) :]
        return [shard + mark for shard in shards] if shards != [place] or _is_there(path) else None
    names = _names_in_folder(path, searched=searched)
    return None if not names else [join(path, name) for name in sorted(names)]


def _names_in_folder(path: str, *, searched: bool) -> list[str]:
    """The names of the tar files in a folder that has no others."""
    if is_uri(path):
        from rayrml.storage import remote

        base, found = remote.listed(path, recursive=False) if searched else ("", [])
        entries = iter([(info.path[len(base) + 1 :], remote.is_file(info)) for info in found])
        return _tars_among(entries, path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
        return _tars_among(((entry.name, entry.is_file()) for entry in entries), path)
    return []


def _tars_among(entries: Iterator[tuple[str, bool]], path: str) -> list[str]:
    """The tar files; none if there are others, which is known from the first one."""
    tars: list[str] = []
    compressed: list[str] = []
    for name, is_file in entries:
        if name.startswith("."):
            continue
        ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a name)
        if is_file and ending == ".tar":
            tars.append(name)
        elif is_file and _COMPRESSED.search(name):
            compressed.append(name)
        elif not (is_file and ending in _BESIDE):
            return []
    if compressed:
        raise DataError(Problem(join(path, min(compressed)), f"is compressed. {UNPACK}"))
    return tars


def version_of(shard: str) -> object:
    """What changes when a file does, None if it is missing."""
    if is_uri(shard):
        from rayrml.storage import remote

        found = remote.information(shard)
        return (found.size, found.mtime_ns) if remote.is_file(found) else None
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = os.stat(shard)  # noqa: PTH116 (a string)
        return status.st_size, status.st_mtime_ns
    return None


def _is_there(path: str) -> bool:
    return version_of(path) is not None and (is_uri(path) or os.path.isfile(path))  # noqa: PTH113 (a string)
