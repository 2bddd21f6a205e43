"""Complete runs with each way of updating weights: any number of workers and any interruption give the same."""

import copy
import itertools

import pytest
import torch

import rayrml
from rayrml.errors import ConfigError
from rayrml.inference.outputs import Outputs
from rayrml.planning.preparation import prepare
from rayrml.reporting.messages import BatchesTrained, Interrupted
from rayrml.runs.training_run import make_job
from rayrml.saving import checkpoints
from rayrml.training.epoch_loop import Worker
from rayrml.workers import Workers
from tests.conftest import dense_network, training_config

pytestmark = pytest.mark.ray

CLASSES = (1, 4, 7)
EPOCHS = 4


def _normalized():
    """The network with batch normalization after each of its layers with weights but the last."""
    found = []
    for layer in dense_network(3):
        found.append(layer)
        if layer["class_name"] == "Conv2D":
            found.append({"class_name": "BatchNormalization", "config": {"name": f"{layer['config']['name']}_norm"}})
    return found


WAYS = {
    "groups": {
        "optimizer": {
            "type": "AdamW",
            "weight_decay": 0.3,
            "decay_all": False,
            "learning_rates": {"conv": 0.1, "conv*": 0.5},
        },
    },
    "steps": {
        "optimizer": {
            "type": "SGD",
            "momentum": 0.5,
            "lr_scheduler": [
                {"type": "Warmup", "num_epochs": 1, "start_factor": 0.1, "per": "step"},
                {"type": "Cosine", "per": "step"},
            ],
        },
        "ema": {"decay": 0.9},
    },
    "frozen": {
        "optimizer": {"type": "SGD", "momentum": 0.9, "dampening": 0.1},
        "unfreeze": [{"epoch": 2, "layers": "conv_2"}, {"epoch": 3, "layers": ["conv*"]}],
        "ema": {},
    },
    "fp16": {"precision": "fp16"},
    "divided": {
        "optimizer": {"type": "SGD", "momentum": 0.9, "learning_rates": {"conv*": 0.5}},
        "unfreeze": {"epoch": 3, "layers": "conv_2"},
        "ema": {},
    },
    "normalized": {
        "layers": _normalized(),
        "optimizer": {"type": "SGD", "momentum": 0.5, "accumulate": 2},
        "activation_checkpointing": ["conv", "conv_norm"],
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("runs")
    write_digits(path / "training", "training", CLASSES, 9)
    write_digits(path / "testing", "testing", CLASSES, 4)
    return path


def configuration(folder, out, way, **settings):
    """Streamed, as preloaded samples are in other batches with another number of workers."""
    out.mkdir(exist_ok=True)
    config = training_config(folder, out)
    nn = config["neural_network"] | {"num_epochs": EPOCHS} | copy.deepcopy(WAYS[way]) | settings
    nn["data"].pop("test_output_path")
    nn["data"]["final_test_input_path"] = nn["data"]["test_input_path"]
    return {"neural_network": nn} | ({"ray": {"sharding": "zero1"}} if way == "divided" else {})


@pytest.fixture(scope="module")
def straight(ray_cluster, folder):
    """way -> the uninterrupted run with one worker."""
    return {way: rayrml.run(configuration(folder, folder / way, way), quiet=True) for way in WAYS}


def last(result):
    return checkpoints.load(result.checkpoints[-1])


@pytest.mark.parametrize(("way", "num_workers"), list(zip(WAYS, (2, 3, 3, 3, 2, 3), strict=True)))
def test_several_workers_train_what_one_trains(straight, folder, tmp_path, way, num_workers):
    rounding = 5e-2 if way == "fp16" else 1e-5
    result = rayrml.run(configuration(folder, tmp_path / "out", way), num_workers=num_workers, quiet=True)
    for epoch, other in zip(result.history, straight[way].history, strict=True):
        assert epoch["learning_rate"] == other["learning_rate"]
        assert epoch["test_loss"] == pytest.approx(other["test_loss"], rel=max(rounding, 1e-4))
    one, other = last(straight[way]).network, last(result).network
    assert all(torch.allclose(one[name], other[name], atol=rounding) for name in one)


class Impatient:
    """A driver that asks to stop after some batches."""

    def __init__(self, batches):
        self.left = batches
        self.messages = []

    def emit(self, message):
        self.messages.append(message)

    def asked_to_stop(self):
        self.left -= 1
        return self.left < 0

    def unwritten(self):
        return ()


@pytest.mark.parametrize(
    ("way", "batches"), [("groups", 6), ("steps", 6), ("frozen", 6), ("frozen", 9), ("fp16", 6), ("normalized", 6)]
)  # 4 an epoch
def test_a_run_that_is_resumed_in_an_epoch_is_the_uninterrupted_one_bit_for_bit(
    straight, folder, tmp_path, way, batches
):
    config, driver = configuration(folder, tmp_path, way), Impatient(batches)
    job = make_job(prepare(config), state_folder=str(tmp_path / "model"))
    Worker(job, Workers(), torch.device("cpu"), driver=driver, outputs=Outputs()).run()
    assert isinstance(driver.messages[-1], Interrupted)
    expect_the_same(rayrml.run(config, resume=True, quiet=True), straight[way])


@pytest.mark.parametrize("way", WAYS)
def test_the_recorded_configuration_is_accepted_and_means_the_same(straight, folder, way):
    again = prepare(str(folder / way / "model" / "config.resolved.json"))
    given = prepare(configuration(folder, folder / way, way))
    for name in ("rates", "unfreezing"):
        assert getattr(again, name) == getattr(given, name)
    assert again.options.decay_all == given.options.decay_all
    assert again.config.neural_network.ema == given.config.neural_network.ema
    assert again.optimizer.settings == given.optimizer.settings


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_resumed_after_an_epoch_is_the_uninterrupted_one_bit_for_bit(straight, folder, tmp_path, way):
    # The cosine ends with the run, so it must not be a shorter one.
    config, driver = configuration(folder, tmp_path, way), Impatient(9)
    job = make_job(prepare(config), state_folder=str(tmp_path / "model"))
    Worker(job, Workers(), torch.device("cpu"), driver=driver, outputs=Outputs()).run()
    (tmp_path / "model" / "interrupted.pt").unlink()
    expect_the_same(rayrml.run(config, resume=True, quiet=True), straight[way])


@pytest.mark.parametrize("sharding", ["zero1", "fsdp"])
def test_a_divided_run_goes_on_with_another_number_of_workers(straight, folder, tmp_path, sharding):
    """The checkpoints are those of one worker: two workers begin, one goes on, and three end."""
    config = configuration(folder, tmp_path, "divided")
    config["ray"]["sharding"] = sharding
    config["neural_network"]["checkpoints"]["every_minutes"] = 1e-4
    for num_epochs, num_workers in ((2, 2), (3, 1), (EPOCHS, 3)):
        config["neural_network"]["num_epochs"] = num_epochs
        result = rayrml.run(config, num_workers=num_workers, resume=num_epochs > 2, quiet=True)
    one, other = last(straight["divided"]), last(result)
    for mine, theirs in ((one.network, other.network), (one.in_training, other.in_training)):
        assert all(torch.allclose(mine[name], theirs[name], atol=1e-5) for name in mine)
        assert {name: tensor.shape for name, tensor in mine.items()} == {n: t.shape for n, t in theirs.items()}
    assert one.optimizer["state"].keys() == other.optimizer["state"].keys()
    assert sorted(one.parameters) == sorted(other.parameters)
    assert result.final_test == pytest.approx(straight["divided"].final_test, rel=1e-4)


def expect_the_same(resumed, straight):
    one, other = last(straight), last(resumed)
    for mine, theirs in ((one.network, other.network), (one.in_training, other.in_training)):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    for key in ("train_loss", "test_loss", "accuracy", "learning_rate"):
        assert [h[key] for h in resumed.history] == [h[key] for h in straight.history]


def test_a_decay_that_is_0_is_told(folder, tmp_path):
    optimizer = {"type": "AdamW", "decay_all": False}
    (warning,) = prepare(configuration(folder, tmp_path, "groups", optimizer=optimizer)).warnings
    assert warning == '"decay_all": false has no effect: "weight_decay" of the optimizer is 0'
    assert not prepare(configuration(folder, tmp_path, "groups")).warnings


def test_frozen_layers_keep_their_weights_until_their_epoch_begins(straight):
    weights = [checkpoints.load(path).in_training for path in straight["frozen"].checkpoints]
    moved = {
        name: [not torch.equal(before[name], after[name]) for before, after in itertools.pairwise(weights)]
        for name in ("conv.weight", "conv_2.bias", "dense.weight")
    }
    assert moved == {"conv.weight": [False, True, True], "conv_2.bias": [True] * 3, "dense.weight": [True] * 3}


@pytest.mark.parametrize("way", ["steps", "frozen"])
def test_the_final_test_takes_the_average_of_the_best_epoch(straight, way):
    result = straight[way]
    (best,) = (figures for figures in result.history if figures["epoch"] == result.final_test["epoch"])
    assert result.final_test["loss"] == pytest.approx(best["test_loss"], rel=1e-6)


def test_the_average_is_what_is_evaluated_and_kept(straight, folder, tmp_path, capsys):
    result, config = straight["steps"], configuration(folder, tmp_path, "steps")
    kept = last(result)
    assert any(not torch.equal(kept.network[name], tensor) for name, tensor in kept.in_training.items())
    nn = config["neural_network"]
    del (
        nn["data"]["input_path"],
        nn["data"]["final_test_input_path"],
        nn["checkpoints"]["save"],
        nn["checkpoints"]["interval"],
    )
    nn["checkpoints"]["load"] = result.checkpoints[-1]
    assert rayrml.run(config).metrics["test_loss"] == pytest.approx(result.history[-1]["test_loss"], rel=1e-6)
    assert "The weights are the checkpoint's moving average (ema)" in capsys.readouterr().out


def test_rates_change_within_epochs_and_are_shown(straight, folder, tmp_path):
    assert [h["learning_rate"] for h in straight["steps"].history] == pytest.approx(
        [0.001, 0.01, 0.0075, 0.0025], rel=1e-6
    )
    driver = Impatient(100)
    job = make_job(prepare(configuration(folder, tmp_path, "steps")), state_folder=None)
    worker = Worker(job, Workers(), torch.device("cpu"), driver=driver, outputs=Outputs())
    worker.run()
    shown = [message.learning_rate for message in driver.messages if isinstance(message, BatchesTrained)]
    assert min(shown) < 0.0025  # in the last epoch, the rate falls further


def test_layers_that_the_json_freezes_are_unfrozen_where_they_are_named(ray_cluster, folder, tmp_path):
    layers = dense_network(3)
    layers[1]["config"]["trainable"] = False
    result = rayrml.run(
        configuration(folder, tmp_path, "frozen", layers=layers, unfreeze={"epoch": 3, "layers": "conv"}), quiet=True
    )
    first, second, third, _ = (checkpoints.load(path).in_training["conv.weight"] for path in result.checkpoints)
    assert torch.equal(first, second)
    assert not torch.equal(second, third)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"unfreeze": {"epoch": 2, "layers": "cov"}},
            "unfreeze.layers: 'cov': no layer is called so. Did you mean 'conv'",
        ),
        ({"unfreeze": {"epoch": 2, "layers": "pool"}}, "'pool': chooses 'pool', which has no weights to train"),
        ({"unfreeze": {"epoch": 2, "layers": "*"}}, "unfreeze: nothing to train in the first epoch"),
        ({"unfreeze": {"epoch": 1, "layers": "conv"}}, "unfreeze.epoch: must be greater than or equal to 2, got 1"),
        ({"optimizer": {"type": "SGD", "learning_rates": {"con": 1.0}}}, "learning_rates.con: no layer is called so"),
        (
            {"optimizer": {"type": "SGD", "learning_rates": {"*": 1.0, "conv": 2.0}}},
            "conv: has no effect: names before",
        ),
        ({"optimizer": {"type": "SGD", "learning_rates": {"conv": 0}}}, "learning_rates.conv: must be greater than 0"),
        (
            {"optimizer": {"type": "Hessian", "learning_rates": {"conv": 2.0}}},
            "learning_rates: Hessian moves all weights",
        ),
        ({"optimizer": {"type": "Hessian", "decay_all": False}}, "decay_all: Hessian has no weight_decay"),
        ({"optimizer": {"type": "LAMB", "decay_all": True}}, "decay_all: LAMB never decays biases"),
        (
            {"optimizer": {"type": "SGD", "lr_scheduler": {"type": "Plateau", "per": "step"}}},
            "lr_scheduler.per: unknown key. Plateau takes",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(folder, tmp_path, settings, message):
    with pytest.raises(ConfigError) as caught:
        prepare(configuration(folder, tmp_path, "groups", **settings))
    assert message in str(caught.value)
