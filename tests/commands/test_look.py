"""`rayrml look`, from its arguments to its picture and its lines."""

import json

import numpy as np
import pytest

from rayrml import cli
from tests.conftest import dense_network, write_config


@pytest.fixture
def config(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (3, 5), 8)
    data = {"type": "images", "target_type": "labels", "input_path": str(tmp_path / "training"), "grayscale": True}
    network = {"layers": dense_network(2), "data": data, "loss": {"function": "NLL"}, "optimizer": {"type": "Adam"}}
    return write_config(tmp_path / "config.json", {"neural_network": network})


def test_a_batch_becomes_a_picture_and_lines(config, tmp_path, capsys):
    picture = tmp_path / "seen.png"
    assert cli.main(["look", str(config), "-o", str(picture), "data.batch_size=6"]) == 0
    shown = capsys.readouterr().out
    assert "The first batch of epoch 1: 6 of 16 training samples, each 1 x 28 x 28" in shown
    assert '{"normalize": {"mean": [' in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_programs_get_the_same_figures(config, tmp_path, capsys):
    arguments = ["look", str(config), "-o", str(tmp_path / "a.svg"), "--json"]
    assert cli.main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (len(document["samples"]), document["shape"], document["looked_at"]) == (16, [1, 28, 28], 16)
    proposed = json.loads(document["normalize"])["normalize"]
    assert proposed["mean"] == pytest.approx(document["inputs"]["mean"], rel=1e-3)


@pytest.mark.parametrize("shape", [(5,), (2, 40), (3, 8, 9), (1, 4, 8, 9)])
def test_arrays_of_any_number_of_axes_are_drawn(tmp_path, shape):
    random = np.random.default_rng(0)
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        for number in range(3):
            np.save(tmp_path / name / f"{number}.npy", random.normal(size=shape).astype(np.float32))
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, *shape[1:], shape[0]], "name": "input"}},
        {"class_name": "Dense", "config": {"name": "out", "units": shape[0]}},
    ]
    paths = {"input_path": str(tmp_path / "x"), "target_path": str(tmp_path / "y")}
    network = {"layers": layers, "data": {"type": "numpy", **paths}, "loss": {"function": "MSE"}}
    config = write_config(tmp_path / "config.json", {"neural_network": {**network, "optimizer": {"type": "SGD"}}})
    assert cli.main(["look", str(config), "-o", str(tmp_path / "seen.png"), "--quiet"]) == 0
    assert (tmp_path / "seen.png").stat().st_size > 5000


def test_mistakes_in_the_configuration_are_told_as_by_check(config, tmp_path, capsys):
    assert cli.main(["look", str(config), "loss.function=NLLL"]) == 2
    assert "Did you mean" in capsys.readouterr().err
