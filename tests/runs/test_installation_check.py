"""`rayrml check-install`, on the session's Ray."""

import re

import numpy as np
import pytest

from rayrml import cli
from rayrml.cluster.allocation import Allocation
from rayrml.errors import RayrmlError
from rayrml.inference.prediction_files import PredictionFile
from rayrml.runs import installation_check


@pytest.mark.ray
def test_all_steps_are_shown_and_nothing_is_left(ray_cluster, tmp_path, capsys):
    assert cli.main(["check-install", "--folder", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("rayrml", "python", "torch", "ray", "numpy", "h5py"):
        assert any(re.fullmatch(rf"\* {name} +: \d+\.\d+.*", line) for line in lines), name
    for step in ("Connecting to Ray", "Writing 32 images", "Training for 8 epochs", "Predicting", "Comparing"):
        assert any(re.fullmatch(rf"\* {step} +: \d+\.\d s", line) for line in lines), step
    assert any(re.fullmatch(r"\* Machine .*: \d+ CPUs, .*\(for Ray: 1 CPU, 0 GPU\)", line) for line in lines)
    assert lines[-1] == "rayrml works here."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_a_folder_that_is_not_there_is_named_with_the_exit_code_of_data(ray_cluster, tmp_path, capsys):
    assert cli.main(["check-install", "--folder", str(tmp_path / "none")]) == 3
    assert re.search(r"rayrml: --folder: '.*none' cannot be written to\.", capsys.readouterr().err)


MACHINES = Allocation(2, False, False, {"CPU": 1.0}, 0.5, 2, one_machine=False)


def test_the_folder_that_machines_share_is_used_and_left_as_it_was(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with installation_check._place(str(tmp_path), MACHINES) as place:
        assert place.parent == tmp_path
        installation_check.write_images(place / "images")
        assert len(list(place.rglob("*.jpg"))) == installation_check.NUM_IMAGES
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (None, r"--folder: is missing: .*Name a folder that they share"),
        ("s3://bucket/folder", r"--folder: expected a folder in the file system, but got 's3"),
        (__file__, r"--folder: '.*test_installation_check\.py' cannot be written to\. Not a directory"),
        ("/proc", r"--folder: '/proc' cannot be written to\. \w+"),
    ],
)
def test_a_folder_that_machines_cannot_share_or_write_to_is_one_line(folder, message):
    with pytest.raises(RayrmlError, match=message), installation_check._place(folder, MACHINES):
        pass


def test_a_client_of_a_cluster_is_told_to_be_a_job(capsys):
    assert cli.main(["check-install", "--address", "ray://127.0.0.1:9"]) == 2
    assert "ray job submit" in capsys.readouterr().err


def predictions(path, wrong=0, count=installation_check.NUM_IMAGES):
    file = PredictionFile(path)
    for number in range(count):
        right = number % 2
        told = 1 - right if number < wrong else right
        file.write([f"{installation_check.KINDS[right]}/{number:02}.jpg"], np.eye(2)[[told]])
    file.close()
    return str(path)


def test_wrong_and_missing_predictions_are_noticed(tmp_path):
    installation_check.compare(predictions(tmp_path / "right.h5"))
    with pytest.raises(RayrmlError, match=r"3 of 32 predictions are wrong"):
        installation_check.compare(predictions(tmp_path / "wrong.h5", wrong=3))
    with pytest.raises(RayrmlError, match=r"30 of 32 images have a prediction"):
        installation_check.compare(predictions(tmp_path / "few.h5", count=30))
