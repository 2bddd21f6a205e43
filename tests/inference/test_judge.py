"""Classifiers that judge samples: fed as their checkpoints say, refused if they are something else."""

import dataclasses

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.inference.judge import load_judge
from rayrml.inference.sample_comparison import SampleComparison
from rayrml.metrics.frechet import frechet_distance
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from rayrml.workers import Workers

NORMALIZE = {"normalize": {"mean": 0.5, "std": 0.25}}


def layers_of(channels=1, size=6, activation="softmax"):
    return [
        {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, size, size, channels]}},
        {"class_name": "Dense", "config": {"units": 5, "name": "features", "activation": "relu"}},
        {"class_name": "Dense", "config": {"units": 3, "name": "classes", "activation": activation}},
    ]


def kept(tmp_path, layers=None, loss=None, **data):
    """The path of a classifier's checkpoint, and its network."""
    torch.manual_seed(0)
    layers = layers or layers_of()
    network = build_network(layers)
    checkpoint = Checkpoint(
        1,
        network.state_dict(),
        layers,
        network.input_shapes[0],
        ("a", "b", "c"),
        data={"input_type": "images", "grayscale": True, "input_transforms": [], "slicers": [], **data},
        loss={"function": "CrossEntropy", "source": "softmax"} if loss is None else loss,
    )
    path = str(tmp_path / "classifier.pt")
    checkpoints.save(path, checkpoint)
    return path, network.eval()


def images(channels=1, size=6):
    return torch.rand(7, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_samples_go_through_the_transforms_of_the_checkpoint(tmp_path):
    path, network = kept(tmp_path, input_transforms=[NORMALIZE])
    features, probabilities = load_judge(path, (1, 6, 6))(images())
    expected = network((images() - 0.5) / 0.25).detach().numpy()
    assert features.shape == (7, 5)
    assert probabilities == pytest.approx(expected, abs=1e-6)


def test_samples_of_another_size_are_resized_if_the_checkpoint_does_that(tmp_path):
    path, network = kept(tmp_path, input_transforms=[{"resize": [6, 6]}])
    _, found = load_judge(path, (1, 6, 6))(images())
    assert found == pytest.approx(network(images()).detach().numpy(), abs=1e-5)
    assert load_judge(path, (1, 12, 12))(images(size=12))[1].shape == (7, 3)


def test_gray_samples_are_shown_in_colors_and_colors_in_gray_where_the_classifier_was_fed_so(tmp_path):
    path, network = kept(tmp_path, layers_of(3), grayscale=False)
    _, found = load_judge(path, (1, 6, 6))(images())
    assert found == pytest.approx(network(images().repeat(1, 3, 1, 1)).detach().numpy(), abs=1e-6)
    path, network = kept(tmp_path)
    _, found = load_judge(path, (3, 6, 6))(images().repeat(1, 3, 1, 1))
    assert found == pytest.approx(network(images()).detach().numpy(), abs=1e-5)


def test_logits_become_probabilities(tmp_path):
    path, network = kept(tmp_path, layers_of(activation="linear"), {"function": "CrossEntropy"})
    _, found = load_judge(path, (1, 6, 6))(images())
    assert found == pytest.approx(network(images()).softmax(1).detach().numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "shape", "message"),
    [
        ({"function": "MSE"}, (1, 6, 6), "tell classes apart"),
        ({}, (1, 6, 6), "tell classes apart"),
        (None, (1, 8, 8), "takes other images"),
        (None, (2, 6, 6), "takes other images"),
    ],
)
def test_what_is_no_classifier_of_such_images_is_refused(tmp_path, loss, shape, message):
    path, _ = kept(tmp_path, loss=loss)
    with pytest.raises(ConfigError, match=message) as error:
        load_judge(path, shape)
    assert all(problem.where == "neural_network.metric_network" for problem in error.value.problems)


def test_weights_alone_are_refused(tmp_path):
    path, network = kept(tmp_path)
    torch.save(network.state_dict(), path)
    with pytest.raises(ConfigError, match="tell classes apart"):
        load_judge(path, (1, 6, 6))


def test_figures_by_features_and_classes_are_those_of_all_samples_together(tmp_path):
    path, network = kept(tmp_path)
    judge = load_judge(path, (1, 6, 6))
    comparison = SampleComparison((1, 6, 6), judge=judge)
    real, others = images(), images().flip(2).square()
    comparison.add("real", np.arange(7), real)
    for rows in (np.arange(4, 7), np.arange(4)):
        comparison.add("compared", rows, others[rows])
    figures, variety = comparison.figures(Workers())
    features = [judge(samples)[0] for samples in (real, others)]
    assert figures["frechet"] == pytest.approx(frechet_distance(*features), rel=1e-5, abs=1e-6)
    probabilities = network(others).detach()
    assert figures["sure"] == pytest.approx(probabilities.max(1).values.mean().item(), abs=1e-6)
    assert variety is not None and variety.shares.sum() == pytest.approx(1)
    assert set(figures) == {"swd", "frechet", "entropy", "sure"}
    assert dataclasses.is_dataclass(judge)
