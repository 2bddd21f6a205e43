"""Requests as clients send them: real bytes."""

import io
import json
import random

import numpy as np
import pytest

from rayrml.serving.limits import Limits, Refusal
from rayrml.serving.uploads import read_uploads

LIMITS = Limits(max_files=3)
JSON = "application/json"


def form(*parts: tuple[str, bytes], boundary: str = "xyz") -> tuple[str, bytes]:
    """The content type and the body of a form with files of these names."""
    body = b""
    for name, content in parts:
        headers = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/png'
        body += f"--{boundary}\r\n{headers}\r\n\r\n".encode() + content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


def refused(content_type: str, body: bytes) -> Refusal:
    with pytest.raises(Refusal) as raised:
        read_uploads(content_type, body, LIMITS)
    return raised.value


def test_files_of_a_form_come_in_their_order_with_their_names():
    found = read_uploads(*form(("a.png", b"1\r\n--2"), ("ü.png", b"\x00\xff")), LIMITS)
    assert [(upload.name, upload.content) for upload in found] == [("a.png", b"1\r\n--2"), ("ü.png", b"\x00\xff")]


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\data\\passwd", "/etc/passwd"])
def test_a_name_has_no_folders(name):
    assert read_uploads(*form((name.replace("\\", "\\\\"), b"1")), LIMITS)[0].name == "passwd"


def test_a_field_without_a_file_name_is_a_file():
    body = b'--b\r\nContent-Disposition: form-data; name="one"\r\n\r\nabc\r\n--b--\r\n'
    assert read_uploads("multipart/form-data; boundary=b", body, LIMITS)[0].name == "one"


@pytest.mark.parametrize("kind", ["", "image/jpeg", "application/octet-stream", "application/x-npy"])
def test_the_bytes_of_one_file_are_a_request(kind):
    assert [upload.content for upload in read_uploads(kind, b"abc", LIMITS)] == [b"abc"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"array": [[1, 2], [3, 4]]}, {"array 1": [[1, 2], [3, 4]]}),
        ({"arrays": [[1.5], [2]]}, {"array 1": [1.5], "array 2": [2]}),
        ({"arrays": {"left": [0.1], "right": [1e300]}}, {"left": [0.1], "right": [1e300]}),
    ],
)
def test_arrays_of_json_keep_all_digits(document, expected):
    found = read_uploads(JSON, json.dumps(document).encode(), LIMITS)
    arrays = {upload.name: np.load(io.BytesIO(upload.content), allow_pickle=False).tolist() for upload in found}
    assert arrays == expected
    assert all(upload.is_array for upload in found)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the JSON cannot be read"),
        (b"\xff\xfe", "the JSON cannot be read"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"array": [NaN]}', "NaN is not a number of JSON"),
        (b'{"array": [[1], [2, 3]]}', "array 1: its lists have different lengths"),
        (b'{"array": ["1"]}', "array 1: expected numbers alone"),
        (b'{"array": [null]}', "array 1: expected numbers alone"),
        (b'{"array": [1' + b"0" * 400 + b"]}", "array 1: expected numbers alone"),
        (b'{"array": 1}', "array 1: expected an array"),
        (b'{"arrays": []}', "at least one"),
        (b'{"inputs": [1]}', 'expected {"array"'),
        (b"[1]", 'expected {"array"'),
    ],
)
def test_json_that_holds_no_arrays_is_refused(body, message):
    refusal = refused(JSON, body)
    assert refusal.status == 400
    assert message in refusal.message


@pytest.mark.parametrize(
    ("kind", "body", "status", "message"),
    [
        ("text/plain", b"abc", 415, "the content type is text/plain"),
        ("application/x-www-form-urlencoded", b"abc", 415, "curl sends it with -F"),
        ("multipart/form-data", b"abc", 400, "lacks its boundary"),
        ("multipart/form-data; boundary=b", b"", 400, "ends before its last boundary"),
        ("multipart/form-data; boundary=b", b"abc", 400, "cannot be read"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "cannot be read|no files"),
        ("image/png", b"", 400, "file: the file is empty"),
    ],
)
def test_other_requests_are_refused_with_a_sentence(kind, body, status, message):
    refusal = refused(kind, body)
    assert refusal.status == status
    assert any(part in refusal.message for part in message.split("|")), refusal.message


def test_a_form_that_was_cut_off_is_refused():
    kind, body = form(("a.png", b"1234567890"))
    for length in range(len(body) - 4):
        assert refused(kind, body[:length]).status == 400


def test_too_many_files_are_refused():
    assert refused(*form(*[("a", b"1")] * 4)).status == 413
    assert refused(JSON, b'{"arrays": [[1], [1], [1], [1]]}').status == 413


def test_an_empty_file_is_named():
    assert refused(*form(("a.png", b"1"), ("b.png", b""))).message == "b.png: the file is empty"


def test_spoiled_requests_are_refused_and_nothing_else_is_raised():
    chosen = random.Random(0)
    whole = [form(("a.png", b"123"), ("b.png", b"456")), (JSON, b'{"arrays": {"a": [1, 2.5], "b": [[3]]}}')]
    for _ in range(1500):
        kind, body = chosen.choice(whole)
        spoiled = bytearray(body)
        for _ in range(chosen.randint(1, 6)):
            spoiled[chosen.randrange(len(spoiled))] = chosen.randrange(256)
        try:
            assert read_uploads(kind, bytes(spoiled), LIMITS)
        except Refusal as refusal:
            assert refusal.status in (400, 413)
            assert refusal.message.isprintable()
