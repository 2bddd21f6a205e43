"""What a run prints before it begins."""

import json
import re

import numpy as np
import pytest

from rayrml.planning import summary
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console
from tests.box_data import configuration, write_images


def planned(tmp_path, declared):
    np.savez(tmp_path / "x.npz", a=np.zeros((1, 12, 20), "f4"))
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, *declared, 1]}},
        {"class_name": "Conv2D", "config": {"filters": 2, "kernel_size": 3, "padding": "same"}},
    ]
    data = {"input_type": "numpy", "test_input_path": str(tmp_path / "x.npz")}
    return prepare({"neural_network": {"layers": layers, "data": data}}, {})


@pytest.mark.parametrize(
    ("declared", "line"),
    [((16, 16), "12 x 20 (declared: 16 x 16)"), ((16, None), "12 x 20 (declared: 16 x any)")],
)
def test_the_declared_size_and_the_one_that_is_used_are_shown_if_they_differ(tmp_path, capsys, declared, line):
    summary.plan(Console(), planned(tmp_path, declared), 1)
    assert f"* Input size                  : {line}\n" in capsys.readouterr().out


@pytest.mark.parametrize("declared", [(12, 20), (None, None)])
def test_a_size_that_is_as_declared_is_not_shown(tmp_path, capsys, declared):
    summary.plan(Console(), planned(tmp_path, declared), 1)
    assert "Input size" not in capsys.readouterr().out


@pytest.fixture
def nested(tmp_path):
    """A plan that trains a network around a model whose layer has a long name."""
    np.savez(tmp_path / "x.npz", a=np.ones((3, 8, 8), "f4"), b=np.ones((3, 8, 8), "f4"))
    inner = [("InputLayer", {"batch_input_shape": [None, 8, 8, 3], "name": "given"})]
    inner += [("Conv2D", {"name": LONG, "filters": 4, "kernel_size": 1})]
    encoder = {"name": "encoder", "layers": [{"class_name": kind, "config": keys} for kind, keys in inner]}
    layers = [inner[0], ("Sequential", encoder), ("Conv2D", {"name": "last", "filters": 3, "kernel_size": 1})]
    schedule = [{"type": "Warmup", "num_epochs": 1, "start_factor": 0.5}, {"type": "Cosine"}]
    path = str(tmp_path / "x.npz")
    section = {
        "layers": [{"class_name": kind, "config": keys} for kind, keys in layers],
        "num_epochs": 2,
        "unfreeze": {"epoch": 3, "layers": "encoder"},
        "data": {"type": "numpy", "input_path": path, "target_path": path},
        "optimizer": {"type": "SGD", "learning_rates": {"encoder": 0.1}, "lr_scheduler": schedule},
        "loss": {"function": "MSE"},
    }
    return prepare({"neural_network": section})


LONG = "a_layer_with_a_name_of_more_columns_than_there_are_beside_the_others"


def test_updates_are_shown_as_a_configuration_has_them(nested, capsys):
    """Also with the names of the models around layers, which `unfreeze` takes."""
    summary.plan(Console(), nested, 1)
    shown = capsys.readouterr().out
    assert '* learning_rates              : {"encoder": 0.1}\n' in shown
    chain = "Warmup (num_epochs 1, start_factor 0.5, per epoch), then Cosine (final_factor 0.0, per epoch)"
    assert f"* lr_scheduler                : {chain}\n" in shown
    assert f"* Frozen at first             : until epoch 3: encoder/{LONG}\n" in shown
    assert any(f"'encoder/{LONG}' would be trained from epoch 3" in warning for warning in nested.warnings)


def test_the_table_of_layers_is_narrow_and_loses_no_name(nested, capsys):
    summary.check(Console(stamped=False), nested)
    lines = capsys.readouterr().out.splitlines()
    heading = next(i for i, line in enumerate(lines) if line.startswith("Layer "))
    table = lines[heading : lines.index("", heading)]
    assert LONG in table
    assert max(map(len, table)) <= 80
    assert len({len(line) for line in table if line != LONG}) == 1
    assert table[table.index(LONG) + 1].split()[0] == "Conv2D"


def test_numbers_that_were_found_are_shown_in_six_digits(tmp_path, capsys):
    write_images(tmp_path)
    labels = [f"0 0.5 0.5 {width} 0.1" for width in (0.1, 0.11, 0.13)] + ["1 0.5 0.5 0.5 0.5"] * 9
    write_images(tmp_path, {"e": labels})
    summary.plan(Console(), prepare(configuration(tmp_path)), 1)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("* anchors")]
    numbers = line.partition(" : ")[2]
    assert len(json.loads(numbers)) == 2 and all(len(number) <= 7 for number in re.findall(r"[\d.]+", numbers))
