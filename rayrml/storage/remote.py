"""Object stores through pyarrow's file systems, with retries when they are busy, and readable errors."""

from __future__ import annotations

import errno
import functools
import itertools
import logging
import os
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow
from pyarrow import fs

from rayrml.errors import ConfigError, Problem
from rayrml.storage.paths import join

T = TypeVar("T")

_ATTEMPTS = 7
_FIRST_DELAY = 0.25  # seconds; the last delay is 8, and the total is at most 16
_CONNECT_SECONDS, _ANSWER_SECONDS = 10, 60
_PIECE_BYTES = 2**23
_LISTINGS, _MOST_LEVELS = 16, 3  # folders listed at the same time, levels listed one by one to find as many
_TRANSIENT = re.compile(
    r"NETWORK_CONNECTION|SLOW_?DOWN|SERVICE_UNAVAILABLE|UNAVAILABLE|INTERNAL_FAILURE|THROTTL|REQUEST_TIMEOUT"
    r"|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|time[d ]*out|connection reset|HTTP status (408|429|5\d\d)",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE_DOES_NOT_MATCH|EXPIRED_?TOKEN|UNRECOGNIZED_CLIENT"
    r"|PERMISSION_DENIED|UNAUTHENTICATED|HTTP status (401|403)",
    re.IGNORECASE,
)
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|bucket does not exist", re.IGNORECASE)
_log = logging.getLogger("rayrml.storage")
_MOST_OPEN = 64
_open: OrderedDict[str, pyarrow.NativeFile] = OrderedDict()  # files of which several parts are read
_told: set[str] = set()
_telling = threading.Lock()


def ask(uri: str, question: Callable[[fs.FileSystem, str], T]) -> T:
    """The result of `question(file system, path)` for a URI, retried while the store is busy or unreachable.

    Raises:
        ConfigError: pyarrow cannot use the URI.
        FileNotFoundError, PermissionError, OSError: the store's error; `strerror` is one line.
    """
    attempt = 1
    while True:
        try:
            return question(*_located(uri))
        except pyarrow.ArrowInvalid as error:
            raise ConfigError(Problem(uri, f"is not a usable URI. {_line(error)}")) from None
        except pyarrow.ArrowNotImplementedError as error:
            raise ConfigError(Problem(uri, f"is not supported by the installed pyarrow. {_line(error)}")) from None
        except OSError as error:
            if attempt == _ATTEMPTS or not _TRANSIENT.search(str(error)):
                raise _explained(error, uri, attempt) from None
            _tell(uri, error)
        time.sleep(_FIRST_DELAY * 2 ** (attempt - 1) * random.uniform(0.5, 1))
        attempt += 1


def kind(uri: str) -> str | None:
    """The kind of `uri`, "file" or "folder", None if there is neither."""
    return {fs.FileType.File: "file", fs.FileType.Directory: "folder"}.get(information(uri).type)


def information(uri: str) -> fs.FileInfo:
    """The kind, size and modification time of a file."""
    return ask(uri, lambda system, path: system.get_file_info(path))


def is_file(info: fs.FileInfo) -> bool:
    """Whether a listing's entry is a file."""
    return info.type == fs.FileType.File


def listed(uri: str, *, recursive: bool) -> tuple[str, list[fs.FileInfo]]:
    """The path of a folder in its store, and the entries below it; none if there is no such folder."""

    def question(system: fs.FileSystem, path: str) -> tuple[str, list[fs.FileInfo]]:
        try:
            return path, system.get_file_info(fs.FileSelector(path, recursive=recursive))
        except FileNotFoundError:  # pyarrow raises something else for a missing bucket
            return path, []

    return ask(uri, question)


def walked(uri: str) -> tuple[str, list[fs.FileInfo]]:
    """The path of a folder in its store, and all entries below it; none if there is no such folder.

    A store lists a thousand names at a request, one request after the other. So folders are listed at the same time,
    and each by itself is tried again while the store is busy.
    """
    base, found = listed(uri, recursive=False)
    entries, depth = list(found), 1

    def below(info: fs.FileInfo, *, recursive: bool) -> list[fs.FileInfo]:
        return listed(join(uri, info.path[len(base) + 1 :]), recursive=recursive)[1]

    with ThreadPoolExecutor(_LISTINGS) as threads:
        while folders := [info for info in found if not is_file(info)]:
            recursive = len(folders) >= _LISTINGS or depth == _MOST_LEVELS
            found = list(itertools.chain(*threads.map(functools.partial(below, recursive=recursive), folders)))
            entries += found
            if recursive:
                break
            depth += 1
    return base, entries


def read(uri: str) -> bytes:
    """The content of a file."""

    def question(system: fs.FileSystem, path: str) -> bytes:
        with system.open_input_file(path) as file:
            return file.read()

    return ask(uri, question)


def read_start(uri: str, count: int) -> bytes:
    """The first `count` bytes of a file."""

    def question(system: fs.FileSystem, path: str) -> bytes:
        with system.open_input_file(path) as file:
            return file.read(count)

    return ask(uri, question)


def read_range(uri: str, begin: int, count: int) -> bytes:
    """So many bytes of a file; fewer where it ends. It is kept open: opening takes a request."""

    def question(system: fs.FileSystem, path: str) -> bytes:
        file = _open.pop(uri, None) or system.open_input_file(path)
        found = file.read_at(max(min(count, file.size() - begin), 0), begin)
        _open[uri] = file  # only if nothing failed
        while len(_open) > _MOST_OPEN:
            _open.popitem(last=False)
        return found

    return ask(uri, question)


def close(uri: str) -> None:
    """Forget a file that `read_range` keeps open."""
    _open.pop(uri, None)


def download(uri: str, descriptor: int) -> None:
    """Write the content of a file to an open local file."""

    def question(system: fs.FileSystem, path: str) -> None:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with system.open_input_stream(path) as file:
            while piece := memoryview(file.read(_PIECE_BYTES)):
                while piece:
                    piece = piece[os.write(descriptor, piece) :]

    ask(uri, question)


def upload(source: str, uri: str) -> None:
    """Upload a local file and replace the one at `uri`; it appears only when it is complete."""

    def question(system: fs.FileSystem, path: str) -> None:
        if system.type_name == "hdfs":  # which has real folders
            system.create_dir(path.rpartition("/")[0])
        with open(source, "rb") as file, system.open_output_stream(path) as stream:  # noqa: PTH123 (a string)
            while piece := file.read(_PIECE_BYTES):
                stream.write(piece)

    ask(uri, question)


def remove(uri: str) -> None:
    """Remove a file."""
    ask(uri, lambda system, path: system.delete_file(path))


def move(source: str, target: str) -> None:
    """Rename a file in its store."""
    _, path = _located(target)
    ask(source, lambda system, old: system.move(old, path))


def _located(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI, and the path in it."""
    parts = urlsplit(uri)
    system, root = _system(f"{parts.scheme}://{parts.netloc}", parts.query)
    return system, (root + unquote(parts.path, errors="surrogateescape")).rstrip("/")


@functools.lru_cache(maxsize=64)
def _system(bucket: str, options: str) -> tuple[fs.FileSystem, str]:
    """The file system of a bucket, and the prefix of paths in the bucket."""
    system, root = fs.FileSystem.from_uri(f"{bucket}?{options}" if options else bucket)
    if isinstance(system, fs.S3FileSystem):
        _, (settings, *_) = system.__reduce__()
        settings |= {"connect_timeout": _CONNECT_SECONDS, "request_timeout": _ANSWER_SECONDS}
        settings |= {"allow_delayed_open": True}  # a small file takes one request
        # Retries are done in `ask`, where they are counted and reported.
        system = fs.S3FileSystem(**settings, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1))
    return system, root.rstrip("/")


def _explained(error: OSError, uri: str, attempts: int) -> OSError:
    """The error with a number and reason like the system's own errors."""
    text = str(error)
    if _NO_BUCKET.search(text):
        return FileNotFoundError(errno.ENOENT, f"No such bucket: '{urlsplit(uri).netloc}'", uri)
    if _DENIED.search(text):
        return PermissionError(errno.EACCES, f"Access denied ({_line(error)}). Expected credentials that allow it", uri)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    if error.strerror and "Detail:" not in error.strerror:  # an error of a local file
        return error
    after = f" (after {attempts} attempts)" if attempts > 1 else ""
    return OSError(errno.EIO, f"{_line(error)}{after}", uri)


def _line(error: BaseException) -> str:
    """The message from pyarrow on one line, without the identifiers that only the store's owner can use."""
    text = " ".join(str(error).split())
    return re.sub(r" \(Request ID: [^)]*\)|; Details: .*| Detail: .*", "", text).rstrip(". ")


def _tell(uri: str, error: OSError) -> None:
    """Log, once per process and bucket, that something had to be retried."""
    bucket = f"{urlsplit(uri).scheme}://{urlsplit(uri).netloc}"
    with _telling:
        if bucket in _told:
            return
        _told.add(bucket)
    _log.warning("rayrml: %s is busy or unreachable, retrying: %s", bucket, _line(error))
