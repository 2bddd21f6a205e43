"""Paths as strings: local ones, and URIs with options after a `?`."""

from __future__ import annotations

import os
import posixpath
import re
from urllib.parse import parse_qsl, quote, unquote, urlsplit

_SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
_SECRET = re.compile("secret|password|token|access_key|account_key", re.IGNORECASE)


def is_uri(path: str | os.PathLike[str]) -> bool:
    """Whether a path is in an object store."""
    return "://" in os.fspath(path)


def absolute(path: str) -> str:
    """`path` in a form for workers, which do not share the driver's current directory; URIs stay unchanged.

    Raises:
        ValueError: the kind of URI is unknown, or the URI contains a secret.
    """
    scheme = urlsplit(path).scheme
    if scheme == "file":
        return unquote(urlsplit(path).path)
    if len(scheme) > 1:  # one letter is a drive of Windows
        return _checked(path, scheme)
    # normpath would also drop the slash at the end; '' is not a path.
    if not path:
        raise ValueError("expected a path, got an empty string")
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 (keeps symbolic links)


def join(folder: str | os.PathLike[str], *below: str) -> str:
    """The path below a folder with these names, which may contain slashes themselves."""
    folder = os.fspath(folder)
    if not is_uri(folder):
        return os.path.join(folder, *below)  # noqa: PTH118 (a million joins)
    place, mark, options = folder.partition("?")
    return "/".join([place.rstrip("/"), *(quote(os.fsencode(name)) for name in below)]) + mark + options


def split(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The folder that contains a path, and the name in it."""
    path = os.fspath(path)
    if not is_uri(path):
        return os.path.split(path)
    place, mark, options = path.partition("?")
    folder, _, name = place.rstrip("/").rpartition("/")
    if folder.endswith("/"):  # s3://bucket itself
        return path, ""
    return folder + mark + options, _unquoted(name)


def parent(path: str | os.PathLike[str]) -> str:
    """The folder that contains a path."""
    return split(path)[0]


def suffix(path: str | os.PathLike[str]) -> str:
    """The extension of a path's name, in lower case: `.h5`."""
    return posixpath.splitext(split(path)[1])[1].lower()


def marked(path: str, mark: str) -> str:
    """`out.txt` with the mark `_train` -> `out_train.txt`."""
    folder, name = split(path)
    stem, ending = posixpath.splitext(name)
    return join(folder, f"{stem}{mark}{ending}")


def decoded(path: str | os.PathLike[str]) -> str:
    """The path without a URI's options and percent-encoding, with the folders' real names."""
    path = os.fspath(path)
    return _unquoted(path.partition("?")[0]) if is_uri(path) else path


def _checked(uri: str, scheme: str) -> str:
    """`uri`, unless it cannot be used or must not be shown. Messages do not repeat anything that may be a secret."""
    parts = urlsplit(uri)
    if scheme not in _SCHEMES:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ValueError(f"{scheme}:// is not supported. Expected a local path, or a URI with one of {known}")
    if not parts.netloc and scheme not in ("hdfs", "viewfs"):
        raise ValueError(f"names no bucket. Expected {scheme}://bucket/folder")
    if parts.fragment or uri.endswith("#"):
        raise ValueError("a '#' in a URI must be written as %23")
    if parts.password or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError(
            "a path must not contain a secret, because paths are shown. "
            "Expected credentials in the environment of all machines, in their configuration files, or in their roles"
        )
    return uri


def _unquoted(text: str) -> str:
    return unquote(text, errors="surrogateescape")
