import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from rayrml.config.reading import read_configuration
from rayrml.config.sources import read_source
from rayrml.errors import ConfigError, DataError
from rayrml.planning.preparation import prepare
from tests.config.documents import as_tables, as_yaml, documents, same


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, content):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return name


def problems_of(name, kind=ConfigError):
    with pytest.raises(kind) as caught:
        read_configuration(name).checked()
    return [str(problem) for problem in caught.value.problems]


@settings(max_examples=25, deadline=None)
@given(documents())
def test_any_document_is_the_same_configuration_in_all_formats(value):
    texts = {
        "c.json": json.dumps(value),
        "c.jsonc": f"// x\n{json.dumps(value)}",
        "c.YAML": as_yaml(value),
        "c.yml": as_yaml(value),
    }
    for name, text in {**texts, "c.toml": as_tables(value), "c": json.dumps(value)}.items():
        assert same(read_source(write(name, text)).value, value)


def test_each_format_names_the_lines_of_mistakes():
    write("c.json", '{// x\n"neural_network": {"layers": "n.json", "data": {},\n"seed": -1,}}')
    write("c.yaml", "neural_network:\n  layers: n.json\n  seed: -1\n  data: {}\n")
    write("c.toml", '[neural_network]\nlayers = "n.json"\nseed = -1\n[neural_network.data]\n')
    for name in ("c.json", "c.yaml", "c.toml"):
        assert problems_of(name) == [f"{name}:3: neural_network.seed: must be greater than or equal to 0, got -1"]


def test_a_configuration_has_the_values_of_what_it_extends():
    write("conf/base.yaml", "neural_network:\n  seed: 1\n  num_epochs: 2\n  data: {type: images, input_path: in}\n")
    write("conf/more/gpu.toml", "[ray]\nuse_gpu = true\n[neural_network]\nseed = 2\n")
    write("conf/mine.json", '{"extends": ["base.yaml", "more/gpu.toml"], "neural_network": {"num_epochs": 3}}')
    write("last.json", '{"extends": "conf/mine.json", "neural_network": {"data": {"batch_size": 4}}}')
    expected = {
        "neural_network": {"seed": 2, "num_epochs": 3, "data": {"type": "images", "input_path": "in", "batch_size": 4}},
        "ray": {"use_gpu": True},
    }
    assert read_configuration("last.json").values == expected
    from_python = {"extends": "conf/mine.json", "neural_network": {"data": {"batch_size": 4}}}
    assert read_configuration(from_python).values == expected


def test_a_mistake_has_the_file_and_the_line_of_its_value():
    write(
        "base.toml",
        '[neural_network]\nlayers = "n.json"\nseed = -1\nnum_epochs = 0\ndata.batch_size = 0\n',
    )
    write("c.json", '{"extends": "base.toml",\n"neural_network": {"num_epochs": -1,\n"data": {"preload": 1}}}')
    assert problems_of("c.json") == [
        "base.toml:5: neural_network.data.batch_size: must be greater than 0, got 0",
        "c.json:3: neural_network.data.preload: must be a valid boolean, got 1",
        "c.json:2: neural_network.num_epochs: must be greater than 0, got -1",
        "base.toml:3: neural_network.seed: must be greater than or equal to 0, got -1",
    ]
    with pytest.raises(ConfigError) as caught:
        read_configuration({"extends": "base.toml", "neural_network": {"num_epochs": -1}}).checked()
    assert [problem.line for problem in caught.value.problems] == ["base.toml:5", "", "base.toml:3"]


def test_a_replaced_section_has_no_lines_of_its_base():
    write(
        "base.json",
        '{"neural_network": {"layers": [], "data": {"type": "images", "input_path": "x"},\n'
        '"loss": {"function": "NLL"},\n"optimizer": {"type": "Adam",\n"learning_rate": 1}}}',
    )
    write("c.json", '{"extends": "base.json",\n"neural_network": {\n"optimizer": {"type": "SGD", "lr": 2}}}')
    with pytest.raises(ConfigError, match=r"c\.json:3: neural_network.optimizer.lr: unknown key"):
        prepare("c.json")


@pytest.mark.parametrize(
    ("base", "kind", "expected"),
    [
        (
            '{"extends": "c.json"}',
            ConfigError,
            "base.json:1: extends: the files extend one another in a circle: c.json extends base.json extends c.json",
        ),
        (
            '{"extends":\n"base.json"}',
            ConfigError,
            "base.json:1: extends: the files extend one another in a circle: base.json extends base.json",
        ),
        (
            '{\n"extends": "none.json"}',
            DataError,
            "base.json:2: extends: cannot read 'none.json'. No such file or directory",
        ),
        (
            '{"extends": 3}',
            ConfigError,
            "base.json:1: extends: must be the path of a configuration or a list of them, got 3",
        ),
        (
            '{"extends": [""]}',
            ConfigError,
            'base.json:1: extends: must be the path of a configuration or a list of them, got [""]',
        ),
        (
            '{"extends": "${NOWHERE}/x"}',
            ConfigError,
            "base.json:1: extends: the environment variable NOWHERE is not set. "
            "Set it, or give a default: ${NOWHERE:-default}",
        ),
        ("[]", ConfigError, "base.json: expected an object, whose values others replace"),
        ('{"a": 1\n"b": 2}', ConfigError, "base.json, line 2, column 1: not valid JSON. Expecting ',' delimiter"),
        ('{"a": 1,\n"a": 2}', ConfigError, "base.json:2: a: this key is given twice in one object. Expected it once"),
        ('{"a":\n{"b": Infinity}}', ConfigError, "base.json:2: a.b: inf is not a finite number"),
    ],
)
def test_a_base_that_cannot_be_used_is_named(base, kind, expected):
    write("base.json", base)
    write("c.json", '{"extends": "base.json"}')
    assert problems_of("c.json", kind) == [expected]


def test_two_ways_to_one_base_are_no_circle():
    write("base.json", {"a": 1, "b": 2})
    write("one.json", {"extends": "base.json", "a": 3})
    write("two.json", {"extends": "./base.json", "c": 4})
    write("c.json", {"extends": ["one.json", "two.json"]})
    assert read_configuration("c.json").values == {"a": 1, "b": 2, "c": 4}


def test_endless_numbers_of_files_are_refused():
    write("f0.json", {})
    for number in range(1, 12):
        write(f"f{number}.json", {"extends": [f"f{number - 1}.json"] * 2})
    with pytest.raises(ConfigError, match=re.escape("extends too many files. Expected at most 100")):
        read_configuration("f11.json")


def test_variables_that_are_replaced_in_the_end_need_no_value(monkeypatch):
    monkeypatch.setenv("BASES", "conf")
    write("conf/base.json", {"neural_network": {"layers": "${NOWHERE}", "data": {"input_path": "${BASES}/x"}}})
    write("c.json", {"extends": "${BASES}/base.json", "neural_network": {"layers": "n.json"}})
    document = read_configuration("c.json")
    assert not document.mistakes
    assert document.values == {"neural_network": {"layers": "n.json", "data": {"input_path": "conf/x"}}}


def test_a_pipe_extends_files_of_the_current_folder():
    write("base.json", {"a": 1})
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write('{"extends": "base.json", "b": 2}')
    with os.fdopen(reading):
        assert read_configuration(f"/dev/fd/{reading}").values == {"a": 1, "b": 2}
