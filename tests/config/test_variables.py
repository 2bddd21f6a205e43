import json

import pytest
from hypothesis import given, settings

from rayrml import cli
from rayrml.config.reading import read_configuration
from rayrml.config.sources import list_paths
from rayrml.config.variables import escape, substitute
from rayrml.errors import ConfigError
from tests.config.documents import documents, same


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("ODD", "${DATA}$${x")
    monkeypatch.delenv("NOWHERE", raising=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${DATA}/x", "/data/x"),
        ("${DATA}${DATA:-y}", "/data/data"),
        ("a/${NOWHERE:-b c}/${EMPTY:-d}", "a/b c/d"),
        ("${NOWHERE:-}x${EMPTY:-}", "x"),
        ("${NOWHERE:-a:-b}", "a:-b"),
        ("${ODD}", "${DATA}$${x"),  # a value is not looked at again
        ("$${DATA}", "${DATA}"),
        ("$${", "${"),
        ("a$b", "a$b"),
        ("$", "$"),
        ("$$", "$$"),
        ("cost$$DATA/", "cost$$DATA/"),
        ("./$DATA/x", "./$DATA/x"),
        ("$NOWHERE/x", "$NOWHERE/x"),
    ],
)
def test_variables_become_their_values_and_other_dollars_stay(text, expected):
    assert substitute({"a": [text]}) == ({"a": [expected]}, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOWHERE}/x", "the environment variable NOWHERE is not set. Set it, or give a default: ${NOWHERE:-default}"),
        ("${EMPTY}/x", "the environment variable EMPTY is empty"),
        ("${DATA", "contains an incomplete variable. Expected ${NAME} or ${NAME:-default}"),
        ("${}", "incomplete variable"),
        ("${1}", "incomplete variable"),
        ("${DATA-x}", "incomplete variable"),
        ("${DATA:-${NOWHERE}}", "incomplete variable"),
        ("${NOWHERE:-$HOME}", "incomplete variable"),
        ("${ DATA }", "incomplete variable"),
        ("$DATA/x", "begins with a variable without braces. Expected ${DATA}, or ./$DATA/x for a name"),
        ("$DATA", "begins with a variable without braces"),
    ],
)
def test_what_cannot_be_replaced_is_a_mistake_at_its_place(text, message):
    _, (problem,) = substitute({"a": ["", text]})
    assert problem.where == "a.1"
    assert message in problem.message


def test_keys_and_a_network_in_the_configuration_are_left_alone():
    values = {"neural_network": {"layers": [{"name": "${NOWHERE}"}], "${DATA}": 1}}
    assert substitute(values) == (values, [])
    assert (
        substitute({"neural_network": {"layers": "${DATA}/net.json"}})[0]["neural_network"]["layers"]
        == "/data/net.json"
    )


@settings(max_examples=100, deadline=None)
@given(documents())
def test_escaped_values_are_read_back_unchanged(value):
    assert same(
        substitute(escape({"a": value, "b": ["${x", "$${", "$$${DATA}"]}))[0],
        {"a": value, "b": ["${x", "$${", "$$${DATA}"]},
    )
    assert list(list_paths(escape(value))) == list(list_paths(value))


def test_a_mistake_has_its_line_and_is_reported_with_all_others(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(
        '{"neural_network": {\n"layers": "${NOWHERE}/n.json",\n"seed": -1,\n"data": {"input_path": "${DATA}"}}}'
    )
    with pytest.raises(ConfigError) as caught:
        read_configuration(path).checked()
    assert [problem.line for problem in caught.value.problems] == [f"{path}:2", f"{path}:3"]
    document = read_configuration(path, {"layers": "n.json", "seed": 1})
    assert document.checked().neural_network.data.input_path == "/data"
    document = read_configuration(path).with_overrides({"layers": "n.json", "seed": 1})
    assert document.checked().neural_network.layers == "n.json"


def test_a_network_by_name_may_have_variables_and_listed_layers_stay_as_they_are(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"neural_network": {"layers": {"network": "resnet18", "weights": "${DATA}/a.h5"}}}))
    assert read_configuration(path).values["neural_network"]["layers"]["weights"] == "/data/a.h5"
    path.write_text(json.dumps({"neural_network": {"layers": {"config": {"name": "${DATA}"}}}}))
    assert read_configuration(path).values["neural_network"]["layers"] == {"config": {"name": "${DATA}"}}


def test_objects_of_programs_are_left_alone():
    assert read_configuration({"a": "${NOWHERE}"}).values == {"a": "${NOWHERE}"}


def test_values_of_the_command_line_have_variables(tmp_path, capsys):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"neural_network": {"layers": "n.json", "data": {}}}))
    cli.main(["check", str(path), "data.input_path=${NOWHERE}/x"])
    assert capsys.readouterr().err.startswith("rayrml: data.input_path: the environment variable NOWHERE is not set")
    cli.main(["check", str(path), "data.input_path=${DATA}/x", "data.type=images"])
    assert "'/data/x'" in capsys.readouterr().err


def test_a_job_gets_the_values_of_this_machine(tmp_path):
    from rayrml.cluster.job_submission import pack

    (tmp_path / "n.json").write_text("[]")
    (tmp_path / "job").mkdir()
    path = tmp_path / "c.toml"
    path.write_text(f'[neural_network]\nlayers = "{tmp_path}/n.json"\ndata = {{input_path = "${{DATA}}/$${{x}}"}}')
    document = read_configuration(path)
    pack(document.checked(), tmp_path / "job", f"{document.name}.json")
    sent = read_configuration(tmp_path / "job" / "c.json").checked()
    assert sent.neural_network.data == document.checked().neural_network.data
    assert sent.neural_network.data.input_path == "/data/${x}"
