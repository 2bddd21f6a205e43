import subprocess
import sys

import pytest
import torch

from rayrml.errors import DataError
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from rayrml.training.checkpoint_writer import CheckpointWriter


def test_a_checkpoint_is_of_the_moment_it_was_asked_for_though_it_is_written_later(tmp_path):
    saved = []
    writer = CheckpointWriter(saved.append)
    weight, history = torch.ones(3), [{"epoch": 1}]
    state = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    checkpoint = Checkpoint(1, {"w": weight}, [], (1,), optimizer=state, history=history)
    paths = [str(tmp_path / name) for name in ("best.pt", "model_checkpoint_1.pt", "elsewhere/last_epoch.pt")]
    taken = writer.take(checkpoint)
    writer.settle()
    writer.write(taken, paths[:2], paths[2])
    weight.fill_(7)
    state["state"][0]["step"].fill_(7)
    history.append({"epoch": 2})
    writer.wait()
    assert saved == paths[:2]
    for path in paths:
        written = checkpoints.load(path)
        assert written.network["w"].tolist() == [1, 1, 1]
        assert written.optimizer["state"][0]["step"] == 1
        assert written.history == [{"epoch": 1}]


def test_what_changes_early_is_copied_at_once(tmp_path):
    """Running statistics change in a forward pass, weights only once copying has settled."""
    statistic, weight = torch.ones(3), torch.ones(3)
    writer = CheckpointWriter(lambda path: None)
    taken = writer.take(Checkpoint(1, {"w": weight, "mean": statistic}, [], (1,)), {"mean"})
    statistic.fill_(7)
    writer.settle()
    weight.fill_(7)
    assert all(tensor.tolist() == [1, 1, 1] for tensor in taken.result().network.values())


def test_a_state_beside_its_checkpoint_only_names_it(tmp_path):
    """An epoch is one file, however many names it has."""
    best, own, state = (tmp_path / name for name in ("best.pt", "model_checkpoint_3.pt", "last_epoch.pt"))
    writer = CheckpointWriter(lambda path: None)
    checkpoint = Checkpoint(3, {"w": torch.ones(100_000)}, [], (1,), history=[{"epoch": 3}])
    writer.write(writer.take(checkpoint), [str(best), str(own)], str(state), history=[{"epoch": 3, "test_loss": 0.5}])
    writer.wait()
    assert best.samefile(own) and state.stat().st_size < 10_000
    for path in (best, own, state):
        assert checkpoints.load(path).history == [{"epoch": 3, "test_loss": 0.5}]
    # A new best one leaves the epoch's own file as it is.
    writer.write(writer.take(Checkpoint(4, {"w": torch.zeros(3)}, [], (1,))), [str(best)], str(state))
    writer.wait()
    assert [checkpoints.load(path).epoch for path in (best, own, state)] == [4, 3, 4]
    best.unlink()
    with pytest.raises(DataError, match=r"stands for '.*best\.pt', which does not exist"):
        checkpoints.load(state)


def test_a_checkpoint_that_cannot_be_written_is_an_error_of_the_next_call(tmp_path):
    (tmp_path / "folder").write_text("a file where a folder should be")
    writer = CheckpointWriter(lambda path: None)
    checkpoint = Checkpoint(1, {"w": torch.ones(3)}, [], (1,))
    writer.write(writer.take(checkpoint), [str(tmp_path / "folder" / "model_checkpoint_1.pt")], None)
    with pytest.raises(DataError, match="cannot be written"):
        writer.take(checkpoint)
    writer.write(writer.take(checkpoint), [str(tmp_path / "model_checkpoint_2.pt")], None)
    writer.wait()
    assert checkpoints.load(tmp_path / "model_checkpoint_2.pt").epoch == 1


def test_a_process_that_ends_waits_for_the_checkpoint_that_it_has_begun(tmp_path):
    program = """if True:
        import sys, torch
        from rayrml.training.checkpoint_writer import CheckpointWriter
        from rayrml.saving.checkpoints import Checkpoint
        writer = CheckpointWriter(lambda path: None)
        writer.write(writer.take(Checkpoint(1, {"w": torch.ones(2000, 2000)}, [], (1,))), [], sys.argv[1])
    """
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "last_epoch.pt")], check=True, timeout=120)
    assert checkpoints.load(tmp_path / "last_epoch.pt").epoch == 1
