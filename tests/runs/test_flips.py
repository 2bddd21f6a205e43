"""Whole runs whose outputs are averaged over flips."""

import numpy as np
import pytest
import torch

import rayrml
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from tests.conftest import datasets_of, training_config

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def trained(tmp_path_factory, write_digits, ray_cluster):
    """A folder with a checkpoint, and the figures of its last epoch."""
    folder = tmp_path_factory.mktemp("flips")
    write_digits(folder / "training", "training", (3, 5, 7), 8)
    write_digits(folder / "testing", "testing", (3, 5, 7), 5)
    result = rayrml.run(training_config(folder, folder / "out", test_transforms="flips"), quiet=True)
    return folder, result


def by_hand(checkpoint, inputs):
    """The mean probabilities (N, 3) of images (N, 1, 28, 28) and their flips."""
    kept = checkpoints.load(checkpoint)
    network = build_network(kept.layers).eval()
    network.load_state_dict(kept.network)
    flips = [inputs, inputs.flip(-1), inputs.flip(-2), inputs.flip(-1, -2)]
    with torch.inference_mode():
        return torch.stack([network(images).exp() for images in flips]).mean(0)


def test_evaluation_predictions_and_any_number_of_workers_give_the_mean(trained):
    folder, result = trained
    written = datasets_of(folder / "out" / "predictions" / "output_2.h5")
    from rayrml.data.readers import READERS

    read = READERS["images"](grayscale=True).decode
    images = np.stack([read(str(folder / "testing" / name)) for name in written])
    mean = by_hand(result.checkpoints[-1], torch.from_numpy(images).float() / 255)
    np.testing.assert_allclose(np.exp(np.stack(list(written.values()))), mean.numpy(), atol=1e-6)
    labels = torch.tensor([("3", "5", "7").index(name.split("/")[0]) for name in written])
    loss = -mean.gather(1, labels[:, None]).log().mean().item()
    assert result.metrics["test_loss"] == pytest.approx(loss, rel=1e-5)
    for workers in (1, 3):
        config = training_config(folder, folder / f"out{workers}", test_transforms="flips")
        nn = config["neural_network"]
        nn["checkpoints"] = {"load": result.checkpoints[-1]}
        nn["data"].pop("input_path")
        found = rayrml.run(config, num_workers=workers, quiet=True)
        assert found.metrics["test_loss"] == pytest.approx(loss, rel=1e-5)
        assert found.metrics["accuracy"] == result.metrics["accuracy"]


def test_predictions_with_the_checkpoint_flip_too_unless_they_are_told_not_to(trained, tmp_path):
    folder, result = trained
    image = folder / "testing" / "3" / "0000.jpg"
    assert checkpoints.load(result.checkpoints[-1]).data["test_transforms"] == "flips"
    found = {}
    for wanted in (None, "none"):
        overrides = {} if wanted is None else {"data.test_transforms": wanted}
        output = tmp_path / str(wanted)
        predicted = rayrml.predict(result.checkpoints[-1], image, output, overrides=overrides, quiet=True)
        (found[wanted],) = (np.exp(values) for values in datasets_of(predicted.files[0]).values())
    written = datasets_of(folder / "out" / "predictions" / "output_2.h5")["3/0000.jpg"]
    np.testing.assert_allclose(found[None], np.exp(written), atol=1e-6)
    assert np.abs(found["none"] - found[None]).max() > 1e-4
