"""A search on the session's Ray: trials that run in parallel, trials that fail, and what is kept."""

import csv
import json
import re
from pathlib import Path

import pytest

import rayrml
from rayrml import cli
from rayrml.saving import checkpoints
from rayrml.saving.run_lock import locked
from rayrml.tuning import tune
from tests.conftest import training_config, write_config

pytestmark = pytest.mark.ray
NUM_TRIALS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("tuning")
    write_digits(path / "training", "training", (1, 4, 7), 10)
    write_digits(path / "testing", "testing", (1, 4, 7), 4)
    return path


def searched(folder, out, learning_rate, **more):
    config = training_config(folder, out, preload=True)
    nn = config["neural_network"] | {"num_epochs": 6, **more}
    nn["optimizer"] = {"type": {"choice": ["SGD", "Adam"]}, "learning_rate": learning_rate}
    return {"neural_network": nn}


@pytest.fixture(scope="module")
def found(ray_cluster, folder):
    """The result of a search over learning rates, some of which cannot work."""
    config = searched(folder, folder / "out", {"choice": [1e-9, 1e-3, 0.02, 1e9]})
    return tune.tune(config, num_trials=NUM_TRIALS, at_once=2, quiet=True)


def test_each_trial_has_other_values_and_the_best_comes_first(found):
    assert sorted(row["number"] for row in found.rows) == list(range(1, NUM_TRIALS + 1))
    assert len({tuple(row["values"].values()) for row in found.rows}) == NUM_TRIALS
    best = [max((epoch["accuracy"] for epoch in row["history"]), default=-1) for row in found.rows]
    assert best == sorted(best, reverse=True)
    assert found.best_values == found.rows[0]["values"]
    assert found.best_metrics["accuracy"] == best[0]


def test_trials_end_in_order_or_early_or_with_a_reason(found):
    for row in found.rows:
        epochs = [epoch["epoch"] for epoch in row["history"]]
        assert epochs == list(range(1, len(epochs) + 1))
        assert row["status"] in ("done", "stopped", "failed")
        assert (len(epochs) == 6) if row["status"] == "done" else len(epochs) < 6
        assert bool(row["reason"]) == (row["status"] == "failed")
        if row["status"] == "failed":
            assert row["values"]["optimizer.learning_rate"] == 1e9
            assert "loss" in row["reason"]
    assert any(row["status"] == "done" for row in found.rows)


def test_the_table_has_what_the_result_has(found, folder):
    rows = list(csv.DictReader((folder / "out" / "model" / "trials.csv").read_text().splitlines()))
    assert [int(row["trial"]) for row in rows] == [row["number"] for row in found.rows]
    for row, other in zip(rows, found.rows, strict=True):
        assert row["optimizer.type"] == other["values"]["optimizer.type"]
        assert float(row["optimizer.learning_rate"]) == other["values"]["optimizer.learning_rate"]
    assert (folder / "out" / "model" / "trials.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_model_is_kept_and_no_other(found, folder):
    model = checkpoints.load(found.best_model)
    number = found.rows[0]["number"]
    kept = [path.parent.name for path in (folder / "out" / "model" / "trials").rglob("*.pt")]
    assert kept == [f"{number:03}"]
    assert model.epoch == found.best_metrics["epoch"]


def test_the_best_configuration_trains_to_the_same_figures(found, folder, monkeypatch):
    monkeypatch.chdir("/")
    result = rayrml.run(found.best_config, overrides={"checkpoints.save": str(folder / "again")}, quiet=True)
    for epoch, other in zip(result.history, found.rows[0]["history"], strict=True):
        assert epoch["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)


def test_resuming_runs_what_is_new(found, folder):
    config = searched(folder, folder / "out", {"choice": [1e-9, 1e-3, 0.02, 1e9]})
    again = tune.tune(config, num_trials=NUM_TRIALS + 1, resume=True, quiet=True)
    before = {row["number"]: row for row in found.rows}
    assert len(again.rows) == NUM_TRIALS + 1
    assert all(row == before.get(row["number"], row) for row in again.rows)
    config["neural_network"]["optimizer"]["learning_rate"]["choice"][0] = 1e-4
    with pytest.raises(rayrml.ConfigError, match="a search with other values"):
        tune.tune(config, resume=True, quiet=True)


def test_what_is_typed_shows_trials_the_table_and_what_to_type_next(ray_cluster, folder, tmp_path, capsys):
    config = searched(folder, tmp_path, {"loguniform": [1e-3, 1e-1]}, num_epochs=2)
    path = write_config(tmp_path / "config.json", config)
    assert cli.main(["tune", str(path), "--num-trials", "2", "--algorithm", "optuna"]) == 0
    shown = capsys.readouterr().out
    assert re.search(
        r"Trial \d \(1 of 2 done\): type = \w+, learning_rate = [\d.e-]+ \| accuracy [01]\.\d{4} ", shown
    ), shown
    assert re.search(r"Trial +type +learning_rate +accuracy +Best epoch +Epochs +Seconds +Status", shown)
    assert "\r" not in shown and "\x1b" not in shown
    assert shown.rstrip().endswith("All done (return value = 0).")
    state = json.loads((tmp_path / "model" / "trials.json").read_text())
    assert sorted(trial["number"] for trial in state["trials"]) == [1, 2]
    assert {trial["status"] for trial in state["trials"]} <= {"done", "stopped"}


def test_a_second_search_moves_the_first_one_aside_whole(ray_cluster, folder, tmp_path, capsys):
    config = searched(folder, tmp_path, {"choice": [0.01]}, num_epochs=1)
    first = tune.tune(config, num_trials=2, quiet=True)
    kept = {path.relative_to(tmp_path / "model") for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert Path("trials/001/metrics.json") in kept
    tune.tune(config, num_trials=1)
    said = capsys.readouterr().out
    assert f"The earlier run in {tmp_path}/model is now in {tmp_path}/model-1\n" in said
    assert f"To continue it instead: checkpoints.save={tmp_path}/model-1 --resume\n" in said
    moved = tmp_path / "model-1"
    assert {path.relative_to(moved) for path in moved.rglob("*") if path.is_file()} == kept
    assert not (tmp_path / "model" / "trials" / "002").exists()
    again = tune.tune(config, num_trials=2, resume=True, overrides={"checkpoints.save": str(moved)}, quiet=True)
    assert again.rows == first.rows
    overwriting = {"checkpoints.exist": "overwrite"}
    assert len(tune.tune(config, num_trials=1, overrides=overwriting, quiet=True).rows) == 1
    assert not (tmp_path / "model-2").exists()
    with locked(str(tmp_path / "model"), print), pytest.raises(rayrml.DataError, match="is writing to this folder"):
        tune.tune(config, num_trials=1, quiet=True)


def test_trials_that_all_fail_are_an_error_with_the_reason(ray_cluster, folder, tmp_path, capsys):
    config = searched(folder, tmp_path, {"choice": [1e12]})
    config["neural_network"]["optimizer"]["type"] = "SGD"
    assert cli.main(["tune", str(write_config(tmp_path / "config.json", config)), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert "all 1 trials failed" in told
    assert "Traceback" not in told
