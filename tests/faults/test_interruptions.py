"""Interrupted runs: they finish a step, save their state, and can resume later as if nothing had happened."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

import rayrml
from rayrml.saving import checkpoints
from tests.conftest import write_config
from tests.faults.runs import (
    NUM_BATCHES,
    assert_same_weights,
    assert_whole_logs,
    config_in,
    logged,
    when,
)

pytestmark = [pytest.mark.faults, pytest.mark.ray]

ENOUGH = 400  # more epochs than can be done before the signal comes


def interrupted(config, out, after, **options):
    """Run until `after` batches are logged, then press Ctrl-C; return where the run was interrupted."""
    with pytest.raises(KeyboardInterrupt):
        watch = when(lambda: len(logged(out)) >= after, lambda: os.kill(os.getpid(), signal.SIGINT))
        rayrml.run(config, quiet=True, **options)
    watch.join()
    state = checkpoints.load(out / "model" / "interrupted.pt")
    return state.epoch + 1, state.unfinished["batch"]


@pytest.mark.parametrize(("num_workers", "preload"), [(1, True), (1, False), (2, True)])
def test_a_run_goes_on_within_an_epoch_as_if_it_had_not_been_interrupted(ray_cluster, folder, num_workers, preload):
    out, whole = folder / f"hurt_{num_workers}_{preload}", folder / f"whole_{num_workers}_{preload}"
    options = {"num_workers": num_workers, "overrides": {"data.preload": preload}}
    config = config_in(folder, out, num_epochs=ENOUGH)
    epoch, batch = interrupted(config, out, NUM_BATCHES + 1, **options)
    assert logged(out)[-1][:2] == (epoch, batch)
    config["neural_network"]["num_epochs"] = last = epoch + 1
    result = rayrml.run(config, resume=True, quiet=True, **options)
    assert result.metrics["epoch"] == last
    assert_whole_logs(out, last)
    rayrml.run(config_in(folder, whole, num_epochs=last), quiet=True, **options)
    assert_same_weights(out, whole, last, 0.0 if num_workers == 1 else 1e-6)
    assert logged(out) == logged(whole) or num_workers > 1
    assert not list((out / "model").glob("interrupted*"))


def test_other_workers_go_on_with_the_next_batch(ray_cluster, folder):
    out = folder / "other_workers"
    config = config_in(folder, out, num_epochs=ENOUGH)
    epoch, batch = interrupted(config, out, NUM_BATCHES + 1, overrides={"data.preload": True})
    config["neural_network"]["num_epochs"] = epoch
    rayrml.run(config, num_workers=2, resume=True, overrides={"data.preload": True}, quiet=True)
    assert_whole_logs(out, epoch)
    assert f"Resuming at epoch {epoch}, batch {batch + 1}\n" in (out / "model" / "run.log").read_text()


def _addresses(processes):
    """The addresses on which these processes listen."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            connections = process.net_connections(kind="inet")
            found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return found


@pytest.mark.parametrize(("number", "num_workers"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_signal_ends_the_command_with_a_checkpoint_and_leaves_no_process(folder, tmp_path, number, num_workers):
    config = config_in(folder, tmp_path / "out")
    config["neural_network"]["num_epochs"] = 10_000
    config["ray"] = {"num_workers": num_workers}
    command = [sys.executable, "-m", "rayrml", str(write_config(tmp_path / "config.json", config))]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        for line in run.stdout:
            if "Train Epoch [  2/" in line:
                break
        processes = psutil.Process(run.pid).children(recursive=True)
        assert _addresses([psutil.Process(run.pid), *processes]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        began = time.monotonic()
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
        seconds = time.monotonic() - began
    assert (run.returncode, err) == (128 + number, "rayrml: interrupted\n")
    told = re.search(r"Interrupted after batch (\d+) of epoch (\d+)\. Resume with: .* --resume", out)
    state = checkpoints.load(tmp_path / "out" / "model" / "interrupted.pt")
    assert (state.unfinished["batch"], state.epoch + 1) == tuple(map(int, told.groups()))
    assert seconds < 15
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not alive


def test_a_second_signal_ends_the_command_at_once(folder, tmp_path):
    # Steps of many seconds: one search of this optimizer evaluates its batch again and again.
    config = config_in(folder, tmp_path / "out")
    config["neural_network"]["optimizer"] = {"type": "Hessian", "max_iterations": 10**6, "max_func_eval": 10**6}
    config["neural_network"]["optimizer"] |= {"absolute_tolerance": 1e-300, "relative_tolerance": 1e-300}
    config["neural_network"]["data"] |= {"transforms": [], "preload": True}
    command = [sys.executable, "-m", "rayrml", str(write_config(tmp_path / "config.json", config))]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        for line in run.stdout:
            if "into memory" in line:
                break
        time.sleep(3)
        processes = psutil.Process(run.pid).children(recursive=True)
        began = time.monotonic()
        run.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=60)
        seconds = time.monotonic() - began
    # The second may arrive after the first has already ended everything except the process itself.
    assert (run.returncode, err) in ((143, "rayrml: interrupted\n"), (143, ""))
    assert seconds < 15
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not alive
