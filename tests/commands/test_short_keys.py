"""Keys and options as people type them, and the keys that they mean."""

import argparse

import pytest

from rayrml import cli
from rayrml.commands import configuration, short_keys
from rayrml.config.optimization import OptimizerOptions
from rayrml.config.tables import choose, choose_with
from rayrml.errors import ConfigError
from rayrml.losses import LOSSES
from rayrml.lr_schedulers import choose_schedule
from rayrml.optimizers import OPTIMIZERS

VALUES = {
    "neural_network": {
        "optimizer": {"type": "sgd", "lr_scheduler": {"type": "Step"}},
        "loss": {"function": "Huber"},
    }
}


@pytest.mark.parametrize(
    ("short", "meant"),
    [
        ("lr", "optimizer.learning_rate"),
        ("learning_rate", "optimizer.learning_rate"),
        ("momentum", "optimizer.momentum"),
        ("delta", "loss.delta"),
        ("step_size", "optimizer.lr_scheduler.step_size"),
        ("epochs", "num_epochs"),
        ("num_epochs", "num_epochs"),
        ("seed", "seed"),
        ("batch_size", "data.batch_size"),
        ("workers", "ray.num_workers"),
        ("patience", "early_stopping.patience"),
        ("save", "checkpoints.save"),
        ("optimizer.momentum", "optimizer.momentum"),
        ("ray.address", "ray.address"),
        ("batchsize", "batchsize"),
    ],
)
def test_a_short_key_means_the_one_key_of_that_name(short, meant):
    assert short_keys.complete(short, VALUES) == meant


def test_a_name_of_several_keys_is_refused_with_all_of_them():
    values = {"neural_network": {"optimizer": {"type": "LAMB"}, "loss": {"function": "Dice"}}}
    with pytest.raises(ConfigError, match=r"eps: may mean optimizer\.eps or loss\.eps\. Expected one of these"):
        short_keys.complete("eps", values)


def test_a_row_that_does_not_exist_has_the_keys_that_it_is_given():
    values = {"neural_network": {"optimizer": {"type": "Adamm", "learning_rate": 0.1}}}
    assert short_keys.complete("lr", values) == "optimizer.learning_rate"
    assert short_keys.complete("lr", []) == "lr"


def typed(*words):
    """What the command line sets, with the options of `rayrml run`."""
    parser = argparse.ArgumentParser()
    configuration.add_options(parser)
    options = parser.parse_args(cli._as_verb(list(words))[1:])
    return options.file, configuration._assigned(options, VALUES)


@pytest.mark.parametrize("words", [("c.json",), ("run", "c.json"), ("train", "c.json")])
def test_a_configuration_can_be_followed_by_keys(words):
    assert typed(*words, "lr=0.1", "--quiet", "data.batch_size=4") == (
        "c.json",
        {"optimizer.learning_rate": 0.1, "data.batch_size": 4},
    )


def test_the_value_of_an_option_is_no_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert typed("c.json", "--set", "seed=3", "--address", "a=b") == ("c.json", {"seed": 3, "ray.address": "a=b"})
    (tmp_path / "a=1.json").write_text("{}")
    assert typed("a=1.json") == ("a=1.json", {})


def test_options_of_other_tools_set_the_same_keys():
    words = ("--epochs", "7", "--batch-size", "16", "--lr", "1e-3", "--workers", "2", "--device", "cpu")
    assert typed("c.json", *words)[1] == {
        "num_epochs": 7,
        "data.batch_size": 16,
        "optimizer.learning_rate": 1e-3,
        "ray.num_workers": 2,
        "ray.use_gpu": False,
    }


def test_help_is_a_command(capsys):
    for words in (["help"], ["help", "check"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 0
    assert "usage: rayrml check" in capsys.readouterr().out


@pytest.mark.parametrize(
    "section",
    [
        {"loss": {"function": "bcee"}},
        {"loss": {"function": 3}},
        {"loss": {"functon": "BCE"}},
        {"loss": {"function": "nll", "loss": "bce"}},
        {"optimizer": {"type": "adma"}},
        {"optimizer": {"type": "Adam", "momentum": 0.9, "lr_scheduler": {"type": "Cosine"}}},
        {"optimizer": {"type": "Adam", "lr_scheduler": {"type": "Cosin"}}},
        {"optimizer": {"type": "Adam", "lr_scheduler": {"type": "Step", "step_size": 3, "gama": 0.5}}},
    ],
    ids=str,
)
def test_wrong_rows_are_told_as_their_tables_tell_them(section):
    (found,) = short_keys.find_wrong_rows({"neural_network": section})
    with pytest.raises(ConfigError) as told:
        if "loss" in section:
            choose(LOSSES, section["loss"], "neural_network.loss", "function")
        optimizer = dict(section["optimizer"])
        if (scheduler := optimizer.pop("lr_scheduler", None)) is not None:
            choose_schedule(scheduler, "neural_network.optimizer.lr_scheduler")
        choose_with(OPTIMIZERS, optimizer, "neural_network.optimizer", options=OptimizerOptions)
    assert told.value.problems == (found,)


def test_rows_whose_names_are_right_are_left_to_their_tables():
    right = {"optimizer": {"type": "adam", "learning_rate": "fast"}, "loss": {"function": "mse"}}
    for section in (right, {"loss": None, "optimizer": []}, {"optimizer": {"type": "SGD", "lr_scheduler": [{}]}}, 3):
        assert short_keys.find_wrong_rows({"neural_network": section}) == []
