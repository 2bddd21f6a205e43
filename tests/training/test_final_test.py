"""The final test: once, after training, with the best model, whatever the number of workers."""

import json
import os
import signal

import pytest
import torch

import rayrml
from rayrml.inference.outputs import Outputs
from rayrml.planning.preparation import prepare
from rayrml.reporting.messages import EpochDone, FinalTested, Interrupted
from rayrml.runs.training_run import make_job
from rayrml.training.epoch_loop import Worker
from rayrml.workers import Workers
from tests.conftest import training_config
from tests.faults.runs import when

pytestmark = pytest.mark.ray
CLASSES = (3, 8, 9)


@pytest.fixture(scope="module")
def photos(tmp_path_factory, write_digits):
    """Folders `train`, `val` and `test` of digits."""
    folder = tmp_path_factory.mktemp("final") / "photos"
    for part, kind, count in (("train", "training", 12), ("val", "testing", 5), ("test", "training", 9)):
        write_digits(folder / part, kind, CLASSES, count)
    return folder


def configuration(photos, out, **settings):
    """A training whose first epochs are better than its last one."""
    out.mkdir(exist_ok=True)
    config = training_config(photos, out, input_path=str(photos))
    nn = config["neural_network"]
    del nn["data"]["test_input_path"], nn["data"]["test_output_path"], nn["outfile"]
    nn["optimizer"] = {"type": "SGD", "learning_rate": 0.05, "lr_scheduler": {"type": "Exponential", "gamma": 3.0}}
    nn |= {"num_epochs": 4, "checkpoints": {"save": str(out / "model"), "plots": False}}
    return {"neural_network": nn | settings}


@pytest.fixture(scope="module")
def runs(ray_cluster, photos, tmp_path_factory):
    """The same training with one and with three workers, and the folder of each."""
    results = {}
    for num_workers in (1, 3):
        out = tmp_path_factory.mktemp(f"final_{num_workers}")
        results[num_workers] = rayrml.run(configuration(photos, out), num_workers=num_workers, quiet=True), out
    return results


def metrics_of(out):
    return json.loads((out / "model" / "metrics.json").read_text())


@pytest.mark.parametrize("num_workers", [1, 3])
def test_the_best_model_is_tested_with_any_number_of_workers(runs, photos, tmp_path, num_workers):
    result, out = runs[num_workers]
    best = min(result.history, key=lambda row: (-row["accuracy"], row["test_loss"], row["epoch"]))
    alone = rayrml.evaluate(out / "model", photos / "test", tmp_path / "evaluation", quiet=True).metrics
    assert best["epoch"] < 4
    assert result.final_test == {
        "epoch": best["epoch"],
        "samples": 27,
        "loss": pytest.approx(alone["test_loss"], abs=1e-6),
        "accuracy": pytest.approx(alone["accuracy"]),
    }
    assert result.final_test == pytest.approx(runs[1][0].final_test, abs=1e-5)
    assert metrics_of(out)["final_test"] | result.final_test == metrics_of(out)["final_test"]
    assert sum(row["samples"] for row in metrics_of(out)["final_test"]["classes"].values()) == 27


def test_the_paths_that_were_found_are_recorded_and_the_history_is_that_of_the_validation(runs, photos):
    result, out = runs[1]
    data = json.loads((out / "model" / "config.resolved.json").read_text())["neural_network"]["data"]
    keys = ("input_path", "test_input_path", "final_test_input_path")
    assert [data[key] for key in keys] == [str(photos / part) for part in ("train", "val", "test")]
    repeated = rayrml.check(out / "model" / "config.resolved.json")
    assert [len(source.samples) for source in repeated.sources] == [36, 15, 27]
    assert [sorted(row) for row in result.history] == [
        ["accuracy", "epoch", "learning_rate", "seconds", "test_loss", "train_loss"]
    ] * 4


def test_a_resumed_run_tests_the_same_model(runs, photos, tmp_path):
    rayrml.run(configuration(photos, tmp_path, num_epochs=3), quiet=True)
    resumed = rayrml.run(configuration(photos, tmp_path), resume=True, quiet=True)
    assert resumed.final_test == runs[1][0].final_test


def test_a_finished_run_is_tested_again_and_keeps_its_other_figures(ray_cluster, photos, tmp_path):
    config = configuration(photos, tmp_path, num_epochs=2)
    first = rayrml.run(config, quiet=True)
    before = metrics_of(tmp_path)
    (tmp_path / "model" / "metrics.json").write_text(json.dumps(before | {"final_test": None}))
    assert rayrml.run(config, resume=True, quiet=True).final_test == first.final_test
    assert metrics_of(tmp_path) == before


def test_a_run_that_ended_early_is_tested_and_trains_no_further_when_it_is_resumed(ray_cluster, photos, tmp_path):
    config = configuration(photos, tmp_path, num_epochs=9, early_stopping={"patience": 2, "metric": "train_loss"})
    first = rayrml.run(config, quiet=True)
    resumed = rayrml.run(config, resume=True, quiet=True)
    assert len(first.history) < 9
    assert (resumed.history, resumed.final_test) == (first.history, first.final_test)


def test_the_last_model_is_tested_where_only_that_is_kept(ray_cluster, photos, tmp_path):
    config = configuration(photos, tmp_path)
    del config["neural_network"]["checkpoints"]
    assert rayrml.run(config, quiet=True).final_test["epoch"] == 4


def test_the_trials_of_a_search_do_not_see_the_final_test(ray_cluster, photos, tmp_path):
    config = configuration(photos, tmp_path, num_epochs=1)
    config["neural_network"]["seed"] = {"choice": [0, 1]}
    plan = rayrml.check(config, overrides={"seed": 0})
    assert [source.name for source in plan.without_final_test().sources] == ["training", "test"]
    assert plan.without_final_test().datasets.final_test is None


class Impatient:
    """A driver that asks to stop as soon as the last epoch is done."""

    def __init__(self, num_epochs):
        self.num_epochs = num_epochs
        self.messages = []
        self.asked = False

    def emit(self, message):
        self.messages.append(message)
        self.asked |= isinstance(message, EpochDone) and message.figures["epoch"] == self.num_epochs

    def asked_to_stop(self):
        return self.asked

    def unwritten(self):
        return ()


def test_an_interrupted_test_is_made_up_for_when_the_run_is_resumed(runs, photos, tmp_path):
    plan = prepare(configuration(photos, tmp_path))
    driver = Impatient(4)
    job = make_job(plan, state_folder=str(tmp_path / "model"))
    Worker(job, Workers(), torch.device("cpu"), driver=driver, outputs=Outputs()).run()
    assert isinstance(driver.messages[-1], Interrupted)
    assert not any(isinstance(message, FinalTested) for message in driver.messages)
    resumed = rayrml.run(configuration(photos, tmp_path), resume=True, quiet=True)
    assert resumed.final_test == runs[1][0].final_test


def test_an_interrupted_run_is_not_tested_and_says_so(ray_cluster, photos, tmp_path, capsys):
    watch = when(lambda: (tmp_path / "model" / "history.csv").exists(), lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        rayrml.run(configuration(photos, tmp_path, num_epochs=500, optimizer={"type": "SGD", "learning_rate": 1e-3}))
    watch.join()
    assert "The final test was not done: it follows the last epoch" in capsys.readouterr().out
    assert not (tmp_path / "model" / "metrics.json").exists()
