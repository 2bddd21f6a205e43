"""The screen of whole commands on a terminal of 80 columns, and the log next to what they write."""

import re
import sys

import pytest

from tests.conftest import training_config, write_config
from tests.terminal import Command, show

STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ?"
pytestmark = pytest.mark.ray


@pytest.fixture
def config(tmp_path, write_digits):
    """A configuration of three epochs with a checkpoint after each, whose paths are longer than a line."""
    folder = tmp_path / ("a_folder_with_a_name_that_is_long_" * 3)
    for part in ("training", "testing"):
        write_digits(folder / part, part, (0, 1, 2), 8)
    content = training_config(folder, tmp_path / ("results_" * 6), preload=True)
    content["neural_network"]["num_epochs"] = 3
    return write_config(tmp_path / "config.json", content)


def test_a_training_and_its_predictions_fit_into_80_columns_and_are_logged(config, tmp_path):
    rayrml = [sys.executable, "-m", "rayrml"]
    training = Command([*rayrml, str(config)], tmp_path, NO_COLOR="1")
    assert training.finish() == 0, training.written
    lines = show(training.written)
    assert max(map(len, lines)) <= 80
    assert not re.search(STAMP, training.written)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", training.written), "colours"
    assert [line.split()[0] for line in lines if re.match(r" *\d/3 ", line)] == ["1/3", "2/3", "3/3"]
    assert not any(line.startswith("Saved") or "Starting Ray" in line for line in lines)
    out = tmp_path / ("results_" * 6)
    log = read_log(out / "model")
    whole = [line for line in lines[1:] if "..." not in line]
    assert is_in_order(letters(whole), letters(log)), "the log holds what the screen shows"
    assert sum(line.startswith("Saved checkpoint") for line in log) == 3

    images = tmp_path / ("a_folder_with_a_name_that_is_long_" * 3) / "testing"
    command = [*rayrml, "predict", "--checkpoint", str(out / "model"), str(images), "--output", "out"]
    predicting = Command(command, tmp_path)
    assert predicting.finish() == 0, predicting.written
    lines = show(predicting.written)
    assert max(map(len, lines)) <= 80
    assert any(re.fullmatch("Path +Class +Probability", line) for line in lines)
    assert len(lines) < 45, "the table, and no sections"
    log = read_log(tmp_path / "out")
    assert any("Optimizer" in line or "Neural Network" in line for line in log)
    assert "Saved table: ./out/predictions.csv" in log


@pytest.mark.parametrize(("num_workers", "shown"), [(1, "Preparing the run"), (2, "Starting Ray")])
def test_ctrl_c_is_answered_at_once_while_a_run_starts(config, tmp_path, num_workers, shown):
    command = Command([sys.executable, "-m", "rayrml", str(config), "--num-workers", str(num_workers)], tmp_path)
    command.read_until(shown)
    assert command.interrupt() < 1
    assert command.finish() == 130
    assert show(command.written)[-2] == "rayrml: interrupted"


def read_log(folder):
    """The lines of a log, without the time that each of them has."""
    lines = (folder / "run.log").read_text().splitlines()
    assert all(re.match(STAMP, line) for line in lines)
    return [re.sub(STAMP, "", line) for line in lines]


def letters(lines):
    """The letters of lines: where these are broken does not matter."""
    return [letter for line in lines for letter in line if not letter.isspace() and letter != "\\"]


def is_in_order(some, all_of_them):
    """Whether a list is a part of another one, in the same order."""
    others = iter(all_of_them)
    return all(one in others for one in some)
