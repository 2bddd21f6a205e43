"""The files below a folder, as far as they may be samples: not hidden ones, nor what systems add."""

from __future__ import annotations

import os
from collections import Counter

from rayrml import storage

_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})  # folders with copies and previews of other files
METADATA = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})


def scan(root: str, extensions: frozenset[str], names: list[str], ignored: Counter[str]) -> list[str]:
    """Append the relative names of the files below `root` and return the folders. No recursion: trees can be deep."""
    usual = tuple({ending for e in extensions for ending in (e, e.upper())})
    folders: list[str] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        folders.append(prefix[:-1])
        files: list[str] = []
        with os.scandir(os.path.join(root, prefix)) as entries:  # noqa: PTH118 (a million joins)
            for entry in entries:
                name = entry.name
                if name[0] == "." or name in _OF_SYSTEMS:
                    continue
                # Most entries are files, for which this one check is enough.
                if not entry.is_file(follow_symlinks=False):
                    if _is_folder(entry):
                        if not (entry.is_symlink() and _leads_back(root, prefix + name)):
                            pending.append(f"{prefix}{name}/")
                        continue
                    if not entry.is_symlink():
                        ignored["pipe or device"] += 1
                        continue
                if name.endswith(usual) or belongs(name, extensions, ignored):
                    files.append(prefix + name)
        files.sort()  # sorting sorted runs together is fast
        names += files
    return folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, which is reported when it is read


def scan_store(root: str, extensions: frozenset[str], names: list[str], ignored: Counter[str]) -> list[str]:
    """Do the same as `scan` in an object store, which lists everything below a folder at once."""
    files, folders = storage.walk(root)
    names += [path for path in files if not is_below_passed(path) and belongs(path, extensions, ignored)]
    return ["", *(folder for folder in folders if not is_below_passed(folder))]


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name holds no samples: hidden ones, and those that systems add."""
    return name.startswith(".") or name in _OF_SYSTEMS


def is_below_passed(path: str) -> bool:
    """Whether a file holds no samples because of its name, or that of a folder above it."""
    return any(map(is_passed_over, path.split("/")))


def belongs(name: str, extensions: frozenset[str], ignored: Counter[str]) -> bool:
    """Whether a file has one of the extensions, in any case; a file that does not is counted."""
    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a million splits)
    if extension not in extensions and name.rpartition("/")[2].lower() not in METADATA:
        ignored[extension or "no extension"] += 1
    return extension in extensions


def _leads_back(root: str, below: str) -> bool:
    """Whether the link `root`/`below` points to a folder on its own path."""
    parts = below.split("/")
    through = {os.path.realpath("/".join([root, *parts[:i]])) for i in range(len(parts))}
    return os.path.realpath(f"{root}/{below}") in through
