"""Runs on a cluster that starts with only a head: nodes are added when requested, and removed when nothing runs."""

import sys
import time

import pytest

from tests.clusters import Cluster
from tests.conftest import write_config
from tests.faults.runs import assert_whole_logs, config_in

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(CPU=0, grows_by={"CPU": 1, "object_store_memory": 100_000_000}, most=2)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def nodes(cluster):
    """The number of live nodes other than the head, determined in a separate process."""
    program = """if True:
        import sys, time, ray
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
        while True:
            print(sum(node["Alive"] for node in ray.nodes()) - 1, flush=True)
            time.sleep(0.5)
    """
    watch = cluster.run([sys.executable, "-c", program, cluster.address], "/tmp")
    watch.wait_for("0", 60)
    # Ray may print something in between.
    return lambda: int([line for line in watch.lines if line.strip().isdecimal()][-1])


def run(cluster, path):
    return cluster.run([sys.executable, "-m", "rayrml", "run", path.name, "--address", cluster.address], path.parent)


def test_workers_that_the_cluster_can_never_have_are_refused_with_both_numbers(cluster, folder):
    config = config_in(folder, folder / "refused", num_epochs=1)
    config["ray"] = {"num_workers": [3, 4], "resources_per_worker": {"CPU": 1}}
    job = run(cluster, write_config(folder / "refused.json", config))
    assert job.wait(120) == 4, job.text
    assert "3 workers need 3 CPU, but the cluster can have at most 2 CPU" in job.text


def test_an_elastic_run_has_nodes_come_uses_all_of_them_and_lets_them_go(cluster, nodes, folder):
    out = folder / "grown"
    config = config_in(folder, out, num_epochs=400)
    config["neural_network"]["data"]["preload"] = True
    config["neural_network"]["checkpoints"]["interval"] = 200
    # Two of them and a decoding task do not fit on one node.
    config["ray"] = {"num_workers": [1, 2], "resources_per_worker": {"CPU": 0.7}}
    job = run(cluster, write_config(folder / "grown.json", config))
    waiting = job.lines[job.wait_for("Waiting for nodes", 120)]
    assert "1 worker needs 0.7 CPU, the cluster has 0 CPU" in waiting
    # The second node may arrive seconds before or after the first worker starts.
    job.wait_for("Training on 2 workers", 300)
    job.wait_for("Train Epoch", 300)
    assert nodes() == 2
    assert job.wait(600) == 0, job.text
    assert_whole_logs(out, 400)
    deadline = time.monotonic() + 120
    while nodes() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert nodes() == 0
