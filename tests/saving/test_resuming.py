"""Each rule that separates the last run's files from others and selects the best of them."""

import os

import pytest
import torch

from rayrml.errors import DataError
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from rayrml.saving.resuming import find_resumable

PART = {"batch": 3, "losses": [], "random": [], "layout": []}
STATE, INTERRUPTED = "last_epoch.pt", "interrupted.pt"


@pytest.fixture
def put(tmp_path):
    """Writes a file of a run whose losses are all `loss`; later than the previous one, unless the time is given."""
    clock = iter(range(1000, 2000))

    def put_file(name, epoch, *, loss=0.5, time=None, **fields):
        history = [{"epoch": number, "train_loss": loss} for number in range(1, epoch + 1)]
        checkpoints.save(tmp_path / name, Checkpoint(epoch, {"w": torch.ones(1)}, [], (1,), history=history, **fields))
        moment = next(clock) if time is None else time
        os.utime(tmp_path / name, (moment, moment))

    return put_file


def named(epoch):
    return f"model_checkpoint_{epoch}.pt"


@pytest.fixture
def chosen(tmp_path):
    """The names of the files to resume from."""
    return lambda: [os.path.relpath(path, tmp_path) for path in find_resumable(tmp_path)]


def test_nothing_is_found_in_an_empty_folder_or_in_none(tmp_path, chosen):
    assert chosen() == []
    assert find_resumable(tmp_path / "none") == []


def test_without_states_the_last_checkpoint_is_taken(put, chosen):
    for epoch in (9, 10):
        put(named(epoch), epoch)
    assert chosen() == [named(10)]


def test_a_checkpoint_that_nothing_can_be_better_than_is_not_loaded(tmp_path, chosen):
    (tmp_path / named(1)).write_bytes(b"not looked at")
    assert chosen() == [named(1)]


def test_the_state_is_taken_where_it_is_further_than_the_checkpoints(put, chosen):
    put(named(2), 2)
    put(STATE, 3)
    assert chosen() == [STATE]


def test_a_state_alone_is_enough(put, chosen):
    put(STATE, 1)
    assert chosen() == [STATE]


def test_the_checkpoint_is_taken_where_the_state_is_of_the_same_epoch(put, chosen):
    put(named(2), 2)
    put(STATE, 2)
    assert chosen() == [named(2)]


def test_part_of_an_epoch_comes_before_the_last_whole_one(put, chosen):
    put(named(2), 2)
    put(STATE, 2)
    put(INTERRUPTED, 2, unfinished=PART)
    assert chosen() == [INTERRUPTED, named(2)]


def test_part_of_the_first_epoch_is_taken_alone(put, chosen):
    put(INTERRUPTED, 0, unfinished=PART)
    assert chosen() == [INTERRUPTED]


def test_part_of_an_epoch_that_was_finished_since_is_outdated(put, chosen):
    put(INTERRUPTED, 2, unfinished=PART)
    put(STATE, 3)
    assert chosen() == [STATE]


def test_checkpoints_of_an_earlier_and_longer_run_are_left(put, chosen):
    for epoch in (1, 2, 3):
        put(named(epoch), epoch, loss=0.9)
    put(named(1), 1)
    assert chosen() == [named(1)]


def test_states_of_an_earlier_run_are_left(put, chosen):
    put(STATE, 3, loss=0.9)
    put(INTERRUPTED, 3, loss=0.9, unfinished=PART)
    put(named(1), 1)
    assert chosen() == [named(1)]


def test_later_checkpoints_of_the_same_history_belong_to_the_last_run(put, chosen):
    put(named(3), 3)
    put(STATE, 2)
    assert chosen() == [named(3)]


def test_of_copied_files_which_all_have_one_time_the_longest_run_is_taken(put, chosen):
    put(named(1), 1, time=5)
    put(named(3), 3, loss=0.9, time=5)
    put(STATE, 1, time=5)
    assert chosen() == [named(3)]


def test_files_in_the_folder_that_are_no_checkpoints_are_not_looked_at(tmp_path, put, chosen):
    put(named(1), 1)
    (tmp_path / "best_model.pt").write_bytes(b"something else")
    assert chosen() == [named(1)]


def test_weights_alone_under_the_name_of_a_checkpoint_are_of_its_epoch(tmp_path, put, chosen):
    put(STATE, 2)
    torch.save({"w": torch.ones(1)}, tmp_path / named(5))
    assert chosen() == [named(5)]


def test_a_damaged_state_is_an_error_and_is_not_passed_over(tmp_path, put):
    put(named(1), 1)
    (tmp_path / STATE).write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"last_epoch\.pt' is not a checkpoint"):
        find_resumable(tmp_path)


def test_a_state_whose_checkpoint_was_removed_does_not_count(tmp_path, put, chosen):
    put(named(2), 2)
    put("best.pt", 3)
    checkpoints.save_reference(tmp_path / STATE, str(tmp_path / "best.pt"))
    assert chosen() == [STATE]
    (tmp_path / "best.pt").unlink()
    assert chosen() == [named(2)]
    (tmp_path / named(2)).unlink()
    assert chosen() == []
