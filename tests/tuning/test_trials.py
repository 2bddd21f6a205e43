"""What a search keeps of its trials while others are still running."""

import json
import math
from pathlib import Path

import pytest

from rayrml.config.search_spaces import Space
from rayrml.tuning.trials import Trial, Trials

SPACE = Space(("neural_network", "num_epochs"), "randint", [1, 9])


@pytest.fixture
def book(tmp_path):
    return Trials(str(tmp_path), "accuracy", [SPACE])


def add(book, number, figures):
    trial = book.trials[number] = Trial(number, {SPACE.name: number})
    trial.history = [{"epoch": epoch, "accuracy": figure} for epoch, figure in enumerate(figures, 1)]
    folder = Path(book.path(number))
    folder.mkdir(parents=True)
    for name in ("best", "last_epoch"):
        (folder / f"{name}.pt").write_bytes(b"")
    return trial


def kept(tmp_path):
    return sorted(f"{path.parent.name} {path.stem}" for path in tmp_path.rglob("*.pt"))


def test_the_best_of_those_that_are_over_keeps_its_best_model_whatever_the_others_come_to(book, tmp_path):
    first, leading = add(book, 1, [0.1, 0.6, 0.5]), add(book, 2, [0.9])
    book.over(first, "done")
    assert kept(tmp_path) == ["001 best", "002 best", "002 last_epoch"]
    assert book.model().endswith("001/best.pt")
    book.over(leading, "stopped")
    assert kept(tmp_path) == ["002 best"]
    book.over(add(book, 3, [0.2, 0.3]), "done")
    assert kept(tmp_path) == ["002 best"]
    assert [trial.number for trial in book.ordered()] == [2, 1, 3]


def test_trials_that_are_over_are_read_again(book, tmp_path):
    book.over(add(book, 1, [0.5, math.nan]), "failed", "the loss is not a finite number")
    add(book, 2, [0.7])
    book.save()
    json.loads((tmp_path / "trials.json").read_text(), parse_constant=pytest.fail)
    again = Trials(str(tmp_path), "accuracy", [SPACE])
    again.resume()
    (trial,) = again.trials.values()
    assert (trial.status, trial.reason, len(trial.history)) == ("failed", "the loss is not a finite number", 2)
    assert trial.best("accuracy") == {"epoch": 1, "accuracy": 0.5}
