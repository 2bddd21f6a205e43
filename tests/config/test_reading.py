"""A configuration is read and checked once, whatever it is used for."""

import json
import os

import pytest

from rayrml import cli
from rayrml.cluster import job_submission
from rayrml.config import json_files
from rayrml.config.reading import make_portable, read_configuration
from rayrml.config.sections import Config
from rayrml.errors import ConfigError
from rayrml.runs import launch
from tests import gan_data


@pytest.fixture
def counted(monkeypatch):
    """How often each JSON file is read, by its path, and how often a configuration is checked, under `Config`."""
    counts = {}
    read, validate = json_files.storage.read, Config.model_validate_json

    def counting_read(path, *arguments):
        counts[str(path)] = counts.get(str(path), 0) + 1
        return read(path, *arguments)

    def counting_validate(*arguments, **options):
        counts["Config"] = counts.get("Config", 0) + 1
        return validate(*arguments, **options)

    monkeypatch.setattr(json_files.storage, "read", counting_read)
    monkeypatch.setattr(Config, "model_validate_json", counting_validate)
    return counts


@pytest.fixture
def config(tmp_path, write_digits):
    write_digits(tmp_path / "images", "training", (3, 5), 4)
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 28, 28, 1], "name": "input"}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 2, "activation": "softmax"}},
    ]
    (tmp_path / "network.json").write_text(json.dumps(layers))
    data = {"type": "images", "target_type": "labels", "input_path": str(tmp_path / "images"), "grayscale": True}
    network = {
        "layers": str(tmp_path / "network.json"),
        "data": data,
        "optimizer": {"type": "SGD"},
        "loss": {"function": "MSE"},
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"neural_network": network}))
    return path


def test_check_reads_and_checks_a_configuration_once(config, counted, capsys):
    cli.main(["check", str(config), "--set", "loss.function=NLL"])
    assert "valid" in capsys.readouterr().out
    assert counted == {str(config): 1, "Config": 1, str(config.parent / "network.json"): 1}


@pytest.mark.ray
def test_a_run_reads_and_checks_a_configuration_once(ray_cluster, config, counted):
    launch.run(config, overrides={"loss.function": "NLL"}, quiet=True)
    assert counted[str(config)] == 1
    assert counted["Config"] == 1
    assert counted[str(config.parent / "network.json")] == 1


def test_a_mistake_of_a_file_that_can_be_read_only_once_has_its_line(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"neural_network": {\n"layers": [],\n"data": {"batch_size": 0}}}')
    document = read_configuration(path)
    path.unlink()
    with pytest.raises(ConfigError, match=rf"{path}:3: neural_network.data.batch_size"):
        document.checked()


def test_a_file_names_its_runs_and_a_pipe_does_not(tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    assert read_configuration(tmp_path / "mine.json").name == "mine"
    assert read_configuration({}).name == "run"
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write("{}")
    with os.fdopen(reading):
        assert read_configuration(f"/dev/fd/{reading}").name == "run"


def test_overrides_add_up(tmp_path):
    document = read_configuration({"neural_network": {}}, {"data.batch_size": 3}).with_overrides({"ray.use_gpu": True})
    assert document.values == {"neural_network": {"data": {"batch_size": 3}}, "ray": {"use_gpu": True}}
    assert document.replaced == ("data.batch_size", "ray.use_gpu")
    assert document.with_overrides({}) is document


def test_the_files_of_both_networks_travel_with_a_configuration(tmp_path):
    networks = {"generator": gan_data.generator(), "critic": gan_data.critic()}
    for name, layers in networks.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(layers))
    paths = {"layers": str(tmp_path / "generator.json"), "critic__layers": str(tmp_path / "critic.json")}
    config = read_configuration(gan_data.configuration(tmp_path, **paths)).checked()
    section = make_portable(config)["neural_network"]
    assert (section["layers"], section["critic"]["layers"]) == (networks["generator"], networks["critic"])
    (tmp_path / "job").mkdir()
    job_submission.pack(config, tmp_path / "job", "gan.json")
    section = json.loads((tmp_path / "job" / "gan.json").read_text())["neural_network"]
    packed = [json.loads((tmp_path / "job" / part["layers"]).read_text()) for part in (section, section["critic"])]
    assert packed == [networks["generator"], networks["critic"]]
