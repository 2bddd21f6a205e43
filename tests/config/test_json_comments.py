import json
import re

import pytest
from hypothesis import given, settings, strategies

from rayrml.config.json_comments import decode_with_comments, make_plain
from rayrml.config.json_files import decode
from rayrml.config.line_numbers import find_lines
from rayrml.errors import ConfigError
from tests.config.documents import SCALARS, documents, same

TEXT = """// the first line
{
    "a": [1, 2, /* two
    lines */ 3,], # hash
    /**/ "b": {"c": "// no comment", "d": "/* nor */ # this",}, // "e": 1
    "f": "\\\\\\"",
}
// the last one"""


def test_comments_and_commas_at_the_end_change_neither_values_nor_lines():
    value, plain = decode_with_comments(TEXT.encode(), "c.json")
    assert value == {"a": [1, 2, 3], "b": {"c": "// no comment", "d": "/* nor */ # this"}, "f": '\\"'}
    assert [find_lines(plain)[key] for key in ("a", "a.2", "b", "b.d", "f")] == [3, 4, 5, 5, 6]
    assert len(plain) == len(TEXT)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm():
    content = b'\xef\xbb\xbf{ // one\r\n"a": 1, /* two\r\n */ "b": 2,\r\n}\r\n'
    value, plain = decode_with_comments(content, "c.json")
    assert value == {"a": 1, "b": 2}
    assert find_lines(plain) == {"a": 2, "b": 3}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('{// x\n"a": 1\n"b": 2}', "line 3, column 1", "Expecting ',' delimiter"),
        ('{"a": 1, // x\n,}', "line 2, column 1", "Expecting property name enclosed in double quotes"),
        ("[1,,]", "line 1, column 4", "Expecting value"),
        ("[,]", "line 1, column 2", "Expecting value"),
        ('{"a":,}', "line 1, column 6", "Expecting value"),
        ("{,}", "line 1, column 2", "Expecting property name enclosed in double quotes"),
        ('{"a": 1},', "line 1, column 9", "Extra data"),
        ('{"a": 1, // x', "line 1, column 14", "Expecting property name enclosed in double quotes"),
        ('{"a": 1 /* x\n}', "line 1, column 9", "Expecting ',' delimiter. This comment has no end: */"),
        ("{'a': 1}", "line 1, column 2", 'Strings and keys have double quotes: "text"'),
        ('{"a": \u201cb\u201d}', "line 1, column 7", "Strings and keys have double quotes"),
        ('{"a": True}', "line 1, column 7", "JSON writes true"),
        ('{"a": .5}', "line 1, column 7", "JSON writes numbers as 0.5"),
        ('{"a": ${B}}', "line 1, column 7", 'Variables are part of strings: "${NAME}"'),
        ('{"a": "x\n//"}', "line 1, column 9", "Invalid control character at"),
        ("// nothing", "line 1, column 11", "Expecting value"),
        ("", "line 1, column 1", "Expecting value"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_cure(text, place, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        decode_with_comments(text.encode(), "c.json")
    assert str(caught.value).startswith(f"c.json, {place}: not valid JSON. ")


def test_a_key_that_is_given_twice_is_named_with_its_line_among_comments():
    with pytest.raises(ConfigError, match=r"^c.json:3: a: this key is given twice"):
        decode_with_comments(b'{ // "a": 0\n"a": 1, /*\n*/ "a": 2,}', "c.json")


def test_other_json_stays_strict():
    for text in ("{} // x", '{"a": 1,}', "[1] # x"):
        with pytest.raises(ConfigError, match="not valid JSON"):
            decode(text.encode(), "network.json")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{\x00}\x00", b'{"a": "\xe4"} // x', b"[" * 100_000, b"// x\n" + b"[" * 100_000]
)
def test_what_is_no_text_or_too_deep_is_refused(content):
    with pytest.raises(ConfigError, match=r"Expected UTF-8 text|nested too deeply"):
        decode_with_comments(content, "c.json")


@settings(max_examples=80, deadline=None)
@given(documents(SCALARS | strategies.none()), strategies.data())
def test_any_document_reads_the_same_with_comments(value, data):
    gaps = strategies.sampled_from(["", " ", "\n", "// x\n", '# "\n', "/* , */", '/* \n{ " */', "\n//[\n/**/"])
    text = json.dumps(value, ensure_ascii=data.draw(strategies.booleans()))
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{}",:]+', text)
    commented = plain = before = ""
    for token in tokens:
        if token in "]}" and before not in ("[", "{") and data.draw(strategies.booleans()):
            commented += ","
        gap = data.draw(gaps)
        commented += gap + token
        plain += re.sub(r"[^\n]", " ", gap) + token
        before = token
    read, text = decode_with_comments(commented.encode(), "c.json")
    assert same(read, value)
    assert find_lines(text) == find_lines(plain)


@settings(max_examples=80, deadline=None)
@given(strategies.text(alphabet='{}[]",:/*# \n\\ta1', max_size=30))
def test_no_text_is_read_otherwise_than_json_reads_it_without_comments(text):
    plain = make_plain(text)
    assert len(plain) == len(text)
    assert plain.count("\n") == text.count("\n")
    try:
        value = json.loads(text)
    except ValueError:
        return
    assert plain == text
    assert same(decode_with_comments(text.encode(), "")[0], value) or len(set(text)) < 30  # keys may repeat
