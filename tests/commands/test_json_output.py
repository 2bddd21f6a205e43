"""One JSON document on standard output, whatever happens."""

import json
import math
import sys

import numpy as np
import pytest

from rayrml import cli
from rayrml.commands import json_output
from rayrml.errors import ConfigError, Problem
from rayrml.losses import LOSSES
from rayrml.schema.catalog import TABLES
from tests.conftest import dense_network, write_config


@pytest.fixture
def config(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (3, 5), 8)
    data = {"type": "images", "target_type": "labels", "input_path": str(tmp_path / "training"), "grayscale": True}
    network = {"layers": dense_network(2), "data": data, "loss": {"function": "NLL"}, "optimizer": {"type": "Adam"}}
    return write_config(tmp_path / "config.json", {"neural_network": network})


def document(capsys, *arguments):
    """The exit code of a command, what its output holds, and its standard error."""
    try:
        code = cli.main([*map(str, arguments), "--json"])
    except SystemExit as ended:
        code = ended.code
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def test_lists_are_objects_of_names_and_meanings(capsys):
    code, found, err = document(capsys, "list", "losses")
    assert (code, list(found), err) == (0, list(LOSSES), "")
    assert list(document(capsys, "list")[1]) == list(TABLES)


def test_a_valid_configuration_is_described(capsys, config):
    code, found, err = document(capsys, "check", config)
    assert (code, err, found["valid"]) == (0, "", True)
    assert found["optimizer"]["type"] == "Adam"
    assert found["loss"]["function"] == "NLL"
    assert sum(layer["weights"] for layer in found["network"]["layers"]) == found["network"]["num_parameters"]
    assert found["datasets"]["training"]["classes"] == {"3": 8, "5": 8}
    assert found["memory"]["total"] == sum(found["memory"]["worker"].values()) > 0


def test_a_search_names_its_spaces(capsys, config):
    code, found, _ = document(capsys, "check", config, 'lr={"uniform": [0.1, 0.2]}')
    assert (code, found["search"]) == (0, {"optimizer.learning_rate": "uniform from 0.1 to 0.2"})


def test_mistakes_have_their_place_and_their_line(capsys, config):
    content = json.loads(config.read_text())
    content["neural_network"]["optimizer"]["lrr"] = 1
    config.write_text(json.dumps(content, indent=1))
    line = next(number for number, text in enumerate(config.read_text().splitlines(), 1) if "lrr" in text)
    code, found, err = document(capsys, "check", config)
    (mistake,) = found["error"]
    assert (code, found["exit_code"]) == (2, 2)
    assert mistake.pop("message").startswith("unknown key")
    assert mistake == {"where": "neural_network.optimizer.lrr", "file": str(config), "line": line}
    assert err.startswith("rayrml: ")


@pytest.mark.parametrize(
    ("arguments", "code", "where"),
    [
        (["check", "nowhere.json"], 3, "nowhere.json"),
        (["check"], 2, None),
        (["check", "c.json", "--bogus"], 2, "command line"),
        (["plot"], 2, "command line"),
        (["plot", "nowhere"], 3, "nowhere"),
        (["list", "looses"], 2, "list"),
        (["predict", "a.jpg", "--checkpoint", "a.pt", "--device", "tpu"], 2, "--device"),
        (["tune", "nowhere.json", "--num-trials", "0"], 2, "command line"),
        (["run", "c.json"], 2, "command line"),  # a command without --json
    ],
)
def test_every_mistake_is_a_document(capsys, arguments, code, where):
    ended, found, err = document(capsys, *arguments)
    assert (ended, found["exit_code"], [problem["where"] for problem in found["error"]]) == (code, code, [where])
    assert found["error"][0]["message"] in err


def test_a_plot_lists_the_epochs_of_its_runs(capsys, tmp_path):
    (tmp_path / "history.csv").write_text("epoch,train_loss,accuracy\n1,0.5,nan\n2,0.25,0.75\n")
    code, found, err = document(capsys, "plot", tmp_path, "--output", tmp_path / "a.png")
    assert (code, found["plot"]) == (0, str(tmp_path / "a.png"))
    assert "Saved plot" in err
    (run,) = found["runs"]
    assert run["best"] == run["last"] == {"epoch": 2, "train_loss": 0.25, "accuracy": 0.75}
    assert run["epochs"][0]["accuracy"] is None


def test_numbers_of_numpy_and_infinities_are_valid_json(capsys):
    json_output.write({"a": np.float32(0.5), "b": [math.inf], "c": (np.int64(3), np.ones(2))}, sys.stdout)
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [None], "c": [3, [1.0, 1.0]]}


def test_a_problem_without_a_line_has_none():
    found = json_output.list_problems(ConfigError(Problem("a", "b", "c.json:7"), "d"), 2)["error"]
    assert [(problem["where"], problem["file"], problem["line"]) for problem in found] == [
        ("a", "c.json", 7),
        (None, None, None),
    ]
