"""The configurations and the Python that the guide shows are those that there are."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from rayrml.cli import main
from rayrml.commands import VERBS
from rayrml.errors import ClusterError, ConfigError, DataError, DivergenceError
from rayrml.planning.preparation import prepare
from tests.conftest import ROOT, dense_network, write_jpeg

GUIDE = ROOT / "examples" / "guide"
WITH_PYTHON = [path for path in (ROOT / "README.md", *GUIDE.glob("*.md")) if "```python" in path.read_text()]


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), flags=re.DOTALL)


def test_the_section_for_workers_is_accepted(tmp_path, digits):
    shown, meeting = (block for block in blocks(GUIDE / "clusters.md", "json") if block.startswith('"ray"'))
    images, _ = digits["training"]
    for number in range(2):
        write_jpeg(tmp_path / "in" / str(number) / "0.jpg", images[number])
    data = {"type": "images", "target_type": "labels", "input_path": str(tmp_path / "in"), "grayscale": True}
    network = {"layers": dense_network(2), "data": data, "loss": {"function": "NLL"}, "optimizer": {"type": "SGD"}}
    plan = prepare({"neural_network": network, **json.loads("{" + shown + "}")}, {})
    assert (plan.config.ray.num_workers, plan.config.ray.address) == (4, "auto")
    ray = prepare({"neural_network": network, **json.loads("{" + meeting + "}")}, {}).config.ray
    assert (ray.interface, ray.timeout_s, ray.env_vars) == ("eth0", 600, {"NCCL_DEBUG": "INFO"})


def test_the_section_for_slices_is_that_of_the_example():
    _, shown = (json.loads("{" + block + "}") for block in blocks(GUIDE / "data.md", "json"))
    whole = json.loads((ROOT / "examples" / "volume" / "config.json").read_text())["neural_network"]["data"]
    slicers, expected = shown["data"].pop("slicers"), whole.pop("slicers")
    assert shown["data"].items() <= whole.items()
    assert [slicer.items() <= other.items() for slicer, other in zip(slicers, expected, strict=True)] == [True]


def test_the_sections_for_boxes_are_those_of_the_example():
    (shown,) = (json.loads("{" + block + "}") for block in blocks(GUIDE / "detection.md", "json"))
    whole = json.loads((ROOT / "examples" / "detection" / "config.json").read_text())["neural_network"]
    assert shown.pop("data").items() <= whole["data"].items()
    assert shown.items() <= whole.items()


def test_the_sections_for_a_generator_are_those_of_the_example():
    (shown,) = (json.loads("{" + block + "}") for block in blocks(GUIDE / "generating.md", "json"))
    whole = json.loads((ROOT / "examples" / "gan" / "config.json").read_text())["neural_network"]
    assert shown == {key: whole[key] for key in shown}


def test_the_example_of_a_generator_becomes_a_plan(tmp_path, digits, monkeypatch):
    shutil.copytree(ROOT / "examples" / "gan", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for part in ("training", "testing"):
        images, labels = digits[part]
        for digit in range(10):
            write_jpeg(tmp_path / "mnist" / part / str(digit) / "0.jpg", images[labels == digit][0])
    plan = prepare("config.json")
    assert [network.num_trainable_parameters for network in (plan.network, plan.critic.network)] == [116_721, 113_729]
    classifier = prepare("classifier.json")
    assert classifier.network.output_shapes == ((10,),)


def test_the_section_for_all_samples_in_one_array_becomes_a_plan(tmp_path, monkeypatch):
    shown, _ = (json.loads("{" + block + "}") for block in blocks(GUIDE / "data.md", "json"))
    monkeypatch.chdir(tmp_path)
    np.save("x_train.npy", np.zeros((12, 28, 28)))
    np.save("y_train.npy", np.arange(12) % 10)
    network = {"layers": dense_network(10), "loss": {"function": "NLL"}, "optimizer": {"type": "SGD"}}
    assert len(prepare({"neural_network": {**network, **shown}}).training.samples) == 12


def test_the_ways_to_update_weights_become_a_plan(tmp_path, digits):
    fine_tuning, average = (json.loads("{" + block + "}") for block in blocks(GUIDE / "training.md", "json"))
    images, _ = digits["training"]
    for number in range(2):
        write_jpeg(tmp_path / "in" / str(number) / "0.jpg", images[number])
    layers = dense_network(2)
    layers[1]["config"]["name"], layers[3]["config"]["name"] = "encoder_1", "encoder_4a"
    data = {"type": "images", "target_type": "labels", "input_path": str(tmp_path / "in"), "grayscale": True}
    network = {"layers": layers, "data": data, "loss": {"function": "NLL"}, "num_epochs": 9, **fine_tuning, **average}
    plan = prepare({"neural_network": network})
    assert (plan.unfreezing, plan.rates) == ({"encoder_4a": 3, "encoder_1": 6}, {"encoder_1": 0.1, "encoder_4a": 0.1})


def test_the_search_is_that_of_the_example():
    page = (GUIDE / "tuning.md").read_text()
    (shown,) = re.findall(r'^    "optimizer": \{\n(?:    .*\n)+', page, flags=re.MULTILINE)
    whole = json.loads((ROOT / "examples" / "segmentation" / "tune.json").read_text())["neural_network"]
    assert json.loads("{" + shown + "}").items() <= whole.items()


@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda path: path.name)
def test_the_python_shown_compiles(path):
    for block in blocks(path, "python"):
        compile(block.split(">>>")[0], path.name, "exec")


def test_every_command_is_listed():
    page = (GUIDE / "commands.md").read_text()
    assert all(f"`rayrml {name} " in page or f"`rayrml {name}`" in page for name in VERBS)


@pytest.mark.parametrize("page", sorted(GUIDE.glob("*.md")), ids=lambda page: page.stem)
def test_the_commands_in_sentences_have_the_options_that_they_show(page, capsys):
    shown = {command.split(" > ")[0] for command in re.findall(r"`rayrml ([^`\n]+)`", page.read_text())}
    for command in sorted(shown):
        with contextlib.suppress(SystemExit):
            main([*shlex.split(command), "--no-such-option"])
        complaint = capsys.readouterr().err
        assert "unrecognized arguments: --no-such-option." in complaint or "unrecognized" not in complaint, command


def test_every_exit_code_of_an_error_is_listed():
    codes = {error.exit_code for error in (ConfigError, DataError, ClusterError, DivergenceError)}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", (GUIDE / "commands.md").read_text(), re.MULTILINE)}
    assert codes | {0, 1, 5, 130, 143} == listed


def test_the_configuration_that_extends_another_becomes_a_plan(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples" / "segmentation", tmp_path / "segmentation")
    monkeypatch.chdir(tmp_path / "segmentation")
    monkeypatch.setenv("RUNS", "mine")
    subprocess.run([sys.executable, "draw.py", "--training", "4", "--testing", "2"], check=True, capture_output=True)
    plan, other = prepare("bce.yaml"), prepare("config.json")
    assert (plan.loss.name, other.loss.name) == ("BCE", "Dice")
    assert plan.config.neural_network.checkpoints.save == f"{tmp_path}/segmentation/mine/bce_model"
    assert plan.config.neural_network.checkpoints.interval == 6
    assert plan.config.neural_network.optimizer == other.config.neural_network.optimizer
    (shown,) = blocks(GUIDE / "formats.md", "yaml")
    assert shown == (ROOT / "examples" / "segmentation" / "bce.yaml").read_text()
