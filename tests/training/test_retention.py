"""Which checkpoints stay, by what a configuration says."""

import pytest

from rayrml.config.keeping import Checkpoints
from rayrml.training.retention import find_retention


def left(num_epochs, accuracies=None, **section):
    """The epochs whose own files are there after the last epoch, and the epoch of `best.pt`."""
    keeps = find_retention(Checkpoints(**section), tested=accuracies is not None)
    there, best, history = [], None, []
    for epoch in range(1, num_epochs + 1):
        tested = {} if accuracies is None else {"test_loss": 1.0, "accuracy": accuracies[epoch - 1]}
        history.append({"epoch": epoch, "train_loss": 1 / epoch, **tested})
        if keeps.includes_best(history):
            best = epoch
        if keeps.includes(epoch, last=epoch == num_epochs):
            there.append(epoch)
        if (old := keeps.outdated(epoch)) is not None and old in there:
            there.remove(old)
    return there, best


RISING_AND_FALLING = [0.5, 0.9, 0.9, 0.7, 0.6, 0.8]


@pytest.mark.parametrize(
    ("section", "epochs", "best"),
    [
        ({}, [6], 2),
        ({"keep": "best+last"}, [6], 2),
        ({"keep": "best"}, [], 2),
        ({"keep": "last"}, [6], 2),
        ({"keep": "all"}, [1, 2, 3, 4, 5, 6], 2),
        ({"keep": 2}, [5, 6], 2),
        ({"interval": 4}, [4, 6], 2),
        ({"interval": 1}, [1, 2, 3, 4, 5, 6], 2),
        ({"interval": 2, "keep": 2}, [2, 4, 5, 6], 2),
        ({"interval": 5, "keep": "best"}, [5, 6], 2),
    ],
)
def test_with_test_samples_the_best_epoch_always_stays(section, epochs, best):
    assert left(6, RISING_AND_FALLING, **section) == (epochs, best)


@pytest.mark.parametrize(
    ("section", "epochs", "best"),
    [({}, [3], None), ({"keep": "all"}, [1, 2, 3], None), ({"keep": "best"}, [], 3), ({"keep": "best+last"}, [3], 3)],
)
def test_without_test_samples_there_is_a_best_epoch_only_if_it_is_asked_for(section, epochs, best):
    assert left(3, **section) == (epochs, best)


def test_a_best_checkpoint_that_is_there_when_a_run_is_resumed_is_kept_up_to_date():
    history = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]
    assert not find_retention(Checkpoints(keep="last"), tested=False).includes_best(history)
    assert find_retention(Checkpoints(keep="last"), tested=False, continues_best=True).includes_best(history)
