"""Complete runs on classes of unequal sizes, which are weighted or drawn equally often, on the session's Ray."""

import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional

import rayrml
from rayrml.data.draws import mix_seed
from rayrml.data.readers import READERS
from rayrml.data.sampling import draw_equally
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from tests.conftest import BATCH, dense_network, training_config

pytestmark = pytest.mark.ray
COUNTS = {1: 24, 4: 6, 7: 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    path = tmp_path_factory.mktemp("unequal")
    for digit, count in COUNTS.items():
        write_digits(path / "training", "training", (digit,), count)
    write_digits(path / "testing", "testing", tuple(COUNTS), 4)
    return path


@pytest.fixture
def trained(ray_cluster, folder, tmp_path):
    """A function that trains and returns the result and the last weights."""

    def train(name, num_workers=1, *, resume=False, nn=None, **data):
        config = training_config(folder, tmp_path / name, **data)
        config["neural_network"]["data"].pop("test_output_path")
        config["neural_network"] |= nn or {}
        result = rayrml.run(config, num_workers=num_workers, resume=resume, quiet=True)
        return result, checkpoints.load(result.checkpoints[-1])

    return train


def assert_alike(one, other, atol=1e-6):
    for name, tensor in one.network.items():
        assert torch.allclose(other.network[name], tensor, atol=atol), name


def test_one_worker_trains_on_balanced_classes_as_a_hand_written_loop(trained, folder):
    torch.manual_seed(0)
    network, read = build_network(dense_network(3)), READERS["images"](grayscale=True).decode
    files = sorted((folder / "training").rglob("*.jpg"))
    images = torch.from_numpy(np.stack([read(str(f)) for f in files]))
    labels = torch.tensor([sorted(COUNTS).index(int(f.parent.name)) for f in files])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5)
    for epoch in (1, 2):
        generator = np.random.default_rng(mix_seed(0, 0, epoch))
        rows = draw_equally(labels.numpy(), generator)
        assert np.bincount(labels[rows]).tolist() == [11, 11, 11]
        for batch in torch.from_numpy(rows[generator.permutation(len(rows))]).split(BATCH):
            optimizer.zero_grad()
            functional.nll_loss(network(images[batch] / 255), labels[batch]).backward()
            optimizer.step()
    result, last = trained("run", sampling="balanced")
    for name, tensor in network.state_dict().items():
        assert torch.allclose(last.network[name], tensor, atol=1e-6), name
    assert len(result.history) == 2


def test_balanced_classes_are_the_same_for_any_number_of_workers_with_random_transforms(trained):
    settings = {
        "sampling": "balanced",
        "transforms": [{"random_rotate": 30}, {"mixup": 0.5}],
        "nn": {"loss": {"function": "CrossEntropy"}, "num_epochs": 1},
    }
    (one, alone), *others = (trained(str(n), n, **settings) for n in (1, 3))
    for result, last in others:
        assert_alike(alone, last)
        assert result.metrics["train_loss"] == pytest.approx(one.metrics["train_loss"], rel=1e-5)


def test_preloaded_balanced_classes_are_the_same_for_any_number_of_workers(trained):
    settings = {"sampling": "balanced", "preload": True, "batch_size": sum(COUNTS.values())}
    (_, alone), *others = (trained(str(n), n, transforms=[{"random_rotate": 30}], **settings) for n in (1, 3))
    for _, last in others:
        assert_alike(alone, last)


@pytest.mark.parametrize(("preload", "num_workers"), [(False, 1), (True, 1), (True, 2)])
def test_a_resumed_run_on_balanced_classes_is_the_uninterrupted_one(trained, preload, num_workers):
    settings = {"preload": preload, "sampling": "balanced"}
    straight, last = trained("a", num_workers, nn={"num_epochs": 3}, **settings)
    trained("b", num_workers, nn={"num_epochs": 1}, **settings)
    resumed, other = trained("b", num_workers, nn={"num_epochs": 3}, resume=True, **settings)
    assert_alike(last, other, atol=0.0 if num_workers == 1 else 1e-6)
    for key in ("train_loss", "test_loss"):
        assert [h[key] for h in resumed.history] == pytest.approx([h[key] for h in straight.history], rel=1e-5)


@pytest.mark.parametrize(("preload", "num_workers"), [(False, 2), (True, 2)])
def test_bad_samples_are_skipped_also_if_they_are_drawn_again_and_again(
    trained, folder, tmp_path, preload, num_workers
):
    shutil.copytree(folder / "training", tmp_path / "spoiled")
    broken = sorted((tmp_path / "spoiled" / "7").iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:100])
    settings = {"preload": preload, "sampling": "balanced", "on_bad_sample": "skip"}
    result, _ = trained("run", num_workers, input_path=str(tmp_path / "spoiled"), **settings)
    assert result.skipped == {"training": 1}
    assert len(result.history) == 2


def test_class_weights_are_those_of_the_training_samples_for_any_number_of_workers(trained, folder, tmp_path):
    settings = {"nn": {"loss": {"function": "NLL", "weight": "balanced"}}}
    numbers = [33 / (3 * count) for count in COUNTS.values()]
    (one, alone), (_, given), *others = (
        trained("1", 1, **settings),
        trained("given", 1, nn={"loss": {"function": "NLL", "weight": numbers}}),
        trained("2", 2, **settings),
    )
    assert list(alone.loss["weight"]) == numbers
    assert all(torch.equal(alone.network[name], given.network[name]) for name in alone.network)
    for _, last in others:
        assert_alike(alone, last)
        assert last.loss == alone.loss
    # The test samples are of equal classes, and a part of them is of others.
    best = min(one.history, key=lambda figures: (-figures["accuracy"], figures["test_loss"]))
    evaluated = rayrml.evaluate(tmp_path / "1" / "model", folder / "testing", tmp_path / "out", quiet=True)
    assert evaluated.metrics["test_loss"] == pytest.approx(best["test_loss"], rel=1e-5)


def test_a_resumed_run_keeps_its_class_weights_if_samples_were_added(trained, folder, tmp_path, write_digits, capsys):
    shutil.copytree(folder / "training", tmp_path / "more")
    settings = {"input_path": str(tmp_path / "more"), "nn": {"loss": {"function": "NLL", "weight": "balanced"}}}
    _, before = trained("run", **settings)
    for i in range(5):
        shutil.copy(next((tmp_path / "more" / "7").iterdir()), tmp_path / "more" / "7" / f"more_{i}.jpg")
    capsys.readouterr()
    config = training_config(folder, tmp_path / "run", input_path=str(tmp_path / "more"))
    config["neural_network"] |= {"loss": {"function": "NLL", "weight": "balanced"}, "num_epochs": 3}
    result = rayrml.run(config, resume=True)
    assert checkpoints.load(result.checkpoints[-1]).loss == before.loss
    said = "The training samples have changed. The class weights stay those of the first epochs: 0.4583, 1.833, 3.667\n"
    shown = capsys.readouterr().out
    assert said in shown
    assert "* weight                      : balanced: 1 0.4583, 4 1.833, 7 3.667\n" in shown
    assert "The loss was" not in shown
    assert "The figures of earlier" not in shown
