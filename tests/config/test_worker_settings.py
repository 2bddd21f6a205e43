"""Variables of the environment, the network interface and the time limit of workers: what is refused, and how."""

import pytest

from rayrml.config.reading import parse
from rayrml.config.worker_settings import hide_variables


def complaints(**ray):
    return [str(problem) for problem in parse({"neural_network": {"layers": [], "data": {}}, "ray": ray})[1]]


def test_variables_are_strings():
    assert not complaints(env_vars={"NCCL_DEBUG": "INFO", "http_proxy": "", "_X1": "1"})
    (number,) = complaints(env_vars={"NCCL_IB_DISABLE": 12345})
    assert number.startswith("ray.env_vars: the value of 'NCCL_IB_DISABLE' is a number. Expected a string")
    (boolean,) = complaints(env_vars={"A": True})
    assert boolean.startswith("ray.env_vars: the value of 'A' is no string")
    (listed,) = complaints(env_vars=["TOKEN=12345"])
    assert listed.startswith("ray.env_vars: expected an object")
    assert "12345" not in number + listed, "values may be secret"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("CUDA_VISIBLE_DEVICES", "'CUDA_VISIBLE_DEVICES' is set by Ray, which gives each worker its GPU"),
        ("cuda_visible_devices", "'cuda_visible_devices' is not read by any program, and 'CUDA_VISIBLE_DEVICES' is"),
        ("OMP_NUM_THREADS", "'OMP_NUM_THREADS' has no effect: each worker takes its share of the CPUs"),
        ("RAY_TRAIN_V2_ENABLED", "'RAY_TRAIN_V2_ENABLED' belongs to Ray"),
        ("WORLD_SIZE", "'WORLD_SIZE' says where a worker is among the others"),
        ("GLOO_SOCKET_IFNAME", "'GLOO_SOCKET_IFNAME' is set by `ray.interface`"),
        ("PYTHONPATH", "'PYTHONPATH' would have workers find other packages"),
        ("NAME=VALUE", "'NAME=VALUE' is no name of a variable"),
        ("", "'' is no name of a variable"),
    ],
)
def test_variables_that_contradict_what_is_set_for_workers_are_refused(name, complaint):
    (found,) = complaints(env_vars={name: "secret"})
    assert found.startswith(f"ray.env_vars: {complaint}")
    assert "secret" not in found


@pytest.mark.parametrize("seconds", [0, 3, -1, float("inf"), "60", 10**9])
def test_a_time_limit_that_ends_sound_runs_is_refused(seconds):
    assert len(complaints(timeout_s=seconds)) == 1
    assert not complaints(timeout_s=30)


@pytest.mark.parametrize("name", ["", "eth0,ib0", "^lo", "=eth0", "eth0 ", "10.0.0.1/8", "an_interface_too_long"])
def test_an_interface_is_one_name(name):
    (found,) = complaints(interface=name)
    assert found.startswith("ray.interface: expected the name of one network interface")
    assert not complaints(interface="enp0s3.100")


def test_records_show_only_the_names_of_variables_and_cannot_be_run_without_the_values():
    values = {"ray": {"env_vars": {"TOKEN": "secret"}, "num_workers": 2}}
    hidden = hide_variables(values)
    assert hidden == {"ray": {"env_vars": {"TOKEN": None}, "num_workers": 2}}
    assert values["ray"]["env_vars"] == {"TOKEN": "secret"}
    assert hide_variables({"neural_network": {}}) == {"neural_network": {}}
    (found,) = complaints(**hidden["ray"])
    assert found.startswith("ray.env_vars: the value of 'TOKEN' is missing. Records of runs show only the names")
