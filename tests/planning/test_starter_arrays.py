"""Configurations for arrays of many samples each."""

import numpy as np
import pytest

from rayrml import cli
from rayrml.planning.preparation import prepare

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def save(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / "data" / f"{name}.npy", array)


def answer(folder, capsys):
    code = cli.main(["new", str(folder / "data")])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("shape", "names", "channels"),
    [
        ((12, 10, 2), ("x_train", "y_train", "x_test", "y_test"), "last"),
        ((2, 12, 10), ("XTrain", "yTrain", "XTest", "yTest"), "first"),
        ((12, 10), ("train_images", "train_labels", "test_images", "test_labels"), "first"),
        ((7,), ("xtrain", "ytrain", "xval", "yval"), "first"),
    ],
)
def test_arrays_of_classes_give_a_configuration_that_is_right(tmp_path, capsys, shape, names, channels):
    for inputs, targets, count in ((names[0], names[1], 30), (names[2], names[3], 9)):
        save(tmp_path, **{inputs: RANDOM.normal(5, 2, (count, *shape)), targets: np.arange(count) % 3})
    code, out, err = answer(tmp_path, capsys)
    assert (code, err) == (0, "")
    assert "30 for training, 9 for validation\nEach sample has one of 3 classes\n" in out
    assert (f"channels {channels}: " in out) == (len(shape) > 1)
    plan = prepare("data.json")
    assert (len(plan.training.samples), len(plan.test.samples)) == (30, 9)
    assert plan.network.output_shapes == ((3,),)
    assert not plan.warnings


def test_numbers_are_standardized_by_those_of_the_training(tmp_path, capsys):
    targets = RANDOM.normal(size=(40, 2)) * [3, 50] + 1000
    save(tmp_path, x=RANDOM.normal(size=(40, 9, 9)), y=targets)
    _, out, _ = answer(tmp_path, capsys)
    assert "2 numbers" in out
    assert "There are no arrays for a test" in out
    plan = prepare("data.json")
    assert plan.loss.name == "MSE"
    assert plan.loss.arguments["standardize"]["mean"] == pytest.approx(targets.mean(0).tolist(), rel=1e-5)
    assert plan.config.neural_network.early_stopping is None


def test_rows_of_zeros_and_ones_are_several_classes(tmp_path, capsys):
    save(tmp_path, x=RANDOM.normal(size=(20, 9, 9)), y=RANDOM.integers(0, 2, (20, 4)))
    assert "any of 4 classes" in answer(tmp_path, capsys)[1]
    assert prepare("data.json").loss.name == "BCE"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 9, 9))}, "expected arrays such as x_train.npy and y_train.npy, found x.npy"),
        ({"x": np.zeros((4, 9, 9)), "y": np.zeros(5)}, "holds 5 samples, but its inputs are 4"),
        (
            {"x": np.zeros((4, 9, 9, 9)), "y": np.arange(4)},
            "samples of shape [9, 9, 9], for which nothing can be proposed",
        ),
        ({"x": np.zeros((4, 9, 9)), "y": np.zeros((4, 9, 9))}, "targets of shape [9, 9], for which nothing can be"),
        ({"x": np.zeros((4, 9)), "y": np.array([1, 2, np.nan, 3])}, "holds numbers that are not finite"),
        (
            {"x": np.zeros((4, 9)), "x_train": np.zeros((4, 9)), "y": np.arange(4)},
            "may both be the inputs for training",
        ),
        ({"x": np.array(["a", "b"]), "y": np.arange(2)}, "holds no samples: its shape is [2], of <U1"),
    ],
)
def test_arrays_for_which_there_is_no_proposal_are_one_line(tmp_path, capsys, arrays, message):
    save(tmp_path, **arrays)
    code, _, err = answer(tmp_path, capsys)
    assert code in (2, 3)
    assert message in err
    assert err.count("\n") == 1
