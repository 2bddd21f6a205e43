"""Layers around other layers, against Keras and step by step."""

import copy
import json
import pickle

import keras
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.networks.ending import find_ending
from rayrml.networks.graph import read_graph
from rayrml.networks.network import build_network
from tests.keras_reference import assert_same

L = keras.layers
INNER = [
    (lambda: L.Dense(3, activation="relu"), (5, 4)),
    (lambda: L.Dense(3, activation="softmax"), (5, 8, 4)),
    (lambda: L.Conv2D(3, 3, strides=2, activation="relu"), (4, 9, 8, 2)),
    (lambda: L.Conv1D(3, 2, padding="same"), (4, 9, 2)),
    (lambda: L.MaxPooling2D(2), (3, 8, 7, 2)),
    (lambda: L.GlobalAveragePooling2D(), (3, 8, 7, 2)),
    (lambda: L.Flatten(), (3, 4, 5, 2)),
    (lambda: L.BatchNormalization(), (3, 4, 2)),
    (lambda: L.LayerNormalization(), (3, 4, 2)),
    (lambda: L.Activation("tanh"), (3, 4)),
]


@pytest.mark.parametrize(("inner", "shape"), INNER)
def test_each_step_gets_what_keras_gives_it(inner, shape):
    network = assert_same(keras.Sequential([L.Input(shape), L.TimeDistributed(inner(), name="steps")]))
    x = torch.randn(2, shape[-1], *shape[:-1])
    whole = network(x)
    single = torch.cat([network(step) for step in x.split(1, 2)], 2)
    torch.testing.assert_close(whole, single)


def test_layers_that_are_made_for_a_size_are_what_keras_makes_of_them():
    assert_same(keras.Sequential([L.Input((3, 4, 5, 2)), L.TimeDistributed(L.Reshape((2, -1)))]))


def network(**config):
    layer = {"class_name": "Dense", "config": {"units": 3, "kernel_regularizer": "l2", **config}}
    return build_network([{"class_name": "TimeDistributed", "config": {"name": "t", "layer": layer}}], (4, 5))


def test_the_inner_layer_keeps_its_options():
    found = network()
    weight = found.get_parameter("t.layer.weight")
    torch.testing.assert_close(found.penalty(), 0.01 * weight.square().sum())
    assert found.num_parameters == found.num_trainable_parameters == 15
    assert network(trainable=False).num_trainable_parameters == 0
    constant = {"class_name": "Constant", "config": {"value": 2}}
    assert network(kernel_initializer=constant).get_parameter("t.layer.weight").eq(2).all()


def test_a_network_with_it_can_be_copied_sent_and_exported():
    found, x = network(), torch.randn(2, 4, 5)
    expected = found(x)
    assert torch.equal(copy.deepcopy(found)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(found))(x), expected)
    exported = torch.export.export(found.eval(), (x,)).module()
    torch.testing.assert_close(exported(x), expected)


def test_the_ending_is_that_of_the_inner_layer():
    model = keras.Sequential([L.Input((5, 4)), L.TimeDistributed(L.Dense(3, activation="softmax"))])
    assert find_ending(read_graph(json.loads(model.to_json()))) == "softmax"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"class_name": "Dens", "config": {"units": 3}}, "config.layer.class_name: .*Did you mean 'Dense'"),
        ({"class_name": "Dense", "config": {"unit": 3}}, "config.layer.config.unit: .*unknown key"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "a Sequential inside another layer is not supported"),
        ({"class_name": "ActivityRegularization", "config": {"l2": 1.0}}, "config.layer: .*regularizes its outputs"),
        (
            {"class_name": "Conv1D", "config": {"filters": 2, "kernel_size": 2, "data_format": "channels_first"}},
            "config.layer.config.data_format: .*expected 'channels_last'",
        ),
        ("Dense", "config.layer: .*expected an object with the keys"),
    ],
)
def test_what_cannot_be_inside_is_refused_with_its_place(layer, message):
    with pytest.raises(ConfigError, match=message):
        build_network([{"class_name": "TimeDistributed", "config": {"name": "t", "layer": layer}}], (4, 5, 6))


def test_an_input_without_steps_is_refused():
    layer = {"class_name": "Dense", "config": {"units": 3}}
    with pytest.raises(ConfigError, match="expected an input with an axis of steps"):
        build_network([{"class_name": "TimeDistributed", "config": {"name": "t", "layer": layer}}], (4,))
