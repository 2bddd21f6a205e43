"""Whole runs on a machine on which Ray cannot start, and those that start it when they need it."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import torch

import rayrml
from tests.conftest import ROOT, datasets_of, training_config, write_config

pytestmark = pytest.mark.ray
NO_FOLDER = "/proc/none"  # where nobody can write: a Ray that keeps its files there cannot start
AT_ONCE = (
    "from rayrml.data import pipeline as p; p._SECONDS_OF_START = p._SECONDS_COLD = p._SECONDS_STREAMING = 0.0; "
    "p.Pipeline._saving = lambda *wanted, **how: 1.0"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    folder = tmp_path_factory.mktemp("digits")
    for part in ("training", "testing"):
        write_digits(folder / part, part, (0, 1, 2), 8)
    return folder


def train(folder, out, num_epochs=2):
    config = training_config(Path(folder), Path(out))
    rayrml.run(config, overrides={"num_epochs": int(num_epochs)}, quiet=True)


def carry_out(folder, out):
    """Train, predict three images and evaluate, and leave everything in `out`."""
    train(folder, out)
    folder, out = Path(folder), Path(out)
    images = sorted((folder / "testing").rglob("*.jpg"))[:3]
    rayrml.predict(out / "model", images, out / "predicted", quiet=True)
    rayrml.evaluate(out / "model", folder / "testing", out / "evaluation", quiet=True)


def alone(call, *arguments, before="", **variables):
    """Call a function of this module in a process of its own, in which no Ray runs."""
    program = f"{before}; import sys; from tests.runs import test_without_ray as t; t.{call}(*sys.argv[1:])"
    command = [sys.executable, "-c", program.removeprefix("; "), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | variables
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # the last bits depend on them
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def with_ray(ray_cluster, folder, tmp_path_factory):
    """What the runs leave if they are connected to a Ray."""
    out = tmp_path_factory.mktemp("ray") / "out"
    carry_out(folder, out)
    return out


def results_of(out):
    """The numbers and tables that the runs have left, without times and paths."""
    found = {}
    for path in sorted(out.rglob("*.h5")):
        name = str(path.relative_to(out))
        found |= {(name, key): (array.shape, array.tobytes()) for key, array in datasets_of(path).items()}
    for path in sorted(out.rglob("predictions.csv")):
        with path.open() as file:
            found[path.parent.name] = list(csv.reader(file))
    with (out / "model" / "history.csv").open() as file:
        found["history"] = [{k: v for k, v in epoch.items() if "second" not in k} for epoch in csv.DictReader(file)]
    return found


def files_of(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


def processes_in(place):
    """The commands that name this folder."""
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if place in command]


def test_runs_of_few_samples_need_no_ray_and_have_the_same_results(with_ray, folder, tmp_path):
    ran = alone("carry_out", folder, tmp_path / "out", RAY_TMPDIR=NO_FOLDER)
    assert ran.returncode == 0, ran.stderr
    assert results_of(tmp_path / "out") == results_of(with_ray)
    assert files_of(tmp_path / "out") == files_of(with_ray)


def test_a_ray_that_is_needed_starts_late_and_leaves_no_process(with_ray, folder, tmp_path):
    with tempfile.TemporaryDirectory(prefix="rayrml-", dir="/tmp") as place:
        ran = alone("train", folder, tmp_path / "out", before=AT_ONCE, RAY_TMPDIR=place)
        assert ran.returncode == 0, ran.stderr
        assert any(Path(place).iterdir()), "Ray has started"
        assert processes_in(place) == []
    found = results_of(tmp_path / "out")
    assert found == {key: value for key, value in results_of(with_ray).items() if key in found}
    assert "history" in found


@contextlib.contextmanager
def training_without_end(folder, out, **variables):
    """A command that trains, and asks for Ray with its first samples."""
    config = training_config(folder, out)
    config["neural_network"]["num_epochs"] = 100_000
    program = f"{AT_ONCE}; import sys; from rayrml.cli import main; sys.argv[0] = 'rayrml'; sys.exit(main())"
    command = [sys.executable, "-c", program, "run", str(write_config(out.parent / "config.json", config))]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | variables
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **streams) as run:
        yield run


def test_a_run_goes_on_where_ray_cannot_start(folder, tmp_path):
    with training_without_end(folder, tmp_path / "out", RAY_TMPDIR=NO_FOLDER) as run:
        lines = iter(run.stdout)
        told = next(line for line in lines if "goes on decoding by itself" in line)
        assert "by itself: cannot start or reach a private local Ray." in told
        assert any("Train Epoch" in line for line in lines)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=120)
    assert run.returncode == 130


def test_a_run_that_is_interrupted_while_ray_starts_does_not_wait_for_it(folder, tmp_path):
    with (
        tempfile.TemporaryDirectory(prefix="rayrml-", dir="/tmp") as place,
        training_without_end(folder, tmp_path / "out", RAY_TMPDIR=place) as run,
    ):
        for line in run.stdout:
            if "Starting Ray, which decodes" in line:
                break
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=120)
        assert (run.returncode, err) == (130, "rayrml: interrupted\n")
        assert "Interrupted after batch" in out
        assert not list(Path(place).rglob("python-core-driver*")), "the process has not become Ray's driver"
        assert processes_in(place) == []
    assert (tmp_path / "out" / "model" / "interrupted.pt").exists()
