"""A search is valid if each of its values is, and if its trials can be compared."""

import pytest

from rayrml import cli
from rayrml.errors import ConfigError
from rayrml.tuning import search
from tests import generation
from tests.conftest import training_config, write_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("search")
    write_digits(path / "training", "training", (1, 4, 7), 3)
    write_digits(path / "testing", "testing", (1, 4, 7), 1)
    return path


@pytest.fixture
def config(folder, tmp_path):
    config = training_config(folder, tmp_path)
    config["neural_network"]["optimizer"] = {
        "type": {"choice": ["Adam", "SGD"]},
        "learning_rate": {"loguniform": [1e-3, 1e-1]},
    }
    return config


def test_the_metric_decides_or_else_a_loss(config):
    assert (search.prepare(config, {}).figure, search.prepare(config, {}).largest) == ("accuracy", True)
    assert search.prepare(config, {"metric": "f1"}).figure == "f1"
    for key in ("test_input_path", "test_output_path"):
        del config["neural_network"]["data"][key]
    found = search.prepare(config, {"num_epochs": {"choice": [3, 7, 5]}})
    assert (found.figure, found.largest, found.num_epochs) == ("train_loss", False, 7)


def test_without_spaces_there_is_no_search(config):
    assert search.prepare(config, {"optimizer": {"type": "Adam"}}) is None


def test_every_value_is_checked_and_each_mistake_is_told_once_with_its_line(config, tmp_path):
    nn = config["neural_network"]
    nn["optimizer"] |= {"momentum": {"uniform": [-1, 0.5]}, "type": {"choice": ["SGD", "Adam", "Adan"]}}
    nn["gradient_clip"] = {"choice": [1.0, "none"]}
    path = write_config(tmp_path / "config.json", config)
    with pytest.raises(ConfigError) as caught:
        search.prepare(path, {})
    told = list(map(str, caught.value.problems))
    assert len(told) == len(set(told)) == 4
    assert all(line.startswith(f"{path}:1: ") for line in told)
    for where, what in (
        ("optimizer.momentum", "greater than or equal to 0"),
        ("optimizer.momentum", "unknown key. Adam takes"),
        ("optimizer.type", "Adan"),
        ("gradient_clip", "none"),
    ):
        assert any(where in line and what in line for line in told), (where, what, told)
    assert any('(with optimizer.type = "Adan")' in line for line in told)


def test_losses_with_different_metrics_need_one_that_all_report(config, folder):
    nn = config["neural_network"]
    nn["loss"] = {"choice": [{"function": "NLL"}, {"function": "Dice", "source": "log_softmax"}]}
    with pytest.raises(ConfigError, match="NLL reports accuracy and Dice reports dice"):
        search.prepare(config, {})
    assert search.prepare(config, {"metric": "accuracy"}).figure == "accuracy"
    del nn["data"]["test_input_path"], nn["data"]["test_output_path"]
    with pytest.raises(ConfigError, match="different losses cannot be compared"):
        search.prepare(config, {"metric": "accuracy"})


def test_generators_are_compared_by_the_least_distance_whatever_their_loss_is(tmp_path):
    config = generation.configuration(tmp_path, loss={"gradient_penalty": {"choice": [1, 10]}})
    found = search.prepare(config, {})
    assert (found.figure, found.largest) == ("swd", False)
    del config["neural_network"]["data"]["test_input_path"]
    with pytest.raises(ConfigError, match="do not say which trial is better"):
        search.prepare(config, {})


def test_a_metric_needs_a_loss_that_knows_classes(config):
    config["neural_network"]["optimizer"]["type"] = "SGD"
    with pytest.raises(ConfigError, match=r"neural_network\.metric: 'f1' compares classes, but MSE"):
        search.prepare(config, {"metric": "f1", "loss": {"function": "MSE"}})


def test_check_shows_what_is_searched_for_and_the_run_with_the_first_values(config, tmp_path, capsys):
    assert cli.main(["check", str(write_config(tmp_path / "config.json", config))]) == 0
    shown = capsys.readouterr().out
    assert 'one of "Adam", "SGD"' in shown
    assert "loguniform from 0.001 to 0.1" in shown
    assert "highest accuracy of any epoch" in shown
    assert "* Type                        : Adam" in shown


def test_a_run_names_the_verb_for_it(config, tmp_path, capsys):
    path = write_config(tmp_path / "config.json", config)
    assert cli.main(["run", str(path)]) == 2
    assert "neural_network.optimizer.type: is a search space: use `rayrml tune`" in capsys.readouterr().err
