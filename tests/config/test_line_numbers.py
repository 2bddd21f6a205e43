"""The lines of values in JSON files."""

import json

import pytest

from rayrml.config.line_numbers import find_lines, find_repeated_keys
from rayrml.config.reading import read_configuration
from rayrml.errors import ConfigError, Problem

TEXT = """{
    "a": {"b": 1, "c":
        [1, [2,
             3], {"d": null}]},

    "e": [
        [[], {}, [
            "x"
        ]],
        "text, with { and [ and : and \\\\",
        -1.5e3
    ], "f": true
}
"""


def test_every_key_and_item_has_its_line():
    assert find_lines(TEXT) == {
        "a": 2,
        "a.b": 2,
        "a.c": 2,
        "a.c.0": 3,
        "a.c.1": 3,
        "a.c.1.0": 3,
        "a.c.1.1": 4,
        "a.c.2": 4,
        "a.c.2.d": 4,
        "e": 6,
        "e.0": 7,
        "e.0.0": 7,
        "e.0.1": 7,
        "e.0.2": 7,
        "e.0.2.0": 8,
        "e.1": 10,
        "e.2": 11,
        "f": 12,
    }


def test_equal_keys_in_different_objects_are_told_apart():
    assert find_lines('{"a": {"x": 1},\n"b": {"x": 1},\n"x": {"x": [\n{"x": 1}]}}') == {
        "a": 1,
        "a.x": 1,
        "b": 2,
        "b.x": 2,
        "x": 3,
        "x.x": 3,
        "x.x.0": 4,
        "x.x.0.x": 4,
    }


def test_keys_that_an_object_has_twice_are_found_with_their_second_line():
    text = '{"a": {"x": 1, "y": 2},\n"ab": 1,\n"a": {\n"x": 1}, "b": [{"x": 1}, {"x": 2,\n"x": 3, "x": 4}]}'
    assert find_repeated_keys(text) == [("a", 3), ("b.1.x", 5), ("b.1.x", 5)]
    assert find_repeated_keys('{"a": {"x": 1}, "b": {"x": 1}, "c": ["a", "a"]}') == []


def test_escapes_and_all_of_unicode_are_read_as_json_reads_them():
    text = '{"\\"quoted\\\\": 1,\n"\\u00e4": {"\U0001f600\u2028": 1},\n"": {"": ["\\n", "}"]}, "z":\n2}'
    found = find_lines(text)
    assert [found[key] for key in ('"quoted\\', "ä", "ä.\U0001f600\u2028", "", "z")] == [1, 2, 2, 3, 3]


@pytest.mark.parametrize("text", ["3", '"text"', "[]", "{}", "null", " [ ] "])
def test_what_has_no_inside_has_no_lines(text):
    assert find_lines(text) == {}


def test_each_line_is_that_of_the_value_in_a_text_with_one_value_a_line():
    value = {"a": [1, {"b": [[], {}, {"c": "d"}]}, "e"], "f": {"g": [True, None, [[1]]]}}
    text = json.dumps(value, indent=1)
    shown = text.splitlines()
    for path, line in find_lines(text).items():
        inner = value
        for part in path.split("."):
            inner = inner[int(part) if isinstance(inner, list) else part]
        begin = json.dumps(inner, indent=1).splitlines()[0]
        assert shown[line - 1].rstrip(",").endswith(begin), path


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("neural_network.data.batch_size", ":5"),
        ("neural_network.data.transforms[1].resize", ":8"),
        ("neural_network.data.transforms[1].resize[0]", ":8"),
        ("neural_network.data.input_path", ":4"),  # is missing
        ("neural_network.layers[1].config", ":3"),
        ("ray", ""),
        ("/a/file.png", ""),
        ("", ""),
        ("neural_network.optimizer.lr", ""),  # was set on the command line
    ],
)
def test_problems_are_given_the_line_of_the_nearest_key(tmp_path, where, line):
    path = tmp_path / "config.json"
    path.write_bytes(
        b"\xef\xbb\xbf"
        b'{"neural_network": {\n"optimizer": {},\n"layers": "net.json",\n"data": {\n"batch_size": 0,\n'
        b'"transforms": [\n{"rotate": 1},\n{"RESIZE": [1, 2]}]}}}'
    )
    document = read_configuration(path, {"optimizer.lr": 1})
    with pytest.raises(ConfigError) as caught, document.locating_mistakes():
        raise ConfigError(Problem(where, "is wrong"))
    (found,) = caught.value.problems
    assert (found.where, found.message) == (where, "is wrong")
    assert found.line == (f"{path}{line}" if line else "")
    assert str(found).startswith(f"{path}{line}: {where}: " if line else f"{where}: " if where else "is wrong")
