"""The option `--device`."""

import argparse
import os

import pytest

from rayrml.commands import configuration
from rayrml.commands.devices import choose_device
from rayrml.errors import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def smi(folder, monkeypatch, script):
    """Put a program called nvidia-smi, as drivers bring it, before all others."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv(VISIBLE, raising=False)


@pytest.mark.parametrize(("name", "gpus"), [("cpu", False), ("cuda", True)])
def test_a_device_without_a_number_changes_nothing_else(name, gpus, monkeypatch):
    monkeypatch.setenv(VISIBLE, "0,1")
    assert choose_device(name, "ray://head:10001") is gpus
    assert os.environ[VISIBLE] == "0,1"


@pytest.mark.parametrize(
    ("visible", "first", "second"), [("0,1", "0", "1"), ("3, 2", "3", "2"), ("GPU-a,GPU-b", "GPU-a", "GPU-b")]
)
def test_numbers_count_the_gpus_that_are_visible(visible, first, second, monkeypatch):
    for name, expected in (("cuda:0", first), ("cuda:1", second)):
        monkeypatch.setenv(VISIBLE, visible)
        assert choose_device(name)
        assert os.environ[VISIBLE] == expected


@pytest.mark.parametrize(("visible", "told"), [("2,3", "2 GPUs"), ("5", "1 GPU"), ("", "no GPUs"), ("-1", "no GPUs")])
def test_a_gpu_that_is_not_visible_is_refused(visible, told, monkeypatch):
    monkeypatch.setenv(VISIBLE, visible)
    with pytest.raises(ConfigError, match=rf"--device: there is no 'cuda:2': {VISIBLE} names {told}\."):
        choose_device("cuda:2")
    assert os.environ[VISIBLE] == visible


def test_a_gpu_that_the_machine_lacks_is_refused(tmp_path, monkeypatch):
    smi(tmp_path, monkeypatch, "printf '0\\n1\\n'")
    assert choose_device("cuda:1")
    assert os.environ[VISIBLE] == "1"
    monkeypatch.delenv(VISIBLE)
    with pytest.raises(ConfigError, match=r"there is no 'cuda:2': this machine has 2 GPUs\. Expected cpu, cuda, or"):
        choose_device("cuda:2")


def test_a_machine_that_does_not_tell_its_gpus_is_left_to_ray(tmp_path, monkeypatch):
    smi(tmp_path, monkeypatch, "exit 9")
    monkeypatch.setattr("rayrml.commands.devices._DRIVER", tmp_path / "none")
    assert choose_device("cuda:4")
    assert os.environ[VISIBLE] == "4"


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:", "cuda:-1", "cpu:0", "", "CUDA"])
def test_another_device_is_refused(name):
    with pytest.raises(ConfigError, match=f"unknown device '{name}'"):
        choose_device(name)


def test_apples_gpus_are_refused_with_the_reason():
    with pytest.raises(ConfigError, match="Apple's GPUs are not used: they lack the 64-bit floats"):
        choose_device("mps")


@pytest.mark.parametrize("how", ["option", "key", "file", "variable"])
def test_a_numbered_gpu_cannot_be_chosen_on_a_cluster(how, monkeypatch):
    monkeypatch.setenv(VISIBLE, "0,1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    words = {"option": ["--address", "auto"], "key": ["--set", "ray.address=auto"]}.get(how, [])
    if how == "variable":
        monkeypatch.setenv("RAY_ADDRESS", "auto")
    parser = argparse.ArgumentParser()
    configuration.add_options(parser)
    options = parser.parse_args(["c.json", "--device", "cuda:1", *words])
    values = {"ray": {"address": "auto" if how == "file" else None}}
    with pytest.raises(ConfigError, match=r"'cuda:1' is a GPU of this machine, but the cluster at auto "):
        configuration._assigned(options, values)
    assert os.environ[VISIBLE] == "0,1"
