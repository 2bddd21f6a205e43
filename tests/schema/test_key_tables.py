"""Tables of keys, and JSON Schemas in words."""

import pytest

from rayrml.config.tables import make_model
from rayrml.errors import ConfigError
from rayrml.metrics import METRICS
from rayrml.optimizers import OPTIMIZERS
from rayrml.schema.catalog import TABLES
from rayrml.schema.key_tables import allowed, as_json, limits, unlimited
from rayrml.schema.stored import keys


def test_a_section_has_a_line_for_each_key_with_all_that_is_to_be_known():
    meaning, _, head, *lines = keys("early_stopping")
    assert meaning == "When a run ends before its last epoch because it no longer improves."
    assert head.split() == ["key", "type", "default", "range", "meaning"]
    assert lines[0].split(maxsplit=5) == [
        "patience",
        "integer",
        "5",
        ">",
        "0",
        "epochs without improvement after which the run ends",
    ]


def test_a_key_that_names_a_row_lists_all_rows_of_its_table():
    line = next(line for line in keys("neural_network") if line.startswith("metric "))
    *most, last = (f'"{name}"' for name in METRICS)
    assert f"{', '.join(most)} or {last}" in line


def test_a_key_with_two_spellings_shows_both():
    assert any(line.startswith("test_tag or testing_tag  string") for line in keys("Data"))


@pytest.mark.parametrize("name", ["optimizer", "optimizers", "OPTIMIZER"])
def test_a_table_has_the_keys_of_each_row(name):
    text = "\n".join(keys(name))
    for row, builder in OPTIMIZERS.items():
        part = text.partition(f"{row}: ")[2].partition("\n\n")[0]
        assert all(f"\n    {key} " in part for key in make_model(builder).model_fields), row
    assert "    momentum       number         0.0" not in text  # numbers have a readable length
    assert "    momentum       number         0        >= 0 and < 1" in text


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_asked_for(name):
    assert sum(": " in line and not line.startswith(" ") for line in keys(name)) >= len(TABLES[name])


def test_a_name_that_is_neither_is_answered_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"^--keys: unknown name \"optimiser\"\. Did you mean 'optimizer'\?$"):
        keys("optimiser")


@pytest.mark.parametrize(
    ("schema", "kind", "ranges"),
    [
        ({"type": "number", "exclusiveMinimum": 0}, "number", "> 0"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "integer", ">= 1"),
        ({"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}}, "list of numbers", "from 0 to 1"),
        (
            {"type": "array", "maxItems": 2, "prefixItems": [{"type": "integer", "minimum": 1}] * 2},
            "list of 2 integers",
            ">= 1",
        ),
        ({"type": "object", "additionalProperties": {"type": "number", "minimum": 2}}, "object of numbers", ">= 2"),
        ({"type": "string"}, "string", ""),
    ],
)
def test_types_and_ranges_stand_apart(schema, kind, ranges):
    assert (allowed(unlimited(schema)), limits(schema)) == (kind, ranges)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "number", "exclusiveMinimum": 0}, "number > 0"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "number from 0 to 1"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number >= 0 and < 1"),
        ({"enum": ["a", "b", "c"], "type": "string"}, '`"a"`, `"b"` or `"c"`'),
        ({"anyOf": [{"type": "boolean"}, {"const": "auto"}]}, '`true`, `false` or `"auto"`'),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer"),
        ({"type": "array", "items": {}}, "list"),
        ({"type": "array", "items": {"type": "number", "minimum": 0}}, "list of numbers >= 0"),
        ({"type": "array", "maxItems": 2, "prefixItems": [{"type": "integer"}] * 2}, "list of 2 integers"),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, "list: integer, string"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of numbers"),
        ({"$ref": "#/$defs/Data"}, "object"),
        ({}, "any value"),
    ],
)
def test_schemas_are_said_in_words(schema, words):
    assert allowed(schema) == words


def test_numbers_are_short():
    assert as_json([1.0, 4 / 3, 1e-8, 64, None, True]) == "[1, 1.3333, 1e-08, 64, null, true]"
