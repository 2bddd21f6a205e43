"""What a file is that turns out not to be a checkpoint, in the words of its user."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from pathlib import Path

_EXPECTED = "Expected a checkpoint of rayrml, or what torch.save(network.state_dict(), FILE) writes"
_OBJECT = re.compile(r"GLOBAL ([\w.]+)")
_HEAD_BYTES = 512
_BEGINNINGS = {
    b"\x89HDF\r\n\x1a\n": "It is an HDF5 file. The name of a file of Keras weights must end with .h5",
    b"\x93NUMPY": "It is an array of numpy",
    b"\x89PNG": "It is an image",
    b"\xff\xd8\xff": "It is an image",
    b"\x80": "It is a pickle of Python",
    b"version https://git-lfs": "It is a pointer of Git LFS, not the file itself. Fetch that with `git lfs pull`",
}
_WEB_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")
_DARKNET = (b"\0\0\0\0\1\0\0\0", b"\0\0\0\0\2\0\0\0")  # its versions 0.1 and 0.2
_DAMAGED = "It is damaged"
_UNKNOWN = "It begins like no known file"
_ZIP = b"PK\x03\x04"


def describe_foreign(file: Path | io.BytesIO, error: BaseException) -> str:
    """What a file is that torch could not load, and what is expected instead."""
    with contextlib.suppress(OSError):
        found = _describe_object(str(error)) or _describe_content(_read_head(file), file)
        return found if "Expected" in found else f"{found}. {_EXPECTED}"
    return f"It cannot be recognized. {_EXPECTED}"


def describe_other(file: Path) -> str:
    """What a file is that has the name of darknet's weights; "" if it may be one. Raises OSError."""
    head = _read_head(file)
    if head.startswith(_ZIP) and _describe_archive(file) == _DAMAGED:
        return "It is a file of PyTorch, whose name must end with .pt"
    found = "" if head.startswith(_DARKNET) else _describe_content(head, file)
    return "" if found == _UNKNOWN else found


def describe_value(value: object) -> str:
    """What a file holds that torch has loaded, if that is nothing with names."""
    return f"It holds a {type(value).__name__}. {_EXPECTED}"


def _describe_object(message: str) -> str:
    if "TorchScript" in message:
        return "It is a TorchScript archive. Expected tensors by layer name"
    named = _OBJECT.search(message)
    return f"It holds '{named[1]}', a Python object that could run code" if named else ""


def _read_head(file: Path | io.BytesIO) -> bytes:
    if isinstance(file, io.BytesIO):
        return file.getvalue()[:_HEAD_BYTES]
    with file.open("rb") as opened:
        return opened.read(_HEAD_BYTES)


def _describe_content(head: bytes, file: Path | io.BytesIO) -> str:
    if not head:
        return "It is empty"
    if head.startswith(_ZIP):
        return _describe_archive(file)
    for beginning, meaning in _BEGINNINGS.items():
        if head.startswith(beginning):
            return meaning
    if head.lstrip().lower().startswith(_WEB_PAGES):
        return "It is a web page: the download has failed"
    if head.startswith(_DARKNET):
        return "It may be a file of darknet's weights, which checkpoints.load takes if its name ends with .weights"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "It is a safetensors file. Expected torch.save(safetensors.torch.load_file(FILE), NEW_FILE)"
    return "It is text" if head.isascii() and head.decode().replace("\n", " ").isprintable() else _UNKNOWN


def _describe_archive(file: Path | io.BytesIO) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "It is incomplete: its end is missing"
    if "model.weights.h5" in names:
        return "It is a model of Keras, whose name must end with .keras"
    if names and all(name.endswith(".npy") for name in names):
        return "It is an archive of numpy arrays"
    return _DAMAGED if any(name.endswith("data.pkl") for name in names) else "It is a zip archive"
