"""Figures sent to MLflow and Weights & Biases: each once, to one run, and harmlessly if no server listens."""

import sys
import threading

import pytest

from rayrml.errors import ConfigError
from rayrml.planning.preparation import prepare
from rayrml.reporting import trackers
from rayrml.reporting.messages import EpochDone, Started
from rayrml.reporting.trackers import Tracking
from tests.conftest import training_config

CONFIG = {"neural_network": {"layers": ["many"], "data": {"batch_size": 5}, "outfile": None}, "ray": {"use_gpu": False}}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """MLflow's client for a local file store."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    from mlflow.tracking import MlflowClient

    return MlflowClient()


def figures(epoch):
    return {"epoch": epoch, "train_loss": 1 / epoch, "accuracy": 0.5}


def runs_in(store):
    return store.search_runs([store.get_experiment_by_name("rayrml").experiment_id])


@pytest.mark.filterwarnings("ignore")  # the client's own warnings
def test_mlflow_has_each_epoch_once_in_one_run_also_when_it_is_resumed(store, tmp_path):
    said = []
    begin = trackers.prepare_mlflow("my-run", CONFIG)
    first = Tracking("mlflow", begin, folder=str(tmp_path), resumed=False, say=said.append)
    for message in (Started(1), EpochDone(figures(1)), Started(1), EpochDone(figures(1)), EpochDone(figures(2))):
        first.receive(message)
    first.finish()
    assert [run.info.status for run in runs_in(store)] == ["KILLED"]
    (tmp_path / "plots").mkdir()
    for name in ("plots/loss.png", "config.resolved.json"):
        (tmp_path / name).write_text("content")
    second = Tracking("mlflow", begin, folder=str(tmp_path), resumed=True, say=said.append)
    second.receive(Started(3, resumed=True, history=(figures(1), figures(2))))
    second.receive(EpochDone(figures(3)))
    second.finish([str(tmp_path / "config.resolved.json"), str(tmp_path / "plots" / "loss.png")], complete=True)
    (run,) = runs_in(store)
    assert (run.info.status, run.info.run_name, said) == ("FINISHED", "my-run", [])
    assert run.data.params == {"data.batch_size": "5", "ray.use_gpu": "false"}
    points = store.get_metric_history(run.info.run_id, "train_loss")
    assert sorted((point.step, point.value) for point in points) == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [file.path for file in store.list_artifacts(run.info.run_id)] == ["config.resolved.json", "plots"]
    assert [file.path for file in store.list_artifacts(run.info.run_id, "plots")] == ["plots/loss.png"]


@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_a_run_without_a_server_and_goes_on_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    said = []
    begin = trackers.prepare_wandb("my-run", CONFIG, str(tmp_path))
    for resumed, epochs in ((False, (1, 2)), (True, (3,))):
        sent = Tracking("wandb", begin, folder=str(tmp_path), resumed=resumed, say=said.append)
        for epoch in epochs:
            sent.receive(EpochDone(figures(epoch)))
        sent.finish([], complete=True)
    assert said == []
    ids = {path.name.rpartition("-")[2] for path in (tmp_path / "wandb").glob("offline-run-*") if path.is_dir()}
    assert len(ids) == 1
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) >= 1


def test_a_server_that_is_away_is_told_of_once_and_gets_everything_when_it_is_back(tmp_path):
    said, got = [], {}
    away = [True]
    seen = threading.Event()

    class Server:
        id, epoch = "name", 0

        def figures(self, epoch, values):
            got[epoch] = values

        def end(self, *, complete):
            got["complete"] = complete

    def begin(known):
        if away[0]:
            seen.set()
            raise ConnectionError("nobody listens\nand more")
        return Server()

    sent = Tracking("mlflow", begin, folder=str(tmp_path), resumed=False, say=said.append)
    sent.receive(EpochDone(figures(1)))
    sent.receive(EpochDone(figures(2)))
    assert seen.wait(10)
    while not sent._work.empty():
        seen.wait(0.01)
    away[0] = False
    sent.receive(EpochDone(figures(3)))
    sent.finish(complete=True)
    assert list(got) == [1, 2, 3, "complete"]
    assert said == ["mlflow did not receive everything; training continues: nobody listens"]


def test_a_server_that_never_answers_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "_PATIENCE", 0.2)
    said, answer = [], threading.Event()
    sent = Tracking("wandb", lambda known: answer.wait(30), folder=str(tmp_path), resumed=False, say=said.append)
    sent.receive(EpochDone(figures(1)))
    sent.finish(complete=True)
    assert said == ["wandb did not receive everything; training continues: no answer"]
    answer.set()
    sent._thread.join()


@pytest.mark.parametrize("name", trackers.PACKAGES)
def test_the_package_and_a_folder_are_asked_for_before_the_run(tmp_path, write_digits, monkeypatch, name):
    for part in ("training", "testing"):
        write_digits(tmp_path / part, part, (1, 4, 7), 2)
    config = training_config(tmp_path, tmp_path)
    assert prepare(config, {f"checkpoints.{name}": True})
    with pytest.raises(ConfigError, match=rf"checkpoints\.{name}: .*Expected a folder"):
        prepare(config, {"checkpoints": {name: True}})
    monkeypatch.setitem(sys.modules, name, None)
    message = rf"{name} is not installed\. Install it with `pip install 'rayrml\[{name}\]'`"
    with pytest.raises(ConfigError, match=message):
        prepare(config, {f"checkpoints.{name}": True})
