"""Killed processes: workers, which are restarted automatically, and the driver, which the user restarts."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

import rayrml
from rayrml.saving import checkpoints, resuming
from tests.conftest import write_config
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


def on_train_workers(num_workers):
    """Settings with which even a single worker is a process of Ray Train."""
    return {"ray.num_workers": num_workers, "ray.resources_per_worker": {"CPU": 0.3}, "data.preload": True}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_run_whose_worker_is_killed_ends_as_if_it_had_not_been(ray_cluster, folder, num_workers):
    hurt, whole = folder / f"hurt_{num_workers}", folder / f"whole_{num_workers}"
    settings = on_train_workers(num_workers)
    num_epochs = 60
    killed = []

    def kill():
        victim = training_workers()[-1]
        os.kill(victim.pid, signal.SIGKILL)
        killed.append(victim.pid)

    watch = when(lambda: len(logged(hurt)) > 2 * NUM_BATCHES, kill)
    rayrml.run(config_in(folder, hurt, num_epochs=num_epochs), overrides=settings, quiet=True)
    watch.join()
    assert killed
    rayrml.run(config_in(folder, whole, num_epochs=num_epochs), overrides=settings, quiet=True)
    assert_whole_logs(hurt, num_epochs)
    assert_same_weights(hurt, whole, num_epochs, 0.0 if num_workers == 1 else 1e-6)
    if num_workers == 1:
        assert logged(hurt) == logged(whole)


def test_workers_that_are_lost_too_often_end_the_run_with_a_reason(ray_cluster, folder):
    out = folder / "too_often"
    settings = on_train_workers(1) | {"ray.max_failures": 0}
    when(lambda: len(logged(out)) > 2, lambda: os.kill(training_workers()[-1].pid, signal.SIGKILL))
    with pytest.raises(rayrml.ClusterError, match="worker 0 failed, and a restart did not help") as caught:
        rayrml.run(config_in(folder, out, num_epochs=400), overrides=settings, quiet=True)
    assert caught.value.exit_code == 4


def test_a_driver_that_is_killed_goes_on_where_it_was(ray_cluster, folder, tmp_path):
    """Three times at random points of the training; the result is the same as without interruption."""
    config = config_in(folder, tmp_path / "out", num_epochs=40)
    config["neural_network"]["data"]["preload"] = True
    command = [sys.executable, "-m", "rayrml", str(write_config(tmp_path / "config.json", config)), "--resume"]
    draw = random.Random(0)
    for _ in range(3):
        _killed_after(command, tmp_path, draw.uniform(0, 0.4))
    done = subprocess.run(command, cwd=tmp_path, env=_alone(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert_whole_logs(tmp_path / "out", 40)
    whole = tmp_path / "whole"
    rayrml.run(config_in(folder, whole, num_epochs=40), overrides={"data.preload": True}, quiet=True)
    assert_same_weights(tmp_path / "out", whole, 40)
    assert logged(tmp_path / "out") == logged(whole)


def _killed_after(command, cwd, seconds):
    """Start the command and kill it `seconds` after its first batch; nothing that it announced may be lost."""
    with subprocess.Popen(command, cwd=cwd, env=_alone(), stdout=subprocess.PIPE, text=True) as run:
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(run.stdout), daemon=True)
        reader.start()
        deadline = time.monotonic() + 120
        while not any("Train Epoch" in line for line in list(lines)) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        processes = psutil.Process(run.pid).children(recursive=True)
        run.kill()
        reader.join(timeout=30)
    announced = [int(epoch) for epoch in re.findall(r"Eval  Epoch \[ *(\d+)/", "".join(lines))]
    kept = resuming.find_resumable(cwd / "out" / "model")
    assert max(announced, default=0) <= max((checkpoints.load(path).epoch for path in kept), default=0)
    # Ray's agents take longer to notice; they hold no data.
    working = [p for p in processes if "Agent" not in _name(p)]
    _, alive = psutil.wait_procs(working, timeout=30)
    assert not alive


def _name(process):
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _alone():
    return {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}


_SAVING = """
import os, sys, torch
from pathlib import Path
from rayrml.training.checkpoint_writer import CheckpointWriter
from rayrml.saving.checkpoints import Checkpoint
for line in sys.stdin:
    if pid := os.fork():
        os.waitpid(pid, 0)
        print("ended", flush=True)
        continue
    folder, size = line.split()
    print(os.getpid(), flush=True)
    writer = CheckpointWriter(lambda path: print(path.stem, flush=True))
    network = {"dense.weight": torch.zeros(int(size))}
    for epoch in range(1, 10_000):
        network["dense.weight"] += 1
        kept, state = Path(folder) / f"model_checkpoint_{epoch}.pt", Path(folder) / "last_epoch.pt"
        writer.save(Checkpoint(epoch, network, [], (1,)), [kept], state)
"""


def test_a_process_that_is_killed_while_it_saves_leaves_whole_checkpoints(tmp_path):
    """At twenty random moments; every checkpoint that was announced exists, and every file can be loaded."""
    draw = random.Random(0)
    command = [sys.executable, "-c", _SAVING]
    # Importing torch takes seconds: the killed processes are children of one that has done so already.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for round in range(20):
            folder = tmp_path / str(round)
            folder.mkdir()
            process.stdin.write(f"{folder} {draw.choice([1_000, 300_000])}\n")
            process.stdin.flush()
            saving = int(process.stdout.readline())
            time.sleep(draw.uniform(0.0, 0.15))
            os.kill(saving, signal.SIGKILL)
            announced = [line.strip() for line in iter(process.stdout.readline, "ended\n")]
            _assert_whole(folder, announced)
        process.stdin.close()


def _assert_whole(folder, announced):
    for path in folder.glob("*.pt"):
        state = checkpoints.load(path)
        assert (state.network["dense.weight"] == state.epoch).all()
    assert all((folder / f"{name}.pt").exists() for name in announced)
    if announced[:-1]:
        # The state is written after the checkpoint, before the next one.
        assert checkpoints.load(folder / "last_epoch.pt").epoch >= int(announced[-2].rpartition("_")[2])


def test_a_log_line_that_was_cut_off_is_written_again(ray_cluster, folder, tmp_path):
    out = tmp_path / "out"
    rayrml.run(config_in(folder, out, num_epochs=2), quiet=True)
    log = out / "out_train.txt"
    log.write_text(log.read_text() + "3 1 0.5 0.")
    rayrml.run(config_in(folder, out, num_epochs=3), resume=True, quiet=True)
    assert_whole_logs(out, 3)
