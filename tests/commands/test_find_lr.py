"""`rayrml find-lr`, from its arguments to its picture."""

import json

import pytest

from rayrml import cli
from tests.conftest import training_config, write_config


@pytest.mark.ray
def test_the_curve_becomes_a_picture_and_a_document(tmp_path, write_digits, capsys, ray_cluster):
    write_digits(tmp_path / "training", "training", (3, 5, 7), 8)
    write_digits(tmp_path / "testing", "testing", (3, 5, 7), 2)
    config = write_config(tmp_path / "config.json", training_config(tmp_path, tmp_path / "out"))
    picture = tmp_path / "curve.png"
    arguments = ["find-lr", str(config), "--from", "1e-4", "--to", "1", "--steps", "60", "-o", str(picture), "--json"]
    assert cli.main(arguments) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert 1e-4 < found["learning_rate"] < 1
    assert f"--set neural_network.optimizer.learning_rate={found['learning_rate']:.2g}" in output.err
    assert len(found["rates"]) == len(found["losses"]) == 60
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "1", "--to", "0.1"], "--from, --to: expected two numbers above 0, the first one smaller"),
        (["--from", "-1"], "--from, --to: expected two numbers"),
        (["--steps", "3"], "--steps: expected at least 20, got 3"),
    ],
)
def test_wrong_options_are_one_line(options, said, capsys):
    assert cli.main(["find-lr", "config.json", *options]) == 2
    assert said in capsys.readouterr().err
