"""Workers that are lost within an epoch, with notice or without: the run goes on there, to the same bits."""

import os
import re
import signal

import pytest

import rayrml
from tests.faults.runs import (
    NUM_BATCHES,
    assert_same_weights,
    assert_whole_logs,
    config_in,
    logged,
    training_workers,
    when,
)

pytestmark = [pytest.mark.faults, pytest.mark.ray]


def shown(out):
    """The lines that the run has shown."""
    return (out / "model" / "run.log").read_text()


def send(number):
    """Send a signal to one of the training workers."""
    os.kill(training_workers()[-1].pid, number)


def test_a_run_goes_on_with_the_next_batch_when_one_of_its_workers_gets_sigterm(ray_cluster, folder):
    """It has no failure to spare, and draws the same dropout on each worker as if nothing had happened."""
    hurt, whole = folder / "warned", folder / "unwarned"
    settings = {"ray.num_workers": 2, "ray.resources_per_worker": {"CPU": 0.3}, "ray.max_failures": 0}
    settings |= {"data.preload": True}
    num_epochs = 30
    watch = when(lambda: len(logged(hurt)) > 2 * NUM_BATCHES, lambda: send(signal.SIGTERM), timeout=600)
    rayrml.run(config_in(folder, hurt, num_epochs=num_epochs), overrides=settings, quiet=True)
    watch.join()
    kept = re.search(r"Worker \d received SIGTERM: the state after batch (\d+) of epoch (\d+) is kept", shown(hurt))
    epoch, batch = int(kept[2]), int(kept[1])
    assert f"A worker was lost: Resuming at epoch {epoch}, batch {batch + 1}" in shown(hurt)
    done = [tuple(map(int, pair)) for pair in re.findall(r"Train Epoch \[ *(\d+)/.*?\[ *(\d+)/", shown(hurt))]
    assert done == [(e, b) for e in range(1, num_epochs + 1) for b in range(1, NUM_BATCHES + 1)]
    rayrml.run(config_in(folder, whole, num_epochs=num_epochs), overrides=settings, quiet=True)
    assert_whole_logs(hurt, num_epochs)
    assert_same_weights(hurt, whole, num_epochs)
    assert logged(hurt) == logged(whole)


def test_a_run_whose_worker_is_killed_goes_on_from_the_state_of_every_few_minutes(ray_cluster, folder):
    """Each batch is followed by a state, and an epoch has as many batches as samples: all is over within the first."""
    hurt, whole = folder / "killed", folder / "unharmed"
    settings = {"ray.num_workers": 1, "ray.resources_per_worker": {"CPU": 0.3}, "data.preload": True}
    settings |= {"data.batch_size": 1, "num_epochs": 2}
    watch = when(lambda: len(logged(hurt)) > 4, lambda: send(signal.SIGKILL), timeout=600)
    rayrml.run(config_in(folder, hurt), overrides=settings | {"checkpoints.every_minutes": 1e-9}, quiet=True)
    watch.join()
    (again,) = re.findall(r"A worker was lost: Resuming at epoch (\d+), batch (\d+)", shown(hurt))
    assert again[0] == "1" and int(again[1]) > 1
    assert "Kept the state after batch 1 of epoch 1, written in" in shown(hurt)
    assert shown(hurt).count("of the 1e-09 minutes of checkpoints.every_minutes") == 2, "once by each worker"
    assert not list((hurt / "model").glob("interrupted*"))
    rayrml.run(config_in(folder, whole), overrides=settings, quiet=True)
    assert_same_weights(hurt, whole, 2)
    assert logged(hurt) == logged(whole)
