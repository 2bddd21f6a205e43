"""Whole runs whose workers have variables of the environment, and a network interface, from the configuration."""

import json
import subprocess
import sys

import pytest

import rayrml
from rayrml.errors import ClusterError, ConfigError
from tests.conftest import training_config, write_config

pytestmark = pytest.mark.ray
SECRET = "what-nobody-may-see"


@pytest.fixture
def config(tmp_path, write_digits):
    for part, count in (("training", 6), ("testing", 2)):
        write_digits(tmp_path / "data" / part, part, (1, 4, 7), count)
    config = training_config(tmp_path / "data", tmp_path / "out")
    config["neural_network"]["num_epochs"] = 1
    config["ray"] = {"num_workers": 2, "use_gpu": False}
    return config


def test_workers_meet_through_the_interface_and_have_the_variables(tmp_path, config):
    (tmp_path / "started").mkdir()
    # The dynamic linker writes a file for each process that is started with these variables.
    variables = {"LD_DEBUG": "statistics", "LD_DEBUG_OUTPUT": str(tmp_path / "started" / "process"), "TOKEN": SECRET}
    config["ray"] |= {"interface": "lo", "env_vars": variables, "timeout_s": 300}
    command = [sys.executable, "-m", "rayrml", "run", str(write_config(tmp_path / "config.json", config))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "started").iterdir())) >= 2
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert SECRET not in done.stdout + done.stderr
    resolved = json.loads((tmp_path / "out" / "model" / "config.resolved.json").read_text())["ray"]
    assert resolved["env_vars"] == dict.fromkeys(variables)
    assert (resolved["interface"], resolved["timeout_s"]) == ("lo", 300)


def test_an_interface_that_a_node_lacks_ends_the_run_before_workers_wait(ray_cluster, config):
    config["ray"]["interface"] = "nosuch0"
    with pytest.raises(ClusterError) as caught:
        rayrml.run(config, quiet=True)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("ray.interface: node ")
    assert "has no network interface 'nosuch0'. Its interfaces: " in line
    assert "lo (127.0.0.1)" in line


def test_variables_that_a_running_ray_does_not_have_are_refused(ray_cluster, config):
    config["ray"]["env_vars"] = {"TOKEN": SECRET}
    with pytest.raises(
        ConfigError, match=r"^ray\.env_vars: Ray is running in this process without .* TOKEN\."
    ) as caught:
        rayrml.run(config, quiet=True)
    assert SECRET not in str(caught.value)
