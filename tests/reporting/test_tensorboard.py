"""Event files, read by TensorBoard's own reader, and the message if they cannot be written."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rayrml.errors import ConfigError
from rayrml.planning.preparation import prepare
from rayrml.reporting import tensorboard
from rayrml.reporting.messages import EpochDone, Started
from tests.conftest import training_config


def figures(epoch):
    return {"epoch": epoch, "train_loss": 1.0 / epoch, "learning_rate": 0.5, "test_loss": 2.0, "accuracy": 0.25}


def test_each_epoch_is_written_once(tmp_path):
    events = tensorboard.EventFiles(str(tmp_path / "run"))
    events.receive(Started(2, resumed=True, history=(figures(1),)))
    events.receive(EpochDone(figures(2)))
    events.receive(Started(3, history=(figures(1), figures(2))))  # a worker was lost
    events.receive(EpochDone(figures(4)))
    events.close()
    found = EventAccumulator(str(tmp_path / "run")).Reload()
    assert sorted(found.Tags()["scalars"]) == ["accuracy", "learning_rate", "loss/test", "loss/train"]
    assert [(e.step, e.value) for e in found.Scalars("loss/train")] == [(1, 1.0), (2, 0.5), (4, 0.25)]


def test_a_second_file_of_a_run_leaves_the_first_one(tmp_path):
    for epoch in (1, 2):
        events = tensorboard.EventFiles(str(tmp_path))
        events.receive(EpochDone(figures(epoch)))
        events.close()
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in found.Scalars("loss/train")] == [1, 2]


def test_a_folder_of_this_machine_is_asked_for(tmp_path, write_digits):
    for part in ("training", "testing"):
        write_digits(tmp_path / part, part, (1, 4, 7), 2)
    wanted = {"checkpoints.tensorboard": True}
    config = training_config(tmp_path, tmp_path)
    assert prepare(config, wanted).config.neural_network.checkpoints.tensorboard
    with pytest.raises(ConfigError, match=r"checkpoints\.tensorboard: event files are .* a folder on this machine"):
        prepare(config, {**wanted, "checkpoints.save": None})
