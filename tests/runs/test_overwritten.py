"""Files of an earlier run: which of them a second run reports, replaces and keeps."""

import os

import h5py
import pytest

import rayrml
from rayrml.errors import DataError
from rayrml.saving import checkpoints
from rayrml.saving.resuming import find_resumable
from rayrml.saving.run_lock import LOCK_NAME, locked
from tests.conftest import training_config


@pytest.mark.ray
def test_a_second_run_says_what_it_replaces_and_keeps_the_logs(ray_cluster, tmp_path, write_digits, capsys):
    write_digits(tmp_path / "training", "training", (1, 4, 7), 8)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 8)
    config = training_config(tmp_path, tmp_path)
    first = rayrml.run(config, quiet=True)
    logs = (tmp_path / "out_train.txt").read_text()
    rayrml.run(config)
    said = capsys.readouterr().out
    assert f"Keeping the logs of an earlier run: {tmp_path}/out_train.1.txt, {tmp_path}/out_test.1.txt\n" in said
    others = f"10 other files in {tmp_path}/model"
    replaced = f"3 checkpoints in {tmp_path}/model, {others}, 2 prediction files in {tmp_path}/predictions"
    assert f"Replacing files of an earlier run: {replaced}\n" in said
    assert (tmp_path / "out_train.1.txt").read_text() == logs
    with h5py.File(first.predictions[-1]) as file:
        assert len(file) == 3
    rayrml.run(config, resume=True)
    assert "an earlier run" not in capsys.readouterr().out
    (tmp_path / "model" / "last_epoch.pt").write_bytes((tmp_path / "model" / "model_checkpoint_2.pt").read_bytes())
    rayrml.run(config, overrides={"num_epochs": 1})
    said = capsys.readouterr().out
    assert f"The earlier run in {tmp_path}/model did not finish: --resume would continue it\n" in said
    assert checkpoints.load(find_resumable(tmp_path / "model")[0]).epoch == 1, "the longer run is an earlier one"


@pytest.mark.ray
@pytest.mark.parametrize("taken", ["model", "state"])
def test_no_folder_that_another_run_writes_to_is_written_to(ray_cluster, tmp_path, write_digits, taken):
    write_digits(tmp_path / "training", "training", (1, 4, 7), 8)
    write_digits(tmp_path / "testing", "testing", (1, 4, 7), 3)
    config = training_config(tmp_path, tmp_path) | {"ray": {"storage_path": str(tmp_path / "state")}}
    (tmp_path / taken).mkdir()
    with locked(str(tmp_path / taken), print):
        with pytest.raises(
            DataError, match=rf"{taken}: the run of process {os.getpid()} on .* is writing to this folder"
        ):
            rayrml.run(config, quiet=True)
        assert [file.name for file in (tmp_path / taken).iterdir()] == [LOCK_NAME]
    assert rayrml.run(config, quiet=True).checkpoints
