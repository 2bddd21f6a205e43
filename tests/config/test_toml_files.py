import json
import re

import pytest
from hypothesis import assume, example, given, settings

from rayrml.config.json_files import find_unusable
from rayrml.config.sources import list_paths
from rayrml.config.toml_files import decode_toml, find_toml_lines
from rayrml.errors import ConfigError
from tests.config.documents import as_inline_toml, as_tables, documents, same

TEXT = '''# x
a.b = 1
c = [1, 2, # ]
  [3, """
]
""", 'x'], {d = 1, e."f.g" = [
  5]}, ]
when = [2024-01-01 10:00:00, 2024-01-01T10:00:00Z, 1]
t = """a \\""" "" = """""

[ g . h ] # [
"i\\u0041" = '\\'
k = """""" # "
l = \'\'\'a'b\'\'\'\'\'

[[m]]
n = 1
[m.o]
p = -1.5e3
[[m.q]]
[[m.q]]
r = true
[[m]]
[[m.q]]
s = 0x1f
'''


def test_lines_are_those_of_keys_items_and_tables():
    found = find_toml_lines(TEXT)
    assert found == {
        "a": 2,
        "a.b": 2,
        "c": 3,
        "c.0": 3,
        "c.1": 3,
        "c.2": 4,
        "c.2.0": 4,
        "c.2.1": 4,
        "c.2.2": 6,
        "c.3": 6,
        "c.3.d": 6,
        "c.3.e": 6,
        "c.3.e.f.g": 6,
        "c.3.e.f.g.0": 7,
        "when": 8,
        "when.0": 8,
        "when.1": 8,
        "when.2": 8,
        "t": 9,
        "g": 11,
        "g.h": 11,
        "g.h.iA": 12,
        "g.h.k": 13,
        "g.h.l": 14,
        "m": 16,
        "m.0": 16,
        "m.0.n": 17,
        "m.0.o": 18,
        "m.0.o.p": 19,
        "m.0.q": 20,
        "m.0.q.0": 20,
        "m.0.q.1": 21,
        "m.0.q.1.r": 22,
        "m.1": 23,
        "m.1.q": 24,
        "m.1.q.0": 24,
        "m.1.q.0.s": 25,
    }
    assert found.keys() == set(list_paths(decode_toml(TEXT, "c.toml")))


@settings(max_examples=60, deadline=None)
@given(documents())
@example({"0": [], "": {"": [{"": {}}]}})  # whose dotted paths are those of other places
def test_any_document_without_null_reads_the_same_from_toml(value):
    for text in (as_inline_toml(value), as_tables(value)):
        assert same(decode_toml(text, "c.toml"), value)
        assert find_toml_lines(text).keys() == set(list_paths(value))


@settings(max_examples=50, deadline=None)
@given(documents())
def test_lines_of_keys_are_those_where_they_stand(value):
    assume("" not in value)  # the items of a list with this name have the dotted paths of keys at the top: 0, 1, ...
    text = as_inline_toml(value)
    shown = text.split("\n")
    for key in value:
        assert shown[find_toml_lines(text)[key] - 1].startswith(json.dumps(key, ensure_ascii=False) + " = ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = tru\n", "c.toml, line 2, column 5: not valid TOML. Invalid value"),
        ("a = 1\na = 2\n", "c.toml, line 2, column 6: not valid TOML. Cannot overwrite a value"),
        ("[a]\nb = 1\n[a]\n", "c.toml, line 3, column 3: not valid TOML. Cannot declare"),
        ("a = [1,\n2", "c.toml, line 2: not valid TOML. Unclosed array"),
        ('{"a": 1}', "c.toml, line 1, column 1: not valid TOML. Invalid statement"),
        (f"a = {'9' * 5000}", "thousands of digits"),
        ("a = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        decode_toml(text, "c.toml")


@pytest.mark.parametrize("date", ["2024-01-01", "10:00:00", "2024-01-01 10:00:00", "2024-01-01T10:00:00Z"])
def test_a_date_is_refused_as_no_value_of_json(date):
    (problem,) = find_unusable(decode_toml(f"[a]\nb = {date}\n", "c.toml"))
    assert problem.where == "a.b"
    assert "is a date or a time" in problem.message
