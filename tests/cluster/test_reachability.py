"""Clusters that cannot be reached are named at once."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from rayrml.cluster.reachability import Address, check_reachable, find_address, waiting
from rayrml.errors import ClusterError


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_port_on_which_nobody_listens_is_an_error_that_names_the_variable(free_port, form):
    address = Address(form.format(free_port), variable=True)
    with pytest.raises(ClusterError, match=rf"{free_port} \(RAY_ADDRESS\): Connection refused. Unset RAY_ADDRESS"):
        check_reachable(address)


def test_a_machine_that_does_not_exist_is_an_error():
    with pytest.raises(ClusterError, match=r"cannot reach the cluster at nowhere\.invalid:6379: "):
        check_reachable(Address("nowhere.invalid:6379", variable=False))


def test_who_listens_is_reached_even_if_late():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        check_reachable(Address(f"127.0.0.1:{listener.getsockname()[1]}", variable=False))


@pytest.mark.parametrize("value", ["auto", "what is this", "host:port"])
def test_what_names_no_port_is_left_to_ray(value):
    check_reachable(Address(value, variable=False))


def test_the_configuration_comes_before_the_variable(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "b:2")
    assert str(find_address("a:1")) == "a:1"
    assert str(find_address(None)) == "b:2 (RAY_ADDRESS)"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert find_address(None) is None
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert find_address(None) is None


WAITING = """
import time
from rayrml.cluster import reachability
reachability._SECONDS_BETWEEN_LINES = 0.2
with reachability.waiting(reachability.Address("a:1", variable=False), lambda text: print(text, flush=True)):
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait_that_says_what_it_is_for(number):
    environment = {**os.environ, "PYTHONFAULTHANDLER": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "Still connecting to the cluster at a:1 (0 s)\n"
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=30) == -number
        assert time.monotonic() - began < 10


def test_an_interactive_session_is_not_ended_by_its_interrupt(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with waiting(Address("a:1", variable=False), print):
        assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.delattr(sys, "ps1")
    with waiting(Address("a:1", variable=False), print):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before
