import pytest

from rayrml.networks.layer_patterns import find_layers
from rayrml.networks.network import build_network

INNER = [
    {"class_name": "Dense", "config": {"name": "first", "units": 3, "batch_input_shape": [None, 3]}},
    {"class_name": "ReLU", "config": {"name": "relu"}},
    {"class_name": "Dense", "config": {"name": "second", "units": 3, "trainable": False}},
]
LAYERS = [
    {"class_name": "Sequential", "config": {"name": "encoder", "layers": INNER}},
    {"class_name": "Dense", "config": {"name": "head", "units": 2}},
]


@pytest.fixture(scope="module")
def network():
    return build_network(LAYERS, (3,))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("encoder*", ["first"]),
        ("encoder", ["first"]),
        ("encoder/*", ["first"]),
        ("encoder/fir?t", ["first"]),
        ("first", ["first"]),
        ("*", ["first", "head"]),
        ("head", ["head"]),
    ],
)
def test_names_of_layers_and_of_the_models_around_them_choose_layers_that_are_trained(network, pattern, names):
    assert find_layers(network, pattern) == (names, None)


def test_frozen_layers_are_chosen_where_they_are_asked_for(network):
    assert find_layers(network, "encoder*", frozen=True) == (["first", "second"], None)


@pytest.mark.parametrize(
    ("pattern", "mistake"),
    [
        ("haed", "no layer is called so. Did you mean 'head'?"),
        ("Head", "no layer is called so. Did you mean 'head'?"),
        ("encodr*", "no layer is called so. Did you mean 'encoder'?"),
        ("xyz*", "no layer is called so. The layers are first, relu, second, head"),
        ("relu", "chooses 'relu', which has no weights to train"),
        ("second", "chooses 'second', where all weights are frozen"),
    ],
)
def test_a_pattern_that_chooses_nothing_to_train_is_a_mistake(network, pattern, mistake):
    assert find_layers(network, pattern) == ([], mistake)
