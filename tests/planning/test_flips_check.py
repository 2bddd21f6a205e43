"""Where outputs for flipped samples cannot be averaged."""

import pytest

from rayrml.errors import ConfigError
from rayrml.planning.preparation import prepare
from tests.conftest import training_config


@pytest.fixture
def config(tmp_path, write_digits):
    write_digits(tmp_path / "training", "training", (3, 5, 7), 2)
    write_digits(tmp_path / "testing", "testing", (3, 5, 7), 2)
    return training_config(tmp_path, tmp_path / "out", test_transforms="flips")


def test_a_classifier_of_images_is_accepted(config):
    assert prepare(config).config.neural_network.data.test_transforms == "flips"


def test_without_test_samples_it_has_no_effect(config):
    data = config["neural_network"]["data"]
    del data["test_input_path"], data["test_output_path"]
    with pytest.raises(ConfigError, match=r"neural_network.data.test_transforms: has no effect: there are no test"):
        prepare(config)


def test_an_equation_is_refused():
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 32, 1], "name": "input"}},
        {"class_name": "Conv1D", "config": {"name": "conv", "filters": 32, "kernel_size": 3, "padding": "same"}},
    ]
    data = {"type": "pde", "num_examples": 4, "num_test_examples": 4, "domain_size": 32, "bc_frequency": [1, 4]}
    network = {"layers": layers, "data": {**data, "bc_type": "random_uniform", "test_transforms": "flips"}}
    network |= {"app": "pde", "loss": {"function": "BurgersPDE"}, "optimizer": {"type": "SGD"}}
    with pytest.raises(ConfigError, match="does not hold for flipped inputs"):
        prepare({"neural_network": network})
