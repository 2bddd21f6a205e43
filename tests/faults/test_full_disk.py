"""A full disk, for each kind of output: it leaves one clear message, the earlier files, and nothing else."""

import os
import subprocess

import numpy as np
import pytest
import torch

from rayrml import cli, storage
from rayrml.data.discovery import Slices
from rayrml.data.slicers import parse_slicers
from rayrml.errors import DataError
from rayrml.inference.prediction_files import PredictionFile
from rayrml.inference.slice_assembly import SliceAssembly
from rayrml.networks.network import build_network
from rayrml.reporting.log_files import LogFile
from rayrml.reporting.messages import EpochDone
from rayrml.reporting.tensorboard import EventFiles
from rayrml.saving import checkpoints
from rayrml.saving.keras_weights import export_weights
from tests.conftest import dense_network, write_config

pytestmark = pytest.mark.faults

FULL = r"cannot be written\. No space left on device$"


@pytest.fixture
def disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounting.returncode:
        pytest.skip("mounting a disk is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk, *, leave):
    """Fill the disk except for `leave` bytes."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "other").write_bytes(bytes(free - leave))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def checkpoint(value, size=100_000):
    return checkpoints.Checkpoint(1, {"w": torch.full((size,), value)}, [], (1,))


def test_the_checkpoint_of_before_stays_when_the_next_one_does_not_fit(disk):
    path = disk / "model_checkpoint_1.pt"
    checkpoints.save(path, checkpoint(1.0))
    fill(disk, leave=100_000)
    with pytest.raises(DataError, match=FULL):
        checkpoints.save(path, checkpoint(2.0))
    assert checkpoints.load(path).network["w"][0] == 1
    assert names(disk) == ["model_checkpoint_1.pt", "other"]


@pytest.mark.parametrize("leave", [0, 5_000, 100_000])
@pytest.mark.parametrize(("together", "size"), [(100, 10), (1, 20_000)], ids=["kept until the end", "written at once"])
def test_predictions_of_before_stay_when_the_next_ones_do_not_fit(disk, leave, together, size):
    (disk / "output_1.h5").write_bytes(b"of before")
    fill(disk, leave=leave)
    with pytest.raises(DataError, match=FULL):
        file = PredictionFile(disk / "output_1.h5", ["a", "b"])
        try:
            for number in range(100):
                file.write([f"{number}/{i}.jpg" for i in range(together)], np.ones((together, size), np.float32))
            file.close()
        finally:
            file.discard()
    assert (disk / "output_1.h5").read_bytes() == b"of before"
    assert names(disk) == ["other", "output_1.h5"]


@pytest.mark.parametrize("stride", [16, 8])
def test_an_assembled_file_of_before_stays_when_the_next_one_does_not_fit(disk, stride):
    (disk / "o.h5").write_bytes(b"of before")
    (slicer,) = parse_slicers([{"name": "s", "sizes": [16, 16], "strides": [stride, stride]}], "slicers")
    grid = slicer.grid((1024, 1024))
    assembly = SliceAssembly(disk / "o.h5", [Slices("s", 0, grid)])
    with pytest.raises(DataError, match=FULL):
        for index in range(len(grid)):
            assembly.write(np.array([index]), np.random.default_rng(index).random((1, 2, 16, 16), np.float32))
    assembly.discard()
    assert (disk / "o.h5").read_bytes() == b"of before"
    assert names(disk) == ["o.h5"]


def test_a_log_ends_with_a_whole_line(disk):
    log = LogFile(str(disk / "out_train.txt"), append=False)
    log.write("1 1 0.5\n")
    log.flush()
    fill(disk, leave=0)
    for number in range(2, 1000):
        log.write(f"1 {number} 0.5\n")
    with pytest.raises(DataError, match=FULL):
        log.flush()
    log.close()
    lines = (disk / "out_train.txt").read_text().splitlines(keepends=True)
    assert lines == [f"1 {number} 0.5\n" for number in range(1, len(lines) + 1)]


def test_event_files_say_that_they_cannot_be_written(disk):
    events = EventFiles(str(disk / "run"))
    events.receive(EpochDone({"epoch": 1, "train_loss": 0.5}))
    fill(disk, leave=0)
    with pytest.raises(DataError, match=FULL):
        for epoch in range(2, 1000):
            events.receive(EpochDone({"epoch": epoch, "train_loss": 0.5}))
    with pytest.raises(DataError, match=FULL):
        events.close()


def test_drawings_and_exported_weights_of_before_stay(disk):
    for name in ("x.dot", "x.h5"):
        (disk / name).write_bytes(b"of before")
    fill(disk, leave=0)
    with pytest.raises(OSError, match="No space left on device"):
        storage.write(disk / "x.dot", b"x" * 10_000)
    with pytest.raises(DataError, match=FULL):
        export_weights(build_network(dense_network(2)), disk / "x.h5")
    assert {name: (disk / name).read_bytes() for name in ("x.dot", "x.h5")} == dict.fromkeys(
        ("x.dot", "x.h5"), b"of before"
    )
    assert names(disk) == ["other", "x.dot", "x.h5"]


def configuration(tmp_path, disk, write_digits, **outputs):
    for part in ("training", "testing"):
        if not (tmp_path / part).exists():
            write_digits(tmp_path / part, part, (1, 4, 7), 8)
    return {
        "neural_network": {
            "num_epochs": 2,
            "layers": dense_network(3),
            "data": {
                "input_type": "images",
                "target_type": "labels",
                "input_path": str(tmp_path / "training"),
                "test_input_path": str(tmp_path / "testing"),
                "batch_size": 8,
                "grayscale": True,
                **({"test_output_path": str(disk / "predictions")} if "predictions" in outputs else {}),
            },
            "optimizer": {"type": "SGD", "learning_rate": 0.1},
            "loss": {"function": "NLL"},
            **({"outfile": str(disk / "out.txt")} if "logs" in outputs else {}),
            **({"checkpoints": {"save": str(disk / "model")}} if "checkpoints" in outputs else {}),
        }
    }


@pytest.mark.ray
@pytest.mark.parametrize(
    ("output", "file", "first", "kept"),
    [
        # The lock of the folder is written first, and fails before any training.
        ("checkpoints", "model/model_checkpoint_1.pt", "model/.run.lock", "model/model_checkpoint_1.pt"),
        ("logs", "out_train.txt", "out_train.txt", "out_train.1.txt"),
        ("predictions", "predictions/output_1.h5", "predictions/output_1.h5", "predictions-1/output_1.h5"),
    ],
)
def test_a_run_ends_with_one_line_when_the_disk_is_full(
    ray_cluster, tmp_path, disk, write_digits, capsys, output, file, first, kept
):
    (disk / file).parent.mkdir(exist_ok=True)
    (disk / file).write_bytes(b"1 1 of before\n")
    fill(disk, leave=0)
    path = write_config(tmp_path / "c.json", configuration(tmp_path, disk, write_digits, **{output: True}))
    assert cli.main(["run", str(path)]) == 3
    printed = capsys.readouterr()
    assert printed.err == f"rayrml: {disk / first}: cannot be written. No space left on device\n"
    assert (disk / kept).read_bytes() == b"1 1 of before\n"
    assert not [p for p in disk.rglob("*") if p.name.endswith(".unfinished")]
