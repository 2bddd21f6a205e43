"""Workers that end together in the middle of an epoch because one of them is about to be lost, and go on later."""

import functools
from pathlib import Path

import pytest
import torch

from rayrml.cluster.ray_internals import WorkersLeave
from rayrml.reporting.messages import Interrupted, Phase, Started
from rayrml.saving import checkpoints
from rayrml.training.early_end import EarlyEnd
from rayrml.training.preemption import Notice
from rayrml.training.wishes import Wishes
from rayrml.workers import Workers
from tests.generation import CRITIC, SIZE, Listener, configuration, run_here, write_squares

LAYERS = [
    {"class_name": "Flatten", "config": {"name": "flat", "batch_input_shape": [None, SIZE, SIZE, 1]}},
    {"class_name": "Dense", "config": {"units": 8, "name": "hidden"}},
    {"class_name": "BatchNormalization", "config": {"name": "norm", "axis": -1}},
    {"class_name": "Dropout", "config": {"rate": 0.5, "name": "dropout"}},
    {"class_name": "Dense", "config": {"units": 2, "name": "classes", "activation": "log_softmax"}},
]
NORMALIZED_CRITIC = [*CRITIC[:2], {"class_name": "BatchNormalization", "config": {"name": "norm"}}, *CRITIC[2:]]
# When workers have asked so often, they are in the second epoch: in its middle, or in its evaluation.
WAYS = [("kept", 7), ("streamed", 7), ("balanced", 7), ("local", 7), ("gan", 6), ("kept", 10)]


class Soon(Notice):
    """The notice of a worker that is told of its loss when it asks for the n-th time."""

    def __init__(self, questions):
        self._left = questions

    def find_reason(self):
        self._left -= 1
        return "received SIGTERM" if self._left <= 0 else None


def settings(folder, save, way):
    """A training of 3 epochs of 5 batches or so."""
    kept = {"save": str(folder / save), "interval": 1}
    if way == "gan":
        return configuration(folder, critic={"layers": NORMALIZED_CRITIC}, checkpoints=kept)
    if not (folder / "images").exists():
        write_squares(folder / "images" / "a", 22)
        write_squares(folder / "images" / "b", 9)
        write_squares(folder / "test" / "a", 4)
        write_squares(folder / "test" / "b", 5)
    config = configuration(
        folder,
        app="dnn",
        layers=LAYERS,
        checkpoints=kept,
        optimizer={"type": "Adam", "accumulate": 2 if way == "kept" else 1},
        loss={"function": "NLL"},
        data={
            "input_path": str(folder / "images"),
            "test_input_path": str(folder / "test"),
            "target_type": "labels",
            "preload": way != "streamed",
            "transforms": [{"random_rotate": 10}],
            **({"sampling": "balanced"} if way == "balanced" else {}),
        },
    )
    section = config["neural_network"]
    del section["critic"], section["loss"]["critic_steps"]
    if way == "kept":
        section["ema"] = {"decay": 0.9}
    config["ray"] = {"batch_norm": "local"} if way == "local" else {}
    return config


def lose_and_go_on(workers, folder, way, questions):
    """One worker is told of its loss within the second epoch; what the run leaves with and without that."""
    folder = Path(folder)
    whole = run_here(settings(folder, "whole", way), workers=workers)
    hurt = settings(folder, "hurt", way)
    notice = Soon(questions) if workers.rank == workers.size - 1 else Notice()
    with pytest.raises(WorkersLeave) as left:
        run_here(hurt, workers=workers, notice=notice)
    assert left.value.preempted
    state = checkpoints.load(str(folder / "hurt" / "interrupted.pt")) if workers.rank == 0 else None
    resumed = run_here(hurt, workers=workers)
    if state is None:
        return None
    begun = next(message for message in resumed.messages if isinstance(message, Started))
    return state.epoch + 1, state.unfinished["batch"], begun, resumed.history, whole.history


@pytest.mark.parametrize(("way", "questions"), WAYS)
def test_the_run_goes_on_with_the_next_batch_to_the_same_bits(tmp_path, on_workers, way, questions):
    settings(tmp_path, "run", way)  # writes the images
    work = functools.partial(lose_and_go_on, folder=str(tmp_path), way=way, questions=questions)
    epoch, batch, begun, resumed, whole = on_workers(work, 3)[3][0]
    assert (epoch, batch) == (begun.epoch, begun.batch) == (2, 4 if questions == 10 else 2)
    timeless = [[{k: v for k, v in h.items() if k != "seconds"} for h in history] for history in (resumed, whole)]
    assert timeless[0] == timeless[1][epoch - 1 :]
    one, other = (checkpoints.load(str(tmp_path / run / "model_checkpoint_3.pt")) for run in ("hurt", "whole"))
    for mine, theirs in ((one.network, other.network), (one.in_training, other.in_training)):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    mine, theirs = (kept.critic.get("network", {}) for kept in (one, other))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert bool(mine) == (way == "gan")


def only_lose(workers, folder):
    with pytest.raises(WorkersLeave):
        run_here(settings(Path(folder), "run", "local"), workers=workers, notice=Soon(7))


def test_another_number_of_workers_goes_on_with_the_next_batch(tmp_path, on_workers):
    """An elastic run has fewer workers after the loss; statistics that each had of its own are averaged."""
    config = settings(tmp_path, "run", "local")
    on_workers(functools.partial(only_lose, folder=str(tmp_path)), 3)
    state = checkpoints.load(str(tmp_path / "run" / "interrupted.pt"))
    of_workers = [own[0]["norm.running_mean"] for own in state.unfinished["statistics"]]
    assert len(of_workers) == 3 and not torch.equal(of_workers[0], of_workers[1])
    alone = run_here(config)
    begun = next(message for message in alone.messages if isinstance(message, Started))
    assert (begun.epoch, begun.batch) == (state.epoch + 1, state.unfinished["batch"])
    places = [(row.epoch, row.batch) for row in alone.rows]
    assert places == sorted(set(places)) and places[0] == (begun.epoch, begun.batch + 1)
    assert [h["epoch"] for h in alone.history][-1] == 3


def test_a_run_that_is_to_stop_stops_even_if_a_worker_is_about_to_be_lost():
    driver, sent = Listener(1), []
    end = EarlyEnd(Workers(), driver, Soon(1), sent.append)
    assert end.wishes(save=True) == Wishes(stop=True, save=True, leave=True)
    assert end.ask_all(torch.device("cpu"))
    end.finish(2, 7)
    assert sent == [Interrupted(2, 7)] and not driver.messages


def test_a_worker_that_is_about_to_be_lost_says_why_and_what_is_kept():
    driver = Listener()
    end = EarlyEnd(Workers(), driver, Soon(1), driver.emit)
    assert not end.agree(Wishes(save=True))
    assert end.agree(Wishes(leave=True))
    with pytest.raises(WorkersLeave):
        end.finish(2, 7)
    assert driver.messages == [Phase("Worker 0 received SIGTERM: the state after batch 7 of epoch 2 is kept")]
