"""Files in object stores or shards that are read in pieces: one copy on this machine, shared by all of its processes.

Each process that uses a copy locks it. The system releases the locks of a dead process, so the next process can tell
which copies are unused, and removes them.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pyarrow import fs

from rayrml.storage import remote
from rayrml.storage.members import find_member, read_member
from rayrml.storage.paths import is_uri, suffix

_MOST_HELD = 64
_PRIVATE = ".pieces"
_COPY = re.compile(r"[0-9a-f]{32}(\..*)?")  # the names of copies; other files are not ours to remove
_held: OrderedDict[str, int] = OrderedDict()  # descriptors of the copies in use, by their paths
_using = threading.RLock()


class Version(NamedTuple):
    """What tells a file from another one that replaces it.

    Attributes:
        size: in bytes.
        changed: when it, or the shard that it is in, was written, in ns; None if the store does not say.
    """

    size: int
    changed: int | None


def find_version(uri: str) -> Version:
    """The version of a file. Raises OSError if there is none."""
    member = find_member(uri)
    place = uri if member is None else member.shard
    if not is_uri(place):
        changed = os.stat(place).st_mtime_ns  # noqa: PTH116 (a string)
        return Version(0 if member is None else member.size, changed)
    information = remote.information(place)
    if information.type != fs.FileType.File:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    return Version(information.size if member is None else member.size, information.mtime_ns)


def fetched(uri: str) -> str:
    """The path of a copy, which is kept at least until this process has requested many others."""
    version = find_version(uri)
    name = _name(f"{uri}\0{version.size}\0{version.changed}") + suffix(uri)
    with _using:
        path = str(_folder() / name)
        if path in _held:
            _held.move_to_end(path)
        else:
            _held[path] = _copied(uri, path, version.size)
            while len(_held) > _MOST_HELD:
                _release(*_held.popitem(last=False))
    return path


def open_range(uri: str) -> Callable[[int, int], bytes]:
    """A function from the first byte and the number of bytes to these bytes of a file; fewer at its end."""
    return functools.partial(remote.read_range, uri)


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A folder for this process alone. Those of dead processes are removed."""
    with _using:
        home = _folder()
        for path in home.glob(f"*{_PRIVATE}"):
            _remove_unlocked(path)
        folder = tempfile.mkdtemp(_PRIVATE, "", home)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_unlocked(folder: Path) -> None:
    """Remove a folder of `private_folder` whose process is dead."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _fetch(uri: str, descriptor: int) -> None:
    """Write the content of a file to an open one."""
    member = find_member(uri)
    if member is None:
        remote.download(uri, descriptor)
        return
    os.ftruncate(descriptor, 0)
    rest, at = memoryview(read_member(uri, member)), 0
    while rest:
        count = os.pwrite(descriptor, rest, at)
        rest, at = rest[count:], at + count


def _name(version: str) -> str:
    return hashlib.sha256(version.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _copied(uri: str, path: str, size: int) -> int:
    """A locked descriptor of the copy, which another process may have made."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_size != size:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.fstat(descriptor).st_size != size:  # no other process fetched it in the meantime
                    _fetch(uri, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        except BaseException as error:
            _release(path, descriptor)  # its size is wrong, so no other process may use it
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                reason = f"{error.strerror}: '{tempfile.gettempdir()}' has no room for {size} bytes"
                raise OSError(error.errno, reason, uri) from None
            raise
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # another process removed it between opening and locking


def _folder() -> Path:
    """This user's folder of copies; the first call removes the unused ones."""
    folder = Path(tempfile.gettempdir()) / f"rayrml-files-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()  # a link that somebody has put there would lead to files that are not copies
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        reason = "is a link or a file" if status.st_uid == os.getuid() else "belongs to another user"
        raise PermissionError(errno.EACCES, f"'{folder}' {reason}. Expected a folder for copies", str(folder))
    if not _held:
        for path in folder.iterdir():
            if _COPY.fullmatch(path.name) and not path.is_symlink():
                with contextlib.suppress(FileNotFoundError):
                    _release(str(path), os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
    return folder


def _release(path: str, descriptor: int) -> None:
    """Release a copy, and remove it if no other process uses it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(path).unlink(missing_ok=True)
    except BlockingIOError:
        pass  # another process does
    finally:
        os.close(descriptor)


@atexit.register
def _release_all() -> None:
    while _held:
        _release(*_held.popitem())
