"""Whole runs of generators."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import rayrml
from rayrml.errors import ConfigError, DivergenceError
from rayrml.exporting.export import export
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from tests.conftest import datasets_of
from tests.generation import SIZE, configuration
from tests.training.test_adversarial_trainee import both, equal

pytestmark = pytest.mark.ray

CLASSIFIER = [
    {"class_name": "Flatten", "config": {"name": "flat", "batch_input_shape": [None, SIZE, SIZE, 1]}},
    {"class_name": "Dense", "config": {"units": 5, "name": "features", "activation": "relu"}},
    {"class_name": "Dense", "config": {"units": 3, "name": "classes", "activation": "log_softmax"}},
]
COLUMNS = ("wasserstein", "gradient_penalty", "generator_loss", "swd", "test_wasserstein")


@pytest.fixture(scope="module")
def trained(ray_cluster, tmp_path_factory):
    """A training's folder, its configuration and its result."""
    folder = tmp_path_factory.mktemp("gan")
    config = configuration(folder, num_epochs=2, outfile=str(folder / "out.txt"), early_stopping={"patience": 5})
    return folder, config, rayrml.run(config, quiet=True)


def test_a_training_leaves_figures_samples_and_plots(trained):
    folder, _, result = trained
    run = folder / "run"
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert len(rows) == 2 and all(row[name] for row in rows for name in COLUMNS) and not rows[0]["test_loss"]
    lines = (folder / "out_train.txt").read_text().splitlines()
    assert len(lines) == 6 and {len(line.split()) for line in lines} == {8}
    assert [line.split()[0] for line in (folder / "out_test.txt").read_text().splitlines()] == ["1", "2"]
    for path in (run / "samples" / "epoch_1.png", run / "plots" / "samples.png"):
        with Image.open(path) as picture:
            assert picture.size == (8 * SIZE + 14,) * 2 and picture.mode == "L"
    assert (run / "plots" / "loss.png").exists()
    least = min(result.history, key=lambda figures: figures["swd"])
    assert json.loads((run / "metrics.json").read_text())["best"]["epoch"] == least["epoch"]


def test_a_resumed_run_ends_with_the_bits_of_one_that_was_not_interrupted(trained, tmp_path):
    folder, config, _ = trained
    section = {**config["neural_network"], "outfile": None, "checkpoints": {"save": str(tmp_path / "run")}}
    rayrml.run({"neural_network": {**section, "num_epochs": 1}}, quiet=True)
    rayrml.run({"neural_network": section}, resume=True, quiet=True)
    equal(both(tmp_path / "run" / "model_checkpoint_2.pt"), both(folder / "run" / "model_checkpoint_2.pt"))


def test_several_workers_learn_the_same_and_ask_a_classifier(trained, tmp_path):
    """The classifier has learnt nothing, but has features."""
    _, config, result = trained
    torch.manual_seed(0)
    network = build_network(CLASSIFIER)
    data = {"input_type": "images", "grayscale": True}
    kept = Checkpoint(1, network.state_dict(), CLASSIFIER, (1, SIZE, SIZE), data=data, loss={"function": "NLL"})
    checkpoints.save(tmp_path / "classifier.pt", kept)
    section = {**config["neural_network"], "outfile": None, "checkpoints": {"save": str(tmp_path / "run")}}
    section |= {"metric": "frechet", "metric_network": str(tmp_path / "classifier.pt"), "num_epochs": 1}
    found = rayrml.run({"neural_network": section}, num_workers=2, quiet=True).metrics
    assert set(found) >= {"frechet", "entropy", "sure"}
    for name in COLUMNS:
        assert found[name] == pytest.approx(result.history[0][name], rel=1e-3, abs=1e-5), name


def test_samples_of_a_checkpoint_follow_from_the_seed_and_their_numbers(trained, tmp_path):
    folder, _, _ = trained
    model = str(folder / "run" / "model_checkpoint_2.pt")
    made = rayrml.predict(model, output=tmp_path / "a", num_samples=70, quiet=True)
    samples = datasets_of(tmp_path / "a" / "output_1.h5")
    assert made.count == 70 and sorted(samples) == [f"sample_{number:06}" for number in range(70)]
    assert samples["sample_000000"].shape == (1, SIZE, SIZE)
    with Image.open(tmp_path / "a" / "samples.png") as picture, Image.open(folder / "run/samples/epoch_2.png") as other:
        assert np.abs(np.asarray(picture, int) - np.asarray(other, int)).max() <= 1
    few = {"data.test_batch_size": 3, "data.test_output_images": "always"}
    rayrml.predict(model, output=tmp_path / "b", num_samples=5, overrides=few, quiet=True)
    others = datasets_of(tmp_path / "b" / "output_1.h5")
    assert len(others) == 5
    assert all(others[name] == pytest.approx(samples[name], abs=1e-6) for name in others)
    with Image.open(tmp_path / "b" / "images_1" / "sample_000003.png") as picture:
        assert np.abs(np.asarray(picture) / 255 - others["sample_000003"][0]).max() < 0.01
    rayrml.predict(model, output=tmp_path / "c", num_samples=5, overrides={"seed": 1}, quiet=True)
    assert not np.array_equal(datasets_of(tmp_path / "c" / "output_1.h5")["sample_000000"], samples["sample_000000"])


def test_a_configuration_generates_samples_without_images(trained, tmp_path):
    folder, config, _ = trained
    section = {
        "app": "gan",
        "layers": config["neural_network"]["layers"],
        "checkpoints": {"load": str(folder / "run" / "model_checkpoint_2.pt")},
        "data": {"num_test_examples": 3, "test_output_path": str(tmp_path)},
    }
    result = rayrml.run({"neural_network": section}, quiet=True)
    assert result.metrics == {"num_predictions": 3}
    assert len(datasets_of(tmp_path / "output_1.h5")) == 3 and (tmp_path / "samples.png").exists()


def test_an_evaluation_of_a_checkpoint_has_the_figures_of_its_epoch(trained, tmp_path):
    folder, _, result = trained
    model = str(folder / "run" / "model_checkpoint_2.pt")
    # As large batches as in training: otherwise last bits differ.
    same = {"data.test_batch_size": 4}
    found = rayrml.evaluate(model, folder / "testing", tmp_path, overrides=same, quiet=True).metrics
    assert found["swd"] == result.history[-1]["swd"]
    assert found["test_wasserstein"] == pytest.approx(result.history[-1]["test_wasserstein"], rel=1e-5)
    assert len(datasets_of(tmp_path / "output_1.h5")) == 9


def test_a_generator_is_exported_as_any_network(trained, tmp_path):
    folder, _, _ = trained
    assert export(folder / "run" / "model_checkpoint_2.pt", tmp_path / "generator.pt2").difference < 1e-5


def test_what_does_not_suit_a_generator_is_refused(trained):
    folder, _, _ = trained
    model = str(folder / "run")
    with pytest.raises(ConfigError, match="--samples"):
        rayrml.predict(model, folder / "testing", quiet=True)
    with pytest.raises(ConfigError, match="either inputs, or --samples"):
        rayrml.predict(model, folder / "testing", num_samples=3, quiet=True)
    with pytest.raises(ConfigError, match="either inputs, or --samples"):
        rayrml.predict(model, quiet=True)
    with pytest.raises(ConfigError, match="1 to 1,000,000"):
        rayrml.predict(model, num_samples=0, quiet=True)


def test_a_loss_that_is_no_number_ends_the_run(ray_cluster, tmp_path):
    optimizer = {"type": "SGD", "learning_rate": 1e30}
    config = configuration(tmp_path, optimizer=optimizer)
    with pytest.raises(DivergenceError):
        rayrml.run(config, quiet=True)
