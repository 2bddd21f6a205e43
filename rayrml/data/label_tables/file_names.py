"""The files by the names that a table may use for them."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from rayrml import storage
from rayrml.data.label_tables.table import pc

# With what belongs to the ending: `scan.nii.gz` is `scan`, not `scan.nii`.
_ENDING = r"(?:\.nii|\.ome)?\.[^./]+$"
_BACKSLASH = "\\"
# Paths that are absolute or leave their folder.
OUTSIDE = r"^(/|\.\./|[A-Za-z]:/|[a-z0-9]+://)"
NOWHERE, SEVERAL = -1, -2  # in place of a file's index


class FileNames:
    """The names of files, and their indices by what a table calls them.

    Args:
        names: names relative to the folder of the inputs, as `clean` leaves them.
        indices: int64, the index of each file; None for 0, 1, ...
    """

    def __init__(self, names: pa.Array, indices: np.ndarray | None = None):
        self._names = names
        self._indices = indices

    @classmethod
    def of(cls, names: Sequence[str]) -> FileNames:
        """All files."""
        return cls(clean(_as_array(names)))

    def near(self, values: pa.Array) -> FileNames:
        """Only the files whose names, without folder, ending and case, occur in `values`: few, if `values` are few."""
        bases = pc.utf8_lower(_without_folder(values))
        wanted = pa.concat_arrays([bases, _without_ending(bases)])
        kept = pc.is_in(pc.utf8_lower(_without_ending(_without_folder(self._names))), value_set=wanted)
        return FileNames(self._names.filter(kept), np.flatnonzero(kept.to_numpy(zero_copy_only=False)))

    def have_folders(self) -> bool:
        """Whether some files are in folders below that of the inputs."""
        return _any(pc.match_substring(self._names, "/"))

    def folded(self) -> FileNames:
        """The files by their names in lower case."""
        return FileNames(pc.utf8_lower(self._names), self._indices)

    def find(self, values: pa.Array) -> np.ndarray:
        """(len(values),) int64: each value's file, by its whole name, else without its ending; else `NOWHERE`.

        It is `SEVERAL` for a value that lacks the ending, if files differ in the ending alone.
        """
        found = pc.index_in(values, value_set=self._names, skip_nulls=True).fill_null(-1)
        files = found.to_numpy(zero_copy_only=False).astype(np.int64)
        return self._without_endings(values, self._numbered(files), self._names)

    def find_base(self, values: pa.Array) -> np.ndarray:
        """The file of each value that has no folder, as `find` does, by its name in whatever folder."""
        bases = _without_folder(self._names)
        return self._without_endings(values, self._find_shared(values, bases), bases)

    def _without_endings(self, values: pa.Array, files: np.ndarray, names: pa.Array) -> np.ndarray:
        missing = np.flatnonzero(files == NOWHERE)
        if len(missing):
            rest = values if len(missing) == len(values) else values.take(pa.array(missing))
            files[missing] = self._find_shared(rest, _without_ending(names))
        return files

    def _find_shared(self, values: pa.Array, names: pa.Array) -> np.ndarray:
        """The file of each value by names that several files may share."""
        encoded = pc.dictionary_encode(names)
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        files = np.empty(len(encoded.dictionary) + 1, np.int64)
        files[codes] = self._numbered(np.arange(len(codes)))
        files[:-1][np.bincount(codes, minlength=len(files) - 1) > 1] = SEVERAL
        files[-1] = NOWHERE
        found = pc.index_in(values, value_set=encoded.dictionary, skip_nulls=True).fill_null(-1)
        return files[found.to_numpy(zero_copy_only=False)]

    def _numbered(self, positions: np.ndarray) -> np.ndarray:
        """The files at these positions, `NOWHERE` stays."""
        return positions if self._indices is None else np.append(self._indices, NOWHERE)[positions]


@dataclasses.dataclass(frozen=True)
class Way:
    """One way in which all values of a column may name files.

    Attributes:
        cut: what values begin with before the path in the folder of the inputs.
        added: what values lack at their beginning.
        is_base: whether values are names without folders.
    """

    cut: str = ""
    added: str = ""
    is_base: bool = False

    def find(self, names: FileNames, values: pa.Array) -> np.ndarray:
        """The file of each value, int64; `NOWHERE` or `SEVERAL`."""
        if self.is_base:
            return names.find_base(values)
        if self.cut:
            fits = pc.starts_with(values, self.cut)
            values = pc.if_else(fits, pc.utf8_slice_codeunits(values, len(self.cut)), pa.scalar(None, values.type))
        if self.added:
            values = pc.binary_join_element_wise(self.added, values, "")
        return names.find(values)


def find_ways(input_path: str, table_path: str, *, with_folders: bool) -> list[Way]:
    """The ways in which a table may name files, the plainest first.

    Relative to the folder of the inputs, to the table's own folder or to the parent of the inputs' folder; absolute; or
    without their folders if there are any.
    """
    folder, own = _place(input_path), _place(storage.split(table_path)[0])
    ways = [Way()]
    if ("://" in folder) == ("://" in own):
        relative, inverse = posixpath.relpath(folder, own), posixpath.relpath(own, folder)
        if not inverse.startswith(".."):
            ways += [Way(added=f"{inverse}/")] if inverse != "." else []
        else:
            ways.append(Way(cut=f"{relative}/"))
    ways += [Way(cut=f"{posixpath.basename(folder)}/"), Way(cut=f"{folder.rstrip('/')}/")]
    return [*dict.fromkeys(ways), *([Way(is_base=True)] if with_folders else [])]


def clean(values: pa.Array) -> pa.Array:
    """Paths with `/` alone, composed characters, and without spaces around them or `./` before them."""
    values = pc.utf8_trim_whitespace(values)
    if _any(pc.match_substring(values, _BACKSLASH)):
        values = pc.replace_substring(values, _BACKSLASH, "/")
    if _any(pc.starts_with(values, "./")):
        values = pc.replace_substring_regex(values, r"^(\./+)+", "")
    if not pc.all(pc.string_is_ascii(values)).as_py():
        values = pc.utf8_normalize(values, "NFC")  # macOS stores decomposed names
    return values


def _place(path: str) -> str:
    """A folder's path without percent-encoding and without a slash at its end."""
    if not storage.is_uri(path):
        path = os.path.abspath(path).replace(os.sep, "/")  # noqa: PTH100 (keeps symbolic links)
    return storage.decoded(path).rstrip("/") or "/"


def _without_folder(names: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(names, r"^.*/", "")


def _without_ending(names: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(names, _ENDING, "")


def _as_array(names: Iterable[str]) -> pa.Array:
    names = names if isinstance(names, (list, np.ndarray)) else list(names)
    try:
        return pa.array(names, pa.string())
    except UnicodeEncodeError:  # names that are not UTF-8; a table cannot name them
        return pa.array([name.encode(errors="replace").decode() for name in names], pa.string())


def _any(flags: pa.Array) -> bool:
    return bool(pc.any(flags).as_py())
