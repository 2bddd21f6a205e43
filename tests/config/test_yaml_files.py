import json
import math
import re
import time

import pytest
import yaml
from hypothesis import given, settings, strategies

from rayrml.config.line_numbers import find_lines
from rayrml.config.sources import list_paths
from rayrml.config.yaml_files import decode_yaml
from rayrml.errors import ConfigError
from tests.config.documents import SCALARS, as_yaml, documents, same

TEXTS = [
    *(
        "no",
        "Yes",
        "on",
        "OFF",
        "y",
        "n",
        "2024-01-01",
        "2024-01-01 10:00:00",
        "1:30",
        "1_000",
        "1e",
        "0b11",
        "=",
        "<<",
    ),
    *("1.2.3", "images/1", "C:\\x", "a#b", "http://x", "tRUE"),
]
DOCUMENTS = documents(SCALARS | strategies.none())


def read(text):
    return decode_yaml(text, "c.yaml")[0]


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_any_document_reads_the_same_from_yaml(value):
    for options in ({}, {"default_flow_style": True}, {"default_flow_style": False, "indent": 6}):
        found, lines = decode_yaml(as_yaml(value, **options), "c.yaml")
        assert same(found, value)
        assert lines.keys() == set(list_paths(value))


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_json_is_yaml_with_the_same_lines(value):
    text = json.dumps(value, indent=1, ensure_ascii=False)
    found, lines = decode_yaml(text, "c.yaml")
    assert same(found, value)
    assert lines == find_lines(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E3", 1e3),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("+7", 7),
        ("0", 0),
        ("-0", 0),
        ("0.5", 0.5),
        ("0x1f", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("NULL", None),
        ("'1e-3'", "1e-3"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        # what other versions of YAML, or other libraries, make numbers, dates or truth values of
        *((text, text) for text in TEXTS),
        ("a # b", "a"),
    ],
)
def test_plain_values_are_those_of_json_and_else_text(text, value):
    found = read(f"a: {text}\n")["a"]
    assert type(found) is type(value)
    assert found == value


def test_numbers_that_are_not_finite_are_left_to_the_check_of_values():
    assert read("[.inf, -.inf, +.Inf]") == [math.inf, -math.inf, math.inf]
    assert math.isnan(read("a: .NaN")["a"])


def test_lines_are_those_of_keys_and_items():
    text = "# x\na:\n  - 1\n  -\n    b: |\n      text\n    c: >-\n      x\n\n  - {d: 1,\n     e: 2}\nf: [1,\n2]\n"
    value, lines = decode_yaml(text, "c.yaml")
    assert value == {"a": [1, {"b": "text\n", "c": "x"}, {"d": 1, "e": 2}], "f": [1, 2]}
    assert lines == {
        "a": 2,
        "a.0": 3,
        "a.1": 5,
        "a.1.b": 5,
        "a.1.c": 7,
        "a.2": 10,
        "a.2.d": 10,
        "a.2.e": 11,
        "f": 12,
        "f.0": 12,
        "f.1": 13,
    }


def test_anchors_and_merges_repeat_values():
    text = "a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: [{x: 5}, *a]\n  z: 3\nd: {y: 7, <<: *a}\n"
    value, lines = decode_yaml(text, "c.yaml")
    assert value == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 5, "y": 2, "z": 3}, "d": {"x": 1, "y": 7}}
    assert (lines["b"], lines["c.y"], lines["c.z"]) == (2, 1, 5)


@settings(max_examples=50, deadline=None)
@given(documents(strategies.integers(0, 9)))
def test_merged_keys_are_those_of_the_library(value):
    text = f"a: &a {json.dumps(value, ensure_ascii=False)}\nb: {{'x': 1, <<: [*a, {{'y': 2}}], '//': 3}}\n"
    assert same(read(text), yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a:\n  b: 1\n\tc: 2\n",
            "c.yaml, line 3, column 1: not valid YAML. A tab cannot indent a line",
        ),
        ("a: 1\nb: c: d\n", "c.yaml, line 2, column 5: not valid YAML. A value contains ': '"),
        ('a: "b\nc: 1\n', "(begun in line 1)"),
        ("a: [1\nb: 2\n", "c.yaml, line 2, column 2: not valid YAML."),
        ("a: 1\n---\nb: 2\n", "c.yaml, line 2, column 1: not valid YAML. Expected a single document"),
        ("a: *b\n", "c.yaml, line 1, column 4: not valid YAML. Found undefined alias 'b'"),
        ("a: 1\nb: \x01\n", "c.yaml, line 2: not valid YAML. It has the control character '\\x01'"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "c.yaml:4: a.b: this key is given twice in one object"),
        ("a: 1\n1: 2\n", "c.yaml:2: configuration: '1' is not a key. Expected a string; quotes make it one"),
        ("a:\n  true: 2\n", "c.yaml:2: a: 'true' is not a key"),
        ("? [1]\n: 2\n", "c.yaml:1: configuration: a list or an object is not a key"),
        ("a: 010\n", "c.yaml:1: a: 010 is one number in YAML 1.1 and another in YAML 1.2"),
        ("a: [-08.5]\n", "c.yaml:1: a.0: -08.5 is one number"),
        ("a: !!python/name:os.system x\n", "c.yaml:1: a: the tag !!python/name:os.system has no value in JSON"),
        ("a: !!set {b}\n", "the tag !!set has no value in JSON"),
        ("a: !mine {b: 1}\n", "the tag !mine has no value in JSON"),
        ("a: !!timestamp 2024-01-01\n", "the tag !!timestamp has no value"),
        ("a: !!int b\n", "c.yaml:1: a: 'b' is not of the type !!int"),
        ("a: !!bool no\n", "c.yaml:1: a: 'no' is not of the type !!bool"),
        (f"a: {'9' * 5000}\n", "or has too many digits"),
        ("a: &a [*a]\n", "is nested too deeply"),
        ("a: &a {<<: *a}\n", "is nested too deeply"),
        ("a: {<<: 3}\n", "c.yaml:1: a: `<<` takes the keys of an object"),
        ("a: {<<: [{}, 3]}\n", "c.yaml:1: a: `<<` takes the keys of an object"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        decode_yaml(text, "c.yaml")


@pytest.mark.parametrize("inner", ["[{}]", "{{<<: [{}]}}"])
def test_anchors_that_multiply_values_are_bounded(inner):
    lines = ["a0: &a0 {x: [1, 2]}"]
    lines += [f"a{i}: &a{i} " + inner.format(", ".join([f"*a{i - 1}"] * 10)) for i in range(1, 12)]
    began = time.monotonic()
    try:
        decode_yaml("\n".join(lines), "c.yaml")
    except ConfigError as error:
        assert "300000 values" in str(error)
    assert time.monotonic() - began < 60
