"""What is shown before training is what training gets."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from rayrml.data.draws import Draws
from rayrml.errors import DataError
from rayrml.inference.evaluation import as_target
from rayrml.planning.preparation import prepare
from rayrml.runs.preview import preview
from rayrml.runs.training_run import make_job
from rayrml.training.feeding import Feeder
from rayrml.training.sample_order import TRAINING, list_batches, transforms_seed
from rayrml.workers import Workers
from tests.conftest import dense_network, training_config


@pytest.fixture
def config(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (3, 5, 7), 9)
    write_digits(tmp_path / "testing", "testing", (3, 5, 7), 2)
    found = training_config(tmp_path, tmp_path / "out", transforms=[{"random_horizontal_flip": 0.5}])
    found["neural_network"]["layers"][-1]["config"]["activation"] = "linear"
    found["neural_network"]["loss"] = {"function": "CrossEntropy"}
    return found


def with_data(config, **data):
    config = copy.deepcopy(config)
    config["neural_network"]["data"] |= data
    return config


@pytest.mark.ray
@pytest.mark.parametrize(
    "data",
    [
        {"preload": False},
        {"preload": True},
        {"preload": True, "sampling": "balanced"},
        {"preload": False, "sampling": "balanced", "transforms": [{"mixup": 0.4}, {"normalize": {"mean": 0.5}}]},
    ],
)
def test_the_batch_is_the_first_one_of_training(config, data, ray_cluster):
    plan = prepare(with_data(config, **data))
    job = make_job(plan, state_folder=None)
    feed = Feeder(job, Workers(), torch.device("cpu"), lambda message: None).feed(plan.training, TRAINING)
    batches = list(feed.global_batches(plan.config.neural_network.data.batch_size, 1))
    feed.close()
    listed = list(list_batches(plan.config.neural_network, plan.training, 1))
    assert [picks.uses.tolist() for _, picks in listed] == [batch.own.uses.tolist() for batch in batches]
    batch, size, *_ = batches[0]
    draws = Draws(transforms_seed(0, 1), batch.uses)
    inputs, targets = plan.datasets.transforms.batched(batch.input, batch.target, draws)
    seen = preview(plan)
    assert seen.size == size
    assert seen.names == tuple(plan.training.samples.name(i) for i in batch.positions)
    assert torch.equal(seen.inputs, inputs)
    assert torch.equal(seen.targets, as_target(targets, plan.loss.build()))


def test_images_of_different_sizes_are_cropped_as_in_training(config, tmp_path):
    for path in tmp_path.rglob("*.jpg"):
        side = 28 + len(path.stem) % 3 + int(path.stem) % 4
        Image.open(path).resize((side, 28)).save(path)
    config["neural_network"]["layers"] = dense_network(3, (24, 24))
    plan = prepare(with_data(config, transforms=[{"random_resized_crop": {"size": [24, 24]}}]))
    seen = preview(plan)
    _, picks = next(list_batches(plan.config.neural_network, plan.training, 1))
    source = plan.training
    rows = np.zeros((len(picks.samples), *source.shape), source.input.dtype)
    draws = Draws(transforms_seed(0, 1), picks.uses)
    places = [source.samples.place(i) for i in picks.samples]
    assert source.random
    assert source.input.decoding.fill(places, rows, draws) == [""] * len(rows)
    assert np.allclose(seen.inputs.numpy(), rows / 255)


def test_statistics_are_those_before_normalize(config):
    plain = preview(prepare(config))
    changed = preview(prepare(with_data(config, transforms=[{"normalize": {"mean": 0.5, "std": 0.25}}])))
    assert (plain.normalized, len(changed.normalized)) == ((), 1)
    assert plain.before.num_samples == changed.before.num_samples == 27
    np.testing.assert_allclose(changed.before.mean, plain.after.mean)
    np.testing.assert_allclose(changed.after.mean, (plain.after.mean - 0.5) / 0.25)
    np.testing.assert_allclose(changed.after.deviation, plain.after.deviation / 0.25)


def test_without_training_samples_the_first_batch_of_the_evaluation_is_shown(config):
    config["neural_network"]["optimizer"] = None
    plan = prepare(with_data(config, input_path=None, test_batch_size=4))
    seen = preview(plan)
    assert seen.names == tuple(plan.test.samples.name(i) for i in range(4))


def test_a_damaged_sample_ends_the_command_or_is_left_out(config, tmp_path):
    (tmp_path / "training" / "3" / "0004.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0004\.jpg"):
        preview(prepare(config))
    seen = preview(prepare(with_data(config, on_bad_sample="skip")))
    assert (seen.after.num_samples, len(seen.skipped)) == (26, 1)
