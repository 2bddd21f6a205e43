"""What a run prints before it begins."""

import numpy as np
import pytest

from rayrml.planning import summary
from rayrml.planning.plan import prepare
from rayrml.reporting.console import Console


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
