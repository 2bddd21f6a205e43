"""A generator and its critic through epochs: kept and resumed together, the same for any number of workers."""

import dataclasses
from pathlib import Path

import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.saving import checkpoints
from tests.generation import configuration, run_here

KEPT = "model_checkpoint_3.pt"


def both(path):
    """All tensors of both networks and of their optimizers."""
    kept = checkpoints.load(path)
    critic = kept.of_critic()
    states = {
        f"{name}.{key}": value for name, own in (("g", kept), ("c", critic)) for key, value in own.network.items()
    }
    for name, own in (("g", kept), ("c", critic)):
        for number, state in own.optimizer["state"].items():
            states |= {f"{name}.{number}.{key}": value for key, value in state.items()}
    return states


def equal(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name]))]
    assert not different


def without_time(history):
    return [{name: value for name, value in figures.items() if name != "seconds"} for figures in history]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training without a stop: its folder and what it has said."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_here(configuration(folder))


@pytest.mark.parametrize("batches", [2, 4, 7])
def test_a_training_that_was_stopped_goes_on_with_the_same_bits(whole, tmp_path, batches):
    """In the middle of an epoch, or of its evaluation, and whoever is the next to be updated."""
    folder, expected = whole
    config = configuration(folder)
    config["neural_network"]["checkpoints"] = {"save": str(tmp_path / "run"), "interval": 2}
    first = run_here(config, batches=batches)
    assert 0 < len(first.rows) < 9 and len(first.history) < 3
    paths = [tmp_path / "run" / name for name in ("interrupted.pt", "last_epoch.pt")]
    run = run_here(config, resume_from=[str(path) for path in paths if path.exists()], run_id="again")
    assert without_time([*first.history, *run.history]) == without_time(expected.history)
    equal(both(tmp_path / "run" / KEPT), both(folder / "run" / KEPT))


def test_a_checkpoint_holds_the_generator_where_a_network_always_is_and_the_critic_beside_it(whole):
    folder, run = whole
    kept = checkpoints.load(str(folder / "run" / KEPT))
    assert set(kept.network) >= {"first.weight", "norm.running_mean"} and kept.input_shape == (4,)
    assert set(kept.critic["network"]) == {
        f"{name}.{kind}" for name in ("hidden", "score") for kind in ("weight", "bias")
    }
    assert kept.critic["updates"] == len(run.rows) == 9
    assert kept.critic["parameters"] == list(kept.critic["network"])
    assert kept.data["input_type"] == "images" and kept.loss["function"] == "Wasserstein"


def test_figures_of_an_epoch_are_those_of_both_networks_and_of_the_test(whole):
    _, run = whole
    names = ("train_loss", "wasserstein", "gradient_penalty", "generator_loss", "swd", "test_wasserstein")
    for figures in run.history:
        assert set(names) < set(figures) and "test_loss" not in figures
        loss = 10 * figures["gradient_penalty"] - figures["wasserstein"]
        assert figures["train_loss"] == pytest.approx(loss, rel=1e-5)
    known = [row.batch for row in run.rows if row.terms[2] == row.terms[2]]
    assert known == [2, 1, 3, 2]  # after each second update of the critic, counted through all epochs


def test_samples_are_drawn_after_the_first_epoch_and_at_the_interval_and_the_log_says_what_real_images_come_to(whole):
    folder, run = whole
    assert sorted(path.name for path in (folder / "run" / "samples").iterdir()) == ["epoch_1.png", "epoch_2.png"]
    assert str(folder / "run" / "samples" / "epoch_2.png") in run.saved
    (sentence,) = [text for text in run.phases if "come to" in text]
    assert sentence.startswith("9 training images come to SWD 0.")


def test_a_state_without_a_critic_is_refused(whole, tmp_path):
    folder, _ = whole
    kept = dataclasses.replace(checkpoints.load(str(folder / "run" / KEPT)), critic={}, epoch=1)
    checkpoints.save(tmp_path / "state.pt", kept)
    config = configuration(folder)
    config["neural_network"]["checkpoints"] = {"save": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match="holds no critic"):
        run_here(config, resume_from=[str(tmp_path / "state.pt")])


def test_both_networks_have_a_schedule_and_only_the_generator_an_average(tmp_path):
    schedule = {"type": "Step", "step_size": 1, "gamma": 0.5}
    optimizer = {"type": "SGD", "learning_rate": 0.01, "lr_scheduler": schedule}
    config = configuration(
        tmp_path, optimizer=optimizer, ema={"decay": 0.5}, loss={"gradient_penalty": 0, "clip": 0.02}
    )
    run = run_here(config)
    assert [figures["learning_rate"] for figures in run.history] == pytest.approx([0.01, 0.005, 0.0025])
    kept = checkpoints.load(str(tmp_path / "run" / KEPT))
    (group,) = kept.critic["optimizer"]["param_groups"]
    assert group["lr"] == pytest.approx(0.0025)
    assert kept.ema["steps"] == 4 and not kept.of_critic().ema
    assert max(tensor.abs().max() for tensor in kept.critic["network"].values()) <= 0.02


def test_images_that_are_read_in_each_epoch_come_to_the_same(whole, tmp_path):
    """And what is kept in memory is compared without being read once more."""
    folder, expected = whole
    checkpoints_of = {"save": str(tmp_path / "run")}
    run = run_here(configuration(folder, data={"preload": False}, num_epochs=1, checkpoints=checkpoints_of))
    assert [text for text in run.phases if "come to" in text] == [t for t in expected.phases if "come to" in t]


def test_a_training_ends_when_the_least_distance_no_longer_falls(tmp_path):
    still = {"type": "SGD", "learning_rate": 1e-12}
    early = {"patience": 1, "min_delta": 0.01}
    run = run_here(configuration(tmp_path, num_epochs=9, optimizer=still, early_stopping=early))
    assert len(run.history) == 2


def test_without_test_images_nothing_is_compared_and_no_epoch_is_the_best(tmp_path):
    run = run_here(configuration(tmp_path, data={"test_input_path": None}, num_epochs=2))
    assert not any("come to" in text for text in run.phases) and "swd" not in run.history[0]
    kept = sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_file())
    assert "best.pt" not in kept and "model_checkpoint_2.pt" in kept
    assert (tmp_path / "run" / "samples" / "epoch_1.png").exists()


def train_on(workers, folder):
    """Rows, figures, and the distances of a checkpoint of one worker."""
    folder = Path(folder)
    config = configuration(folder, num_epochs=1)
    config["neural_network"]["checkpoints"] = {"save": str(folder / f"run_{workers.size}")}
    run = run_here(config, workers=workers)
    kept = {"load": str(folder / "run" / KEPT)}
    figures = run_here(configuration(folder, checkpoints=kept, data={"input_path": None}), workers=workers).history
    return run.rows, run.history, figures


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_workers_trains_and_evaluates_in_the_same_way(whole, on_workers, size):
    import functools

    folder, expected = whole
    (rows, history, (of_checkpoint,)), *_ = on_workers(functools.partial(train_on, folder=str(folder)), size)[size]
    one = [row for row in expected.rows if row.epoch == 1]
    for own, other in zip(rows, one, strict=True):
        near = 1e-5 if own.batch == 1 else 1e-3
        assert own.gradient_norm == pytest.approx(other.gradient_norm, rel=near)
        assert own.loss == pytest.approx(other.loss, rel=near)
    assert history[0]["swd"] == pytest.approx(expected.history[0]["swd"], rel=1e-3)
    assert of_checkpoint["swd"] == expected.history[-1]["swd"]
    assert of_checkpoint["test_wasserstein"] == pytest.approx(expected.history[-1]["test_wasserstein"], rel=1e-5)
