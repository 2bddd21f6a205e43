import subprocess
import sys

import pytest
import torch

from rayrml.errors import DataError
from rayrml.saving import checkpoints
from rayrml.saving.checkpoint_writer import CheckpointWriter
from rayrml.saving.checkpoints import Checkpoint


def test_a_checkpoint_is_of_the_moment_it_was_asked_for_though_it_is_written_later(tmp_path):
    saved = []
    writer = CheckpointWriter(saved.append)
    weight, history = torch.ones(3), [{"epoch": 1}]
    state = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    checkpoint = Checkpoint(1, {"w": weight}, [], (1,), optimizer=state, history=history)
    writer.save(checkpoint, [tmp_path / "model_checkpoint_1.pt"], tmp_path / "last_epoch.pt")
    weight.fill_(7)
    state["state"][0]["step"].fill_(7)
    history.append({"epoch": 2})
    writer.wait()
    assert saved == [tmp_path / "model_checkpoint_1.pt"]
    for name in ("model_checkpoint_1.pt", "last_epoch.pt"):
        written = checkpoints.load(tmp_path / name)
        assert written.network["w"].tolist() == [1, 1, 1]
        assert written.optimizer["state"][0]["step"] == 1
        assert written.history == [{"epoch": 1}]


def test_a_checkpoint_that_cannot_be_written_is_an_error_of_the_next_call(tmp_path):
    (tmp_path / "folder").write_text("a file where a folder should be")
    writer = CheckpointWriter(lambda path: None)
    checkpoint = Checkpoint(1, {"w": torch.ones(3)}, [], (1,))
    writer.save(checkpoint, [tmp_path / "folder" / "model_checkpoint_1.pt"], None)
    with pytest.raises(DataError, match="cannot be written"):
        writer.save(checkpoint, [tmp_path / "model_checkpoint_2.pt"], None)
    writer.save(checkpoint, [tmp_path / "model_checkpoint_2.pt"], None)
    writer.wait()
    assert checkpoints.load(tmp_path / "model_checkpoint_2.pt").epoch == 1


def test_a_process_that_ends_waits_for_the_checkpoint_that_it_has_begun(tmp_path):
    program = """if True:
        import sys, torch
        from rayrml.saving.checkpoint_writer import CheckpointWriter
        from rayrml.saving.checkpoints import Checkpoint
        writer = CheckpointWriter(lambda path: None)
        writer.save(Checkpoint(1, {"w": torch.ones(2000, 2000)}, [], (1,)), [], sys.argv[1])
    """
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "last_epoch.pt")], check=True, timeout=120)
    assert checkpoints.load(tmp_path / "last_epoch.pt").epoch == 1
