"""Nodes of a cluster that vanish and return, while a run continues without them or waits for them."""

import re
import signal
import sys

import pytest

import rayrml
from rayrml.saving import checkpoints
from tests.cluster.conftest import NODE
from tests.conftest import write_config
from tests.faults.runs import NUM_BATCHES, config_in, logged

pytestmark = pytest.mark.cluster

WORKER = {"CPU": 0.4, "place": 1}  # one on each node


def convex_in(folder, out, num_epochs):
    """Training with the same result, up to rounding, for any number of workers: it depends only on samples and rates.

    Streamed batches contain the same samples for any number of workers. A loss without local minima keeps rounding
    differences small.
    """
    config = config_in(folder, out, num_epochs=num_epochs)
    nn = config["neural_network"]
    nn["layers"] = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 28, 28, 1], "name": "input"}},
        {"class_name": "Flatten", "config": {"name": "flatten"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": 3, "activation": "log_softmax"}},
    ]
    nn["data"] |= {"transforms": [], "preload": False}
    nn["data"].pop("test_input_path")
    nn["optimizer"] = {"type": "SGD", "learning_rate": 0.01, "lr_scheduler": {"type": "Exponential", "gamma": 0.999}}
    nn["checkpoints"]["interval"] = 10**6
    return config


def started(cluster, config, path, num_workers):
    config["ray"] = {"num_workers": num_workers, "resources_per_worker": WORKER, "run_name": path.stem}
    command = [sys.executable, "-m", "rayrml", str(write_config(path, config)), "--address", cluster.address]
    return cluster.run(command, path.parent)


def assert_as_if_nothing_had_been(folder, out, num_epochs):
    """Each epoch used all samples once, in batches of the configured size, at the scheduled learning rate."""
    whole = out.with_name(f"{out.name}_whole")
    result = rayrml.run(convex_in(folder, whole, num_epochs), quiet=True)
    state = checkpoints.load(out / "model" / "last_epoch.pt")
    straight = checkpoints.load(whole / "model" / f"model_checkpoint_{num_epochs}.pt")
    for name in ("train_loss", "learning_rate"):
        assert [h[name] for h in state.history] == pytest.approx([h[name] for h in result.history], abs=1e-4)
    for name, tensor in straight.network.items():
        assert (state.network[name] - tensor).abs().max() < 1e-4, name
    expected = [(e, b) for e in range(1, num_epochs + 1) for b in range(1, NUM_BATCHES + 1)]
    assert [line[:2] for line in logged(out)][: len(expected)] == expected


def test_an_elastic_run_goes_on_without_a_node_and_takes_it_back(ray_cluster, folder, tmp_path, cluster):
    _, other = cluster.nodes
    out = tmp_path / "out"
    run = started(cluster, convex_in(folder, out, 10**6), tmp_path / "elastic.json", [1, 2])
    both = run.wait_for("Training on 2 workers", 300)  # it may have begun on one
    run.wait_for("Train Epoch", 300, after=both)
    cluster.kill(other)
    alone = run.wait_for("Training on 1 worker", 300, after=both)
    run.wait_for("Train Epoch", 300, after=alone)
    cluster.add(**NODE)
    together = run.wait_for("Training on 2 workers", 300, after=alone)
    run.wait_for("Train Epoch", 300, after=together)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(90) == 143
    assert_as_if_nothing_had_been(folder, out, checkpoints.load(out / "model" / "last_epoch.pt").epoch)


def test_a_run_goes_on_with_the_next_batch_when_a_node_is_about_to_be_taken_away(
    ray_cluster, folder, tmp_path, cluster
):
    """As Kubernetes takes a node: by SIGTERM to `ray start`, which drains it first."""
    _, other = cluster.nodes
    out = tmp_path / "out"
    run = started(cluster, convex_in(folder, out, 10**6), tmp_path / "drained.json", [1, 2])
    both = run.wait_for("Training on 2 workers", 300)
    run.wait_for("Train Epoch", 300, after=both)
    other.send_signal(signal.SIGTERM)
    warned = run.wait_for("is on a node that is to be taken away: the state after batch", 60, after=both)
    batch, epoch = re.findall(r"after batch (\d+) of epoch (\d+) is kept", run.lines[warned])[0]
    alone = run.wait_for("Training on 1 worker", 300, after=warned)
    run.wait_for(f"Resuming at epoch {epoch}, batch {int(batch) + 1}", 60, after=alone)
    run.wait_for("Train Epoch", 300, after=alone)
    other.wait(timeout=60)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(90) == 143
    cluster.add(**NODE)
    assert_as_if_nothing_had_been(folder, out, checkpoints.load(out / "model" / "last_epoch.pt").epoch)


def test_a_run_of_two_workers_waits_for_the_node_and_says_for_what(ray_cluster, folder, tmp_path, cluster):
    _, other = cluster.nodes
    out = tmp_path / "out"
    run = started(cluster, convex_in(folder, out, 10**6), tmp_path / "fixed.json", 2)
    run.wait_for("Train Epoch [  2", 300)
    cluster.kill(other)
    said = run.wait_for("Waiting for nodes: 2 workers need 0.8 CPU and 2 place, the cluster has 1 CPU and 1 place", 300)
    cluster.add(**NODE)
    run.wait_for("The nodes are available", 300, after=said)
    again = run.wait_for("Resuming at epoch", 300, after=said)
    run.wait_for("Train Epoch", 300, after=again)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait(90) == 143
    assert_as_if_nothing_had_been(folder, out, checkpoints.load(out / "model" / "last_epoch.pt").epoch)
