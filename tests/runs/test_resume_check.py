"""A run that is resumed with another configuration: what is used is what it says."""

import json

import pytest
import torch

import rayrml
from rayrml.errors import ConfigError, DataError
from rayrml.losses.detection import grids_of
from rayrml.planning.preparation import prepare
from rayrml.runs.resume_check import resume_plan
from rayrml.saving import checkpoints
from tests import generation
from tests.box_data import configuration, write_images
from tests.conftest import training_config

pytestmark = pytest.mark.ray


@pytest.fixture
def config(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (1, 4, 7), 8)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 3)
    return training_config(tmp_path, tmp_path)


def rates(result):
    return [figures["learning_rate"] for figures in result.history]


def test_the_rate_and_the_schedule_are_those_of_the_configuration(ray_cluster, config, tmp_path, capsys):
    rayrml.run(config, quiet=True)
    result = rayrml.run(config, overrides={"optimizer.learning_rate": 0.01, "num_epochs": 3}, resume=True, quiet=True)
    assert rates(result) == [0.1, 0.1, 0.01]
    schedule = {"type": "Step", "gamma": 0.5, "step_size": 1}
    overrides = {"optimizer.lr_scheduler": schedule, "num_epochs": 5}
    result = rayrml.run(config, overrides=overrides, resume=True, quiet=True)
    assert rates(result)[3:] == pytest.approx([0.1 * 0.5**3, 0.1 * 0.5**4])
    resolved = json.loads((tmp_path / "model" / "config.resolved.json").read_text())
    assert resolved["neural_network"]["optimizer"]["learning_rate"] == 0.1


def test_another_optimizer_starts_without_a_state_and_the_log_says_so(ray_cluster, config, capsys):
    rayrml.run(config, quiet=True)
    result = rayrml.run(config, overrides={"optimizer": {"type": "Adam"}, "num_epochs": 3}, resume=True)
    assert "The optimizer was SGD and is now Adam. It starts without a state\n" in capsys.readouterr().out
    last = checkpoints.load(result.checkpoints[-1])
    assert last.optimizer_type == "Adam"
    assert all(torch.equal(state["step"], torch.tensor(3.0)) for state in last.optimizer["state"].values())


def test_another_network_or_other_classes_are_refused(ray_cluster, config, tmp_path):
    rayrml.run(config, quiet=True)
    (tmp_path / "training" / "7").rename(tmp_path / "training" / "8")
    (tmp_path / "testing" / "7").rename(tmp_path / "testing" / "8")
    with pytest.raises(DataError, match=r"distinguishes the classes 1, 4, 7, but the samples have 1, 4, 8"):
        rayrml.run(config, overrides={"num_epochs": 3}, resume=True, quiet=True)
    (tmp_path / "training" / "8").rename(tmp_path / "training" / "7")
    (tmp_path / "testing" / "8").rename(tmp_path / "testing" / "7")
    layers = config["neural_network"]["layers"]
    config["neural_network"]["layers"] = [
        *layers[:-1],
        {**layers[-1], "config": {**layers[-1]["config"], "name": "new"}},
    ]
    with pytest.raises(ConfigError, match=r"the network is not that of .*'new.weight' is new"):
        rayrml.run(config, overrides={"num_epochs": 3}, resume=True, quiet=True)


def test_another_activation_is_refused_and_another_dropout_is_told(ray_cluster, config, tmp_path, capsys):
    layers = config["neural_network"]["layers"]
    layers.insert(2, {"class_name": "Dropout", "config": {"name": "drop", "rate": 0.5}})
    rayrml.run(config, quiet=True)
    layers[1]["config"]["activation"] = "tanh"
    message = (
        r"neural_network\.layers: the network is not that of .*: 'conv' had activation relu and now has tanh\. Use"
    )
    with pytest.raises(ConfigError, match=message):
        rayrml.run(config, overrides={"num_epochs": 3}, resume=True, quiet=True)
    layers[1]["config"]["activation"] = "relu"
    layers[2]["config"]["rate"] = 0.25
    capsys.readouterr()
    rayrml.run(config, overrides={"num_epochs": 3}, resume=True)
    said = "Layers have changed in ways that only matter for training: 'drop' had rate 0.5 and now has 0.25\n"
    assert said in capsys.readouterr().out


def test_the_best_checkpoint_follows_the_metric_of_the_configuration(ray_cluster, config, tmp_path):
    rayrml.run(config, overrides={"num_epochs": 1}, quiet=True)
    overrides = {"num_epochs": 3, "metric": "f1", "checkpoints.keep": "last"}
    result = rayrml.run(config, overrides=overrides, resume=True, quiet=True)
    best = max(result.history[1:], key=lambda figures: (figures["f1"], -figures["test_loss"]))
    assert checkpoints.load(tmp_path / "model" / "best.pt").epoch == best["epoch"]
    assert (tmp_path / "model" / "history.csv").read_text().splitlines()[0].endswith("accuracy,f1")


def test_anchors_that_were_found_stay_those_of_the_first_epochs(tmp_path):
    """Boxes that were added would give others; anchors that the configuration names are its own."""
    write_images(tmp_path)
    before = prepare(configuration(tmp_path))
    path = tmp_path / "last_epoch.pt"
    loss = {"function": "YOLOv3", **before.loss.arguments}
    kept = {"layers": before.layers, "classes": before.classes, "loss": loss, "input_shape": (3, 64, 64)}
    checkpoints.save(path, checkpoints.Checkpoint(1, before.network.state_dict(), **kept))
    write_images(tmp_path, {"e": ["0 0.5 0.5 1 1", "1 0.5 0.5 0.9 0.9"], "f": ["1 0.5 0.5 0.8 1"]})
    after = prepare(configuration(tmp_path))
    assert after.loss.settings["anchors"] != before.loss.settings["anchors"]
    plan, said = resume_plan(after, [str(path)])
    assert grids_of(plan.loss.build()) == grids_of(before.loss.build())
    assert [line.partition(": ")[0] for line in said if "anchors" in line] == [
        "The training samples have changed. The anchors stay those of the first epochs"
    ]
    given = prepare(configuration(tmp_path, loss__anchors=[[9, 9]] * 4))
    plan, said = resume_plan(given, [str(path)])
    assert plan.loss.settings == given.loss.settings
    assert any(line.startswith("The loss was YOLOv3 with anchors: ") for line in said)
    assert not any("anchors" in line for line in resume_plan(before, [str(path)])[1])


def test_what_has_changed_in_a_critic_is_told_and_another_one_is_refused(tmp_path):
    kept = generation.run_here(generation.configuration(tmp_path, num_epochs=1)).saved[-1]
    optimizer = {"type": "SGD", "learning_rate": 1e-3}
    slopes = [
        {**layer, "config": {**layer["config"], "alpha": 0.1}} if layer["class_name"] == "LeakyReLU" else layer
        for layer in generation.CRITIC
    ]
    for critic, complaint in [
        ({"layers": generation.CRITIC}, None),
        ({"layers": generation.CRITIC, "optimizer": optimizer}, "Critic: The optimizer was Adam and is now SGD. It "),
        ({"layers": slopes}, "Critic: Layers have changed in ways that only matter for training: "),
    ]:
        plan = prepare(generation.configuration(tmp_path, num_epochs=2, critic=critic))
        changes = resume_plan(plan, [kept])[1]
        assert [sentence[: len(complaint or "")] for sentence in changes] == ([complaint] if complaint else [])
    wider = [
        {**layer, "config": {**layer["config"], "units": 20}} if layer["config"]["name"] == "hidden" else layer
        for layer in generation.CRITIC
    ]
    plan = prepare(generation.configuration(tmp_path, num_epochs=2, critic={"layers": wider}))
    with pytest.raises(ConfigError, match=r"neural_network.critic.layers: the critic is not that of"):
        resume_plan(plan, [kept])
