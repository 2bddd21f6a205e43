"""What a run says that it waits for."""

import threading
import time

import pytest

from rayrml.cluster import shortage
from rayrml.cluster.shortage import lacking_cpus, lacking_nodes, lacking_resources


def test_a_cluster_that_is_too_small_is_told_from_one_that_others_use():
    each, total = {"CPU": 1.0, "GPU": 1}, {"CPU": 4.0, "GPU": 2.0}
    assert lacking_nodes(2, each, total) is None
    assert lacking_nodes(3, each, total) == (
        "Waiting for nodes: 3 workers need 3 CPU and 3 GPU, the cluster has 4 CPU and 2 GPU"
    )
    assert lacking_resources(2, each, total, total) is None
    assert lacking_resources(1, each, total, {"CPU": 0.5}) == (
        "Waiting for resources that others use: 1 worker needs 1 CPU and 1 GPU, "
        "0.5 CPU and 0 GPU of the cluster's 4 CPU and 2 GPU are free"
    )


def test_decoding_needs_its_cpus_on_one_node():
    assert lacking_cpus(0.5, {"a": {"CPU": 0.4}, "b": {"CPU": 0.6}}) is None
    line = lacking_cpus(1, {"a": {"CPU": 0.4}, "b": {"CPU": 0.6}, "c": {}})
    assert line is not None
    assert line.startswith("Waiting for CPUs: decoding needs 1 on one machine, at most 0.6 are free. Fewer workers")


@pytest.mark.ray
def test_a_wait_is_explained_once_and_only_if_it_is_long(ray_cluster, monkeypatch):
    monkeypatch.setattr(shortage, "_SECONDS_OF_PATIENCE", 0.05)
    monkeypatch.setattr(shortage, "_SECONDS_BETWEEN_LOOKS", 0.05)
    said, told = [], threading.Event()

    def say(text):
        said.append(text)
        told.set()

    with shortage.waiting_for_cpus(ray_cluster.cluster_resources()["CPU"], say):
        assert not told.wait(0.5)
    cpus = ray_cluster.cluster_resources()["CPU"]
    with shortage.waiting_for_cpus(cpus, say):  # which the block's own task holds after a moment
        threading.Event().wait(0.2)
        ray_cluster.get(ray_cluster.remote(lambda: time.sleep(1)).options(num_cpus=cpus).remote())
        assert not told.is_set()
    with shortage.waiting_for_cpus(1000, say):
        assert told.wait(30)
        threading.Event().wait(0.3)
    with shortage.waiting_for_actors(1000, {"CPU": 1.0}, say):
        told.clear()
        assert told.wait(30)
    assert [line.split(":")[0] for line in said] == ["Waiting for CPUs", "Waiting for nodes"]


def test_workers_that_take_long_to_start_are_told_of_until_they_are_heard():
    said = []
    start = shortage.StartOfWorkers(said.append, interval=0.0)
    start.look(heard=False, lacking=True)
    assert said == []
    start.look(heard=False, lacking=False)
    start.look(heard=False, lacking=False)
    assert len(said) == 2 and all(line.startswith("Still starting the workers (0:0") for line in said)
    start.look(heard=True, lacking=False)
    start.look(heard=False, lacking=False)
    assert len(said) == 2


def test_nothing_is_told_of_an_ordinary_start():
    said = []
    start = shortage.StartOfWorkers(said.append)
    start.look(heard=False, lacking=False)
    assert said == []


def test_a_ray_that_ends_meanwhile_is_no_error(monkeypatch):
    failed, asked = [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", failed.append)

    def describe():
        asked.set()
        raise RuntimeError("Ray has not been started yet")

    with shortage._watched(describe, print, lacking_at_first=True):
        assert asked.wait(10)
        threading.Event().wait(0.1)
    assert failed == []
