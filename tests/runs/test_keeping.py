"""Complete runs: when a run evaluates, and when it writes its state."""

import dataclasses

import pytest
import torch

import rayrml
from rayrml.errors import ConfigError, DivergenceError
from rayrml.inference.outputs import Outputs
from rayrml.planning.preparation import prepare
from rayrml.reporting.messages import EpochDone
from rayrml.runs.training_run import make_job
from rayrml.saving import checkpoints
from rayrml.training.checkpoint_manager import warn_of_share
from rayrml.training.epoch_loop import Worker
from rayrml.workers import Workers
from tests.conftest import training_config

pytestmark = pytest.mark.ray

CLASSES = (1, 4, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("runs")
    write_digits(path / "training", "training", CLASSES, 9)
    write_digits(path / "testing", "testing", CLASSES, 4)
    return path


def configuration(folder, out, **settings):
    out.mkdir(exist_ok=True)
    nn = training_config(folder, out)["neural_network"] | settings
    nn["data"].pop("test_output_path")
    return {"neural_network": nn}


def test_only_some_epochs_are_evaluated_and_the_last_one_is(ray_cluster, folder, tmp_path):
    plateau = {"type": "SGD", "learning_rate": 0.1, "lr_scheduler": {"type": "Plateau", "patience": 1}}
    settings = {"num_epochs": 7, "optimizer": plateau, "checkpoints": {"save": str(tmp_path / "often" / "model")}}
    often = rayrml.run(configuration(folder, tmp_path / "often", **settings), quiet=True)
    settings["checkpoints"] = {"save": str(tmp_path / "seldom" / "model")}
    seldom = rayrml.run(configuration(folder, tmp_path / "seldom", **settings, evaluate_every=3), quiet=True)
    assert [h["epoch"] for h in seldom.history if "test_loss" in h] == [3, 6, 7]
    best = checkpoints.load(tmp_path / "seldom" / "model" / "best.pt")
    assert best.epoch in (3, 6, 7)
    # As long as the rate is the same, an evaluation changes nothing.
    same = [a["train_loss"] == b["train_loss"] for a, b in zip(often.history, seldom.history, strict=True)]
    assert all(same[:2])
    log = (tmp_path / "seldom" / "out_test.txt").read_text().splitlines()
    assert [line.split()[0] for line in log if line.split()[0].isdecimal()] == ["3", "6", "7"]


def test_an_epoch_after_which_a_run_ends_early_is_evaluated(ray_cluster, folder, tmp_path):
    stopping = {"patience": 1, "metric": "train_loss", "min_delta": 5.0}
    config = configuration(folder, tmp_path, num_epochs=9, evaluate_every=5, early_stopping=stopping)
    assert ["test_loss" in h for h in rayrml.run(config, quiet=True).history] == [False, True]


class Killed(BaseException):
    """The end of a process that tidies nothing up."""


class Driver:
    """Keeps messages, and looks into a folder whenever there is one."""

    def __init__(self, look):
        self.messages = []
        self.stops = False
        self._look = look

    def emit(self, message):
        self.messages.append(message)
        self._look(message)

    def asked_to_stop(self):
        return self.stops

    def unwritten(self):
        return ()


def worker(config, folder, look, minutes=None):
    job = make_job(prepare(config), state_folder=str(folder))
    if minutes is not None:
        kept = job.config.checkpoints.model_copy(update={"every_minutes": minutes})
        job = dataclasses.replace(job, config=job.config.model_copy(update={"checkpoints": kept}))
    return Worker(job, Workers(), torch.device("cpu"), driver=Driver(look), outputs=Outputs())


def test_an_epoch_is_on_disk_before_its_first_evaluation_ends(ray_cluster, folder, tmp_path):
    """How long the evaluation takes is not known yet; after one that took a moment, nothing is written before it."""
    found, place = [], tmp_path / "model" / "interrupted.pt"
    training = worker(configuration(folder, tmp_path), tmp_path / "model", lambda message: None)
    transform = training.evaluation_transforms

    def look(*given):
        training.checkpoints._writer.wait()
        found.append(checkpoints.load(place).unfinished["trained"] if place.exists() else None)
        return transform(*given)

    training.evaluation_transforms = look
    training.run()
    assert found[0] is True and found[-1] is None
    assert not (tmp_path / "model" / "interrupted.pt").exists()


def test_a_killed_run_goes_on_in_the_middle_of_its_epoch(ray_cluster, folder, tmp_path):
    """As a power failure leaves it: with the state that was written last, and nothing that was tidied up."""
    straight = rayrml.run(configuration(folder, tmp_path / "straight"), quiet=True)
    config, kept = configuration(folder, tmp_path / "killed"), tmp_path / "killed" / "model"

    def look(message):
        path = kept / "interrupted.pt"
        if path.exists() and not checkpoints.load(path).unfinished["trained"] and (kept / "last_epoch.pt").exists():
            raise Killed

    training = worker(config, kept, look, minutes=1e-9)
    with pytest.raises(Killed):
        training.run()
    state = checkpoints.load(kept / "interrupted.pt")
    assert state.epoch == 1 and 0 < state.unfinished["batch"] < 4
    resumed = rayrml.run(config, resume=True, quiet=True)
    for key in ("train_loss", "test_loss"):
        assert [h[key] for h in resumed.history] == [h[key] for h in straight.history]
    one, other = (checkpoints.load(run.checkpoints[-1]).network for run in (straight, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("when", "options"),
    [
        ("before the evaluation", {}),
        ("every few minutes", {}),
        ("on request", {}),
        ("before the evaluation", {"ema": {"decay": 0.9}}),
        ("on request", {"ema": {"decay": 0.9}}),
    ],
)
def test_weights_that_are_not_finite_are_never_written(ray_cluster, folder, tmp_path, when, options):
    """Whatever asks for the state, the last good one stays; beside an average, weights in training count, too."""
    place = tmp_path / "model" / "interrupted.pt"

    def look(message):
        training.driver.stops |= when == "on request" and isinstance(message, EpochDone)

    def spoiling(method):
        """The method, before whose first use in the second epoch a weight becomes infinite."""

        def call(trainee, reached, *arguments, **options):
            if reached.epoch == 2 and not kept:
                training.checkpoints._writer.wait()
                kept.append(place.read_bytes() if place.exists() else None)
                next(training.network.parameters()).data[0] = torch.inf
            return method(trainee, reached, *arguments, **options)

        return call

    kept = []
    minutes = 1e-9 if when == "every few minutes" else None
    config = configuration(folder, tmp_path, num_epochs=3, **options)
    training = worker(config, tmp_path / "model", look, minutes=minutes)
    training._evaluation_seconds = None if when == "before the evaluation" else 0.0
    for name in ("begin", "save_unfinished"):
        setattr(training.checkpoints, name, spoiling(getattr(training.checkpoints, name)))
    with pytest.raises(DivergenceError, match=r"' is not finite (in|after) epoch 2"):
        training.run()
    assert (place.read_bytes() if place.exists() else None) == kept[0]
    assert checkpoints.load(tmp_path / "model" / "last_epoch.pt").epoch == 1


@pytest.mark.parametrize("within", [True, False])
def test_a_worker_that_restarts_goes_without_a_state_whose_checkpoint_was_removed(
    ray_cluster, folder, tmp_path, within
):
    """The state of the last epoch only names its checkpoint; one of the next epoch is complete by itself."""
    kept = tmp_path / "model"

    def look(message):
        last, middle = kept / "last_epoch.pt", kept / "interrupted.pt"
        ended = last.exists() and (not within or (middle.exists() and "batch" in checkpoints.load(middle).unfinished))
        if ended and not (within and checkpoints.load(middle).epoch == 0):
            raise Killed

    training = worker(configuration(folder, tmp_path), kept, look, minutes=1e-9 if within else None)
    with pytest.raises(Killed):
        training.run()
    for path in kept.glob("*.pt"):
        if path.name not in ("last_epoch.pt", "interrupted.pt"):
            path.unlink()
    with pytest.raises(checkpoints.LostReference, match=r"stands for .*, which does not exist"):
        checkpoints.load(kept / "last_epoch.pt")
    again = Worker(training.job, Workers(), torch.device("cpu"), driver=Driver(lambda _: None), outputs=Outputs())
    assert (again.progress.epoch, again.progress.batch > 0) == ((2, True) if within else (1, False))


def test_workers_agree_on_when_the_state_is_written(ray_cluster, folder, tmp_path):
    """Each step is followed by a state, in which all take part; nothing of it stays, and results are the same."""
    straight = rayrml.run(configuration(folder, tmp_path / "straight"), num_workers=3, quiet=True)
    config = configuration(folder, tmp_path / "often")
    config["neural_network"]["checkpoints"]["every_minutes"] = 1e-9
    often = rayrml.run(config, num_workers=3, quiet=True)
    assert [h["test_loss"] for h in often.history] == [h["test_loss"] for h in straight.history]
    names = [{path.name for path in (tmp_path / run / "model").iterdir()} for run in ("often", "straight")]
    assert names[0] == names[1]


@pytest.mark.parametrize("minutes", [0, -5.0, float("nan"), float("inf"), "5"])
def test_states_are_written_after_a_time(folder, tmp_path, minutes):
    with pytest.raises(ConfigError, match="every_minutes"):
        prepare(configuration(folder, tmp_path, checkpoints={"save": "model", "every_minutes": minutes}))


def test_a_state_whose_writing_takes_much_of_the_time_between_two_is_warned_of():
    assert warn_of_share(3.0, None) is None and warn_of_share(6.0, 1.0) is None
    warning = warn_of_share(7.0, 1.0)
    assert "takes 7.0 s, more than 10% of the 1 minutes" in warning and "1.2 minutes would be enough" in warning


def test_a_state_needs_a_place(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"every_minutes: has no effect: 'save' is missing"):
        prepare(configuration(folder, tmp_path, checkpoints={"every_minutes": 5.0}))
