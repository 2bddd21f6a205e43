"""Workers that are told that they are about to be lost: the run goes on with the next batch, on other workers."""

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


def test_a_run_goes_on_with_the_next_batch_when_one_of_its_workers_gets_sigterm(ray_cluster, folder):
    """It has no failure to spare, and draws the same dropout on each worker as if nothing had happened."""
    hurt, whole = folder / "warned", folder / "unwarned"
    settings = {"ray.num_workers": 2, "ray.resources_per_worker": {"CPU": 0.3}, "ray.max_failures": 0}
    settings |= {"data.preload": True}
    num_epochs = 30
    watch = when(
        lambda: len(logged(hurt)) > 2 * NUM_BATCHES, lambda: os.kill(training_workers()[-1].pid, signal.SIGTERM)
    )
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
