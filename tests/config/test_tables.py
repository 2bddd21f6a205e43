from typing import Annotated, Literal

import pytest
from pydantic import Field

from rayrml.config import tables
from rayrml.errors import ConfigError


def build(
    parameters, *, rate: Annotated[float, Field(gt=0)] = 0.1, nesterov: bool = False, steps: tuple[int, ...] = ()
):
    """The arguments as they arrived."""
    return parameters, rate, nesterov, steps


def required(*, size: int, mode: Literal["a", "b"] = "a"):
    """A row with a key that has no default."""
    return size, mode


TABLE = {"Build": build, "Required": required}


def mistakes(section, path="optimizer"):
    with pytest.raises(ConfigError) as caught:
        tables.choose(TABLE, section, path)
    return [str(p) for p in caught.value.problems]


def test_names_match_without_regard_to_case():
    assert tables.choose(TABLE, {"type": "bUILD"}, "optimizer").name == "Build"


def test_a_choice_builds_with_what_the_json_gave_and_defaults_for_the_rest():
    choice = tables.choose(TABLE, {"type": "Build", "rate": 1, "steps": [1, 2]}, "optimizer")
    assert choice.build("p") == ("p", 1, False, (1, 2))
    assert choice.arguments == {"rate": 1, "steps": (1, 2)}


def test_a_misspelt_name_is_answered_with_the_nearest_one():
    assert mistakes({"type": "buld"}) == ["optimizer.type: unknown name \"buld\". Did you mean 'Build'?"]


def test_a_strange_name_is_answered_with_all_names():
    assert mistakes({"type": "zzz"}) == ['optimizer.type: unknown name "zzz". Expected one of Build, Required']


def test_a_missing_name_is_answered_with_all_names():
    assert mistakes({}) == ["optimizer: 'type' is missing. Expected one of Build, Required"]


def test_all_mistakes_of_a_section_are_found_at_once():
    assert mistakes({"type": "build", "rat": 1, "rate": -1, "nesterov": "yes"}) == [
        "optimizer.rate: must be greater than 0, got -1",
        'optimizer.nesterov: must be a valid boolean, got "yes"',
        "optimizer.rat: unknown key. Did you mean 'rate'?",
    ]


def test_a_key_without_default_is_asked_for():
    assert mistakes({"type": "Required"}) == ["optimizer.size: this key is missing and has no default"]


def test_an_unknown_key_far_from_all_others_is_answered_with_the_list():
    assert mistakes({"type": "Required", "size": 1, "xyz": 1}) == [
        "optimizer.xyz: unknown key. Required takes mode, size"
    ]


@pytest.mark.parametrize("value", ["1", 1.5, True, None, [1]])
def test_values_are_not_converted(value):
    assert len(mistakes({"type": "Required", "size": value})) == 1
