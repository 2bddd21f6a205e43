"""The files and arrays of a request: from its type and its bytes to uploads. Neither Ray nor torch is needed."""

from __future__ import annotations

import dataclasses
import io
import json
import posixpath
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from typing import Any, NoReturn

import numpy as np

from rayrml.errors import printable
from rayrml.serving.limits import Limits, Refusal, bad_request, too_large

ARRAY_MAGIC = b"\x93NUMPY"
_OF_FILES = ("application/octet-stream", "application/x-npy", "application/x-numpy")
_EXPECTED = (
    "Expected multipart/form-data with files, application/json with arrays, or the bytes of one file as "
    "application/octet-stream or image/..."
)
_FORM = "application/x-www-form-urlencoded"
_CURL = ". curl sends it with -F file=@NAME, or with -H 'Content-Type: application/octet-stream' --data-binary @NAME"
_LONGEST_NAME = 255


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file of a request, or an array in the form of one.

    Attributes:
        name: by which answers refer to it.
        content: its bytes.
    """

    name: str
    content: bytes

    @property
    def is_array(self) -> bool:
        """Whether it is an array in numpy's format."""
        return self.content.startswith(ARRAY_MAGIC)


def read_uploads(content_type: str, body: bytes, limits: Limits) -> list[Upload]:
    """The files and arrays of a request, in its order; there is at least one.

    Args:
        content_type: the header of that name, "" without one.
        body: of the request.
        limits: what is accepted.

    Raises:
        Refusal: the request is not as it should be.
    """
    message = Message()
    message["Content-Type"] = content_type
    kind = message.get_content_type() if content_type else _OF_FILES[0]
    if kind == "multipart/form-data":
        found = _read_parts(message.get_param("boundary"), body, limits)
    elif kind == "application/json":
        found = _read_json(body, limits)
    elif kind in _OF_FILES or kind.startswith("image/"):
        found = [Upload("file", body)]
    else:
        hint = _CURL if kind == _FORM else ""
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the content type is {printable(kind)}. {_EXPECTED}{hint}")
    for upload in found:
        if not upload.content:
            raise bad_request(f"{upload.name}: the file is empty")
    return found


def _read_parts(boundary: Any, body: bytes, limits: Limits) -> list[Upload]:
    """The files of a form; fields without a file name are files, too."""
    from python_multipart.exceptions import MultipartParseError  # pyright: ignore[reportMissingImports]
    from python_multipart.multipart import MultipartParser  # pyright: ignore[reportMissingImports]

    if not isinstance(boundary, str) or not boundary:
        raise bad_request("the form's content type lacks its boundary")
    parts = _Parts(limits.max_files)
    try:
        parser = MultipartParser(boundary.encode("latin-1", "replace"), parts.callbacks())
        parser.write(body)
        parser.finalize()
    except (MultipartParseError, ValueError) as error:
        raise bad_request(f"the form cannot be read. {printable(str(error))}") from None
    if not parts.complete:
        raise bad_request("the form cannot be read. It ends before its last boundary")
    if not parts.found:
        raise bad_request("the form has no files")
    return parts.found


class _Parts:
    """The parts of a form, as a parser finds them."""

    def __init__(self, most: int):
        self.most = most
        self.found: list[Upload] = []
        self.complete = False
        self._headers: dict[str, str] = {}
        self._name, self._value, self._data = b"", b"", io.BytesIO()

    def callbacks(self) -> Any:
        """What the parser calls, by its names for it."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_to_name,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.write(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.found) == self.most:
            raise too_large(f"the request has more than {self.most} files")
        self._headers, self._data = {}, io.BytesIO()

    def _add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._name, self._value = b"", b""

    def _end_part(self) -> None:
        message = Message()
        message["Content-Disposition"] = self._headers.get("content-disposition", "").replace("\n", " ")
        names = (message.get_filename(), message.get_param("name", header="Content-Disposition"))
        given = next((str(name) for name in names if name), f"file {len(self.found) + 1}")
        self.found.append(Upload(_short_name(given), self._data.getvalue()))

    def _end(self) -> None:
        self.complete = True


def _short_name(name: str) -> str:
    """The last part of a path, as one printable line."""
    return printable(posixpath.basename(name.replace("\\", "/")) or "file")[-_LONGEST_NAME:]


def _read_json(body: bytes, limits: Limits) -> list[Upload]:
    """The arrays of `{"array": ...}`, `{"arrays": [...]}` or `{"arrays": {name: ...}}`."""
    document = _parse(body)
    keys = set(document) if isinstance(document, Mapping) else set()
    if keys not in ({"array"}, {"arrays"}):
        raise bad_request('expected {"array": [...]}, {"arrays": [[...], ...]} or {"arrays": {"name": [...], ...}}')
    arrays = document.get("arrays", [document.get("array")])
    if not isinstance(arrays, list | dict) or not arrays:
        raise bad_request("arrays: expected a list of arrays, or an object of them, and at least one")
    if len(arrays) > limits.max_files:
        raise too_large(f"the request has more than {limits.max_files} arrays")
    names = [f"array {i}" for i in range(1, len(arrays) + 1)] if isinstance(arrays, list) else list(arrays)
    values = arrays if isinstance(arrays, list) else arrays.values()
    return [Upload(_short_name(name), _to_npy(name, value)) for name, value in zip(names, values, strict=True)]


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise bad_request("the JSON cannot be read. Its lists are nested too deeply") from None
    except ValueError as error:  # also of bytes that are no text
        raise bad_request(f"the JSON cannot be read. {printable(str(error))}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _to_npy(name: str, value: Any) -> bytes:
    """The bytes of a file with this array of numbers."""
    where = printable(name)
    if not isinstance(value, list):
        raise bad_request(f"{where}: expected an array, a list of numbers or of lists")
    try:
        array = np.array(value)
    except (ValueError, OverflowError, RecursionError):
        raise bad_request(f"{where}: its lists have different lengths, or a number is too large") from None
    if array.dtype.kind not in "biuf":
        raise bad_request(f"{where}: expected numbers alone, of at most 64 bits")
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()
