"""Connecting to Ray: how long it waits, and which of its messages a user sees."""

import os
import subprocess
import sys

import pytest

from rayrml.cluster import connection, late_start, ray_internals
from rayrml.cluster.late_start import LateStart
from rayrml.config.cluster import Ray
from rayrml.errors import ClusterError, ConfigError

VARIABLE = ray_internals.START_TIMEOUT_VARIABLE


@pytest.mark.parametrize(
    ("before", "elastic", "after"),
    [("", True, "15"), ("", False, "600"), ("15", False, "600"), ("600", True, "15"), ("40", True, "40")],
)
def test_an_elastic_run_looks_for_nodes_more_often_unless_the_user_has_decided(monkeypatch, before, elastic, after):
    monkeypatch.setenv(VARIABLE, before)
    connection._set_start_timeout(elastic=elastic)
    assert os.environ[VARIABLE] == after


def test_what_python_writes_is_shown_while_a_library_is_not_heard():
    program = """if True:
        import os, sys
        from rayrml.cluster.connection import hide_stderr
        with hide_stderr():
            os.write(2, b"a library\\n")
            sys.stderr.write("Python\\n")
        os.write(2, b"afterwards\\n")
        sys.stderr.write("Python again\\n")
    """
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stderr == "Python\nafterwards\nPython again\n"


@pytest.mark.ray
def test_the_ray_of_this_process_is_used_and_left_as_it_is(ray_cluster, monkeypatch):
    monkeypatch.setenv(VARIABLE, "600")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with connection.connect(Ray(), verbose=True) as allocation:
        assert (allocation.private, allocation.in_driver, allocation.verbose) == (False, True, True)
    assert ray_cluster.is_initialized()


@pytest.mark.parametrize(("mode", "hinted"), [(None, True), ("token", False)])
def test_a_cluster_that_cannot_be_reached_is_named_with_a_hint_about_tokens(monkeypatch, mode, hinted):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    error = connection.unreachable_error("10.0.0.1:6379", ConnectionError("no answer\nand more"))
    assert isinstance(error, ClusterError)
    assert str(error).startswith("cannot start or reach the cluster at 10.0.0.1:6379. no answer")
    assert ("RAY_AUTH_MODE" in str(error)) == hinted
    assert "private" in str(connection.unreachable_error(None, ConnectionError()))


@pytest.mark.ray
def test_a_run_of_several_workers_uses_the_ray_that_another_run_of_this_process_may_start(ray_cluster, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = []
    offer = LateStart(lambda: done.append("started"), lambda: done.append("stopped"), {"CPU": 4.0})
    with late_start.offering(offer):
        with connection.connect(Ray(num_workers=2), verbose=True, late=True) as allocation:
            assert allocation.num_workers == 2
            assert done == ["started"]
        assert done == ["started"]
    assert done == ["started", "stopped"]


@pytest.mark.ray
def test_a_ray_that_the_process_starts_during_a_run_is_used_and_left_as_it_is(ray_cluster):
    late = connection._LateRay(verbose=True)
    late.start()
    late.stop()
    assert ray_cluster.is_initialized()


def test_a_cluster_is_refused_beside_a_run_that_may_start_a_private_ray():
    with (
        late_start.offering(LateStart(lambda: None, lambda: None, {"CPU": 4.0})),
        pytest.raises(ConfigError, match=r"ray\.address: another run in this process"),
        connection.connect(Ray(address="192.0.2.1:6379"), late=True),
    ):
        pass


def test_what_fails_because_ray_has_ended_is_not_printed():
    program = """if True:
        import logging, ray.data.exceptions
        from rayrml.cluster import connection, ray_internals
        print(ray.data.exceptions.logger.name == ray_internals.FAILURE_LOGGER)
        ray.data.exceptions.logger.error("a bug")
        connection.hide_messages()
        ray.data.exceptions.logger.error("Ray has not been started yet")
    """
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "True"
    assert "a bug" in ran.stderr
    assert "Ray has not been started" not in ran.stderr
