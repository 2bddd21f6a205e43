"""Random mutations of valid JSON values, JSON text and bytes. The same generator gives the same mutations."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

_NUMBERS = [
    0, 1, -1, 2, 3, 5, 7, 8, 31, 32, 64, 255, 1000, 65_536, 10**6, 2**31 - 1, 2**31, 2**32, 10**12, 2**62, 2**63 - 1,
    2**63, 2**64, 10**30, -2, -(2**31), -(10**12), -(2**63) - 1, 10**400, 0.5, 1.5, -0.5, -0.0, 1e-300, 1e38, 1e308,
    float("inf"), float("-inf"), float("nan"),
]  # fmt: skip
_STRINGS = [
    "", " ", ".", "..", "x", "0", "-1", "true", "null", "None", "same", "valid", "causal", "relu",
    "softmax", "channels_first", "layers", "\0", "a\0b", "\n", "\ud800", "\udcff", "\ufeff", "\U0001f600", "é" * 300,
    "a" * 100_000, "a/b", "a/" * 5000, "file://", "file:///\0", "s3://bucket/x", "http://[", "%00", "__class__",
    "constructor", "forward",
]  # fmt: skip
_MAKERS: list[Callable[[random.Random], Any]] = [
    lambda _: None,
    lambda _: True,
    lambda _: False,
    lambda r: r.choice(_NUMBERS),
    lambda r: r.choice(_NUMBERS),
    lambda r: r.choice(_NUMBERS),
    lambda r: r.randrange(-3, 40),
    lambda r: r.choice(_STRINGS),
    lambda r: r.choice(_STRINGS),
    lambda _: [],
    lambda _: {},
    lambda _: [[]],
    lambda _: [None],
    lambda _: {"": None},
    lambda r: [r.choice(_NUMBERS) for _ in range(r.randrange(1, 5))],
    lambda r: [r.randrange(-2, 9) for _ in range(r.randrange(1, 5))],
    lambda r: [r.choice(_STRINGS) for _ in range(r.randrange(1, 4))],
    lambda r: {r.choice(_STRINGS): r.choice(_NUMBERS)},
    lambda r: [0] * r.choice([100, 10_000]),
    lambda r: nested(r.choice([50, 200, 3000]), r.choice(["[]", "{}"])),
]


def nested(depth: int, kind: str = "[]") -> Any:
    """Lists or objects nested `depth` levels deep."""
    value: Any = [] if kind == "[]" else {}
    for _ in range(depth):
        value = [value] if kind == "[]" else {"config": value}
    return value


def _copied(value: Any) -> Any:
    """A deep copy of a value of any depth."""
    whole = [value]
    pending: list[Any] = [whole]
    while pending:
        place = pending.pop()
        for key, child in list(place.items() if isinstance(place, dict) else enumerate(place)):
            if isinstance(child, dict | list):
                place[key] = child.copy()
                pending.append(place[key])
    return whole[0]


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value, as its container and its key or index."""
    pending = [value]
    while pending:
        place = pending.pop()
        inside = place.items() if isinstance(place, dict) else enumerate(place) if isinstance(place, list) else ()
        for key, child in inside:
            yield place, key
            pending.append(child)


def mutated(r: random.Random, value: Any, corpus: list[Any]) -> Any:
    """A copy of `value` with a few random changes, which may insert parts of the `corpus`."""
    value = _copied(value)
    for _ in range(1 if r.random() < 0.6 else r.randrange(2, 6)):
        places = list(slots(value))
        if not places:
            return r.choice(_MAKERS)(r)
        container, key = r.choice(places)
        if r.random() < 0.02:
            return r.choice(_MAKERS)(r)
        r.choice(_OPERATORS)(r, container, key, places, corpus)
    return value


def _replace(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    container[key] = r.choice(_MAKERS)(r)


def _remove(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    del container[key]


def _swap(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    other, place = r.choice(places)
    container[key], other[place] = _copied(other[place]), _copied(container[key])


def _copy_here(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    other, place = r.choice(list(slots(r.choice(corpus)))) if r.random() < 0.3 else r.choice(places)
    container[key] = _copied(other[place])


def _insert(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    value = _copied(container[key]) if r.random() < 0.5 else r.choice(_MAKERS)(r)
    if isinstance(container, list):
        container.insert(r.randrange(len(container) + 1), value)
    else:
        container[r.choice([f"{key}s", str(key).upper(), r.choice(_STRINGS), f"{key}_initializer"])] = value


def _same_kind(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    """Another value of the same type."""
    value = container[key]
    if isinstance(value, bool):
        container[key] = not value
    elif isinstance(value, int | float):
        container[key] = r.choice(
            [value + 1, value - 1, -value, value * 10, value * 1000, 0, value // 2, value * 10**9]
        )
    elif isinstance(value, str):
        others = [v for c, k in places if isinstance(v := c[k], str)]
        container[key] = r.choice([value.upper(), value[:-1], value + "x", value * 2, f" {value}", *others])
    elif isinstance(value, list):
        container[key] = r.choice([value[::-1], value * 2, value[:1], value[1:], r.sample(value, len(value))])
    elif isinstance(value, dict):
        container[key] = dict(r.sample(list(value.items()), len(value) // 2))


def _other_type(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    """The value converted to another type."""
    value = container[key]
    ways: list[Any] = [[value], {"value": value}, bool(value)]
    if isinstance(value, list | dict):
        items = list(value.items()) if isinstance(value, dict) else value
        ways += [items[0] if items else None, [list(i) if isinstance(i, tuple) else i for i in items]]
        ways += [{str(i): item for i, item in enumerate(items)}]
    else:
        ways += [str(value), len(str(value))]
    if isinstance(value, int) and abs(value) < 2**1000:
        ways.append(float(value))
    container[key] = r.choice(ways)


def _rename(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    if isinstance(container, dict):
        others = [k for c, k in places if isinstance(c, dict)]
        container[r.choice([f"{key}x", str(key)[:-1], str(key).upper(), r.choice(others)])] = container.pop(key)


def _nest(r: random.Random, container: Any, key: Any, places: Any, corpus: Any) -> None:
    """The value nested in containers many times: models in models, lists in lists."""
    value = container[key]
    for _ in range(r.choice([1, 2, 10, 40, 400])):
        value = {"class_name": "Sequential", "config": {"layers": [value]}} if isinstance(value, dict) else [value]
    container[key] = value


_OPERATORS = [
    _replace, _replace, _replace, _replace, _remove, _remove, _swap, _copy_here, _copy_here, _insert, _insert,
    _same_kind, _same_kind, _same_kind, _other_type, _other_type, _rename, _nest,
]  # fmt: skip


def spoiled_text(r: random.Random, value: Any) -> bytes:
    """A JSON file of `value` with a few misplaced pieces of text, or with bytes that are not text."""
    text = json.dumps(value)
    for _ in range(r.randrange(1, 3)):
        at = r.randrange(len(text) + 1)
        quote, colon = text.find('"', at), text.find(":", at)
        kind = r.randrange(6)
        if kind == 0:
            text = text[:at]
        elif kind == 1 and quote >= 0:  # the same key twice, or a strange one
            text = f"{text[:quote]}{r.choice(_PIECES)}{text[quote:]}"
        elif kind == 2 and colon >= 0:
            text = f"{text[: colon + 1]}{r.choice(_PIECES)}{text[colon + 1 :]}"
        elif kind == 3:
            text = text[:at] + r.choice(_PIECES) + text[at + r.randrange(3) :]
        elif kind == 4 and colon >= 0:  # replaces a value by another
            end = min((i for i in (text.find(",", colon), text.find("}", colon)) if i >= 0), default=len(text))
            text = f"{text[: colon + 1]}{r.choice(_VALUES)}{text[end:]}"
        else:
            text = text[:at] + text[r.randrange(len(text) + 1) :]
    content = text.encode("utf-8", "surrogatepass")
    return content if r.random() < 0.7 else r.choice(_ENCODINGS)(text) if r.random() < 0.3 else spoiled(r, content)


_VALUES = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 5000,
    "0x10",
    "01",
    "+1",
    "'a'",
    '"\\ud800"',
    '"\\u0000"',
    "[" * 9999,
]
_PIECES = [
    '"neural_network": 1, ',
    '"data": {}, ',
    '"config": {}, ',
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    '"',
    "\\",
    "\0",
    *_VALUES,
]
_ENCODINGS = [
    lambda text: b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass"),
    lambda text: text.encode("utf-16", "surrogatepass"),
    lambda text: text.encode("utf-32", "surrogatepass"),
    lambda text: gzip.compress(text.encode("utf-8", "surrogatepass")),
]


def spoiled(r: random.Random, content: bytes) -> bytes:
    """A file's bytes with a few errors: in bits, blocks, lengths, at its start or end."""
    spoilt = bytearray(content)
    for _ in range(1 if r.random() < 0.6 else r.randrange(2, 8)):
        size = len(spoilt)
        at = r.randrange(size) if size else 0
        # In most formats, the first bytes are the most sensitive.
        at = min(at, r.choice([64, 512, 4096, size])) if size else 0
        length = r.choice([1, 2, 4, 8, 16, 100, 512, 4096])
        kind = r.randrange(10)
        if kind <= 2 and size:
            at = min(at, size - 1)
            spoilt[at] ^= 1 << r.randrange(8)
        elif kind == 3 and size:
            spoilt[min(at, size - 1)] = r.choice([0, 1, 127, 128, 255])
        elif kind == 4:  # a size that is too large
            spoilt[at : at + 8] = r.choice(_SIZES)
        elif kind == 5:
            del spoilt[r.choice([at, size // 2, size - 1]) :]
        elif kind == 6:
            spoilt[at : at + length] = bytes(length)
        elif kind == 7:
            other = r.randrange(size + 1)
            first, second = spoilt[at : at + length], spoilt[other : other + length]
            spoilt[at : at + length], spoilt[other : other + length] = second, first
        elif kind == 8:
            spoilt += r.choice([b"\0", r.randbytes(length), bytes(spoilt[:length])])
        else:
            spoilt[at : at + length] = r.randbytes(length) if r.random() < 0.5 else b""
    return bytes(spoilt)


_SIZES = [
    number.to_bytes(width, order)
    for order in ("little", "big")
    for width in (2, 4, 8)
    for number in (2**16 - 1, 2**15, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 2) + 1)
    if number < 2 ** (8 * width)
]
