import json

import pytest

from rayrml.config.reading import read_configuration
from rayrml.errors import ConfigError, DataError
from rayrml.planning.preparation import prepare

HINT = "exists beside the configuration, but paths are relative to the current folder"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration whose paths are meant relative to its own folder, `conf`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "images").mkdir(parents=True)
    for name in ("net.json", "w.pt"):
        (tmp_path / "conf" / name).write_text("[]")
    data = {"type": "images", "target_type": "labels", "input_path": "./images", "test_input_path": ["images", "none"]}
    network = {"layers": "net.json", "data": data, "checkpoints": {"load": "w.pt"}}
    network |= {"optimizer": {"type": "SGD"}, "loss": {"function": "NLL"}}
    (tmp_path / "conf" / "c.json").write_text(json.dumps({"neural_network": network}))
    return "conf/c.json"


def hinted(path, overrides=None):
    """The places whose paths exist beside the configuration."""
    with pytest.raises((ConfigError, DataError)) as caught:
        prepare(path, overrides)
    return {problem.where for problem in caught.value.problems if HINT in problem.message}


def test_paths_of_inputs_that_exist_beside_the_configuration_are_named(config):
    network = "neural_network"
    assert hinted(config, {"checkpoints.load": None}) == {
        f"{network}.layers",
        f"{network}.data.input_path",
        f"{network}.data.test_input_path",
    }
    assert f"{network}.checkpoints.load" in hinted(config)
    with pytest.raises((ConfigError, DataError), match=r"'conf/./images' exists beside the configuration"):
        prepare(config)


def test_the_file_that_names_a_path_counts(config, tmp_path):
    (tmp_path / "c.json").write_text('{"extends": "conf/c.json"}')
    assert "neural_network.data.input_path" in hinted("c.json")


def test_other_paths_have_no_hint(config, tmp_path, monkeypatch):
    places = {"layers": "no.json", "data.input_path": "no", "data.test_input_path": "/no", "checkpoints.load": "~/no"}
    assert not hinted(config, places)
    monkeypatch.chdir(tmp_path / "conf")
    assert not hinted("c.json", {"data.test_input_path": "none"})
    assert not hinted(read_configuration({"neural_network": {"layers": "net.json", "data": {"input_path": "no"}}}))
