"""Layers around other layers, against Keras and step by step."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.networks.ending import find_ending
from rayrml.networks.freezing import freeze, unfreeze
from rayrml.networks.graph import read_graph
from rayrml.networks.network import build_network
from tests.keras_reference import assert_same, randomize, rebuilt

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


def model_of_frames(x):
    y = L.Conv2D(3, 3, padding="same", activation="relu", name="c1")(x)
    y = L.BatchNormalization(name="n")(y)
    y = L.Concatenate(name="both")([y, L.Conv2D(3, 3, padding="same", name="c2")(y), x])
    return L.Dense(3, name="d")(L.GlobalAveragePooling2D()(L.MaxPooling2D(2)(y)))


def test_a_model_inside_gets_each_step():
    frame = keras.Input((8, 7, 2))
    each = keras.Model(frame, model_of_frames(frame), name="each")
    x = keras.Input((4, 8, 7, 2))
    # Twice, and inside another model: its weights are the same each time.
    steps = L.TimeDistributed(each, name="steps")
    y = L.Add()([steps(x), steps(L.ReLU()(x))])
    found = assert_same(keras.Model(x, L.Conv1D(2, 2, name="over")(y)))
    assert found.num_parameters == each.count_params() + 2 * 3 * 2 + 2
    sequential = keras.Sequential([L.Input((5,)), L.Dense(4, name="a"), L.Dense(3, activation="softmax", name="b")])
    again = keras.Sequential([L.Input((2, 3, 5)), L.TimeDistributed(L.TimeDistributed(sequential))])
    assert_same(again)
    assert find_ending(read_graph(json.loads(again.to_json()))) == "softmax"


def test_a_model_that_is_frozen_inside_is_frozen():
    frame = keras.Input((8, 7, 2))
    each = keras.Model(frame, model_of_frames(frame), name="each")
    each.trainable = False
    model = keras.Sequential([L.Input((4, 8, 7, 2)), L.TimeDistributed(each), L.Dense(2, name="last")])
    found = build_network(json.loads(model.to_json()))
    assert found.num_trainable_parameters == 3 * 2 + 2
    before = {name: tensor.clone() for name, tensor in found.state_dict().items()}
    found.train()(torch.randn(2, 2, 4, 8, 7))
    assert all(torch.equal(before[name], tensor) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("trainable", [False, True])
def test_batch_normalization_inside_is_in_the_mode_that_is_asked_for(trainable):
    layer = {"class_name": "BatchNormalization", "config": {}}
    found = build_network(
        [{"class_name": "TimeDistributed", "config": {"name": "t", "layer": layer, "trainable": trainable}}], (4, 5)
    )
    x = torch.randn(3, 4, 5)
    found.train()(x)
    assert found.get_buffer("t.layer.running_mean").any() == trainable
    freeze(found, ["t"])
    before = found.get_buffer("t.layer.running_mean").clone()
    found.train()(x)
    assert torch.equal(found.get_buffer("t.layer.running_mean"), before)
    unfreeze(found, ["t"])
    found.train()(x)
    assert not torch.equal(found.get_buffer("t.layer.running_mean"), before)


@pytest.mark.parametrize(
    ("inner", "shape"),
    [
        (lambda: L.Conv2D(3, 3, data_format="channels_first", activation="relu"), (4, 2, 9, 8)),
        (lambda: L.MaxPooling2D(2, data_format="channels_first"), (4, 2, 9, 8)),
        (lambda: L.GlobalAveragePooling2D(data_format="channels_first"), (4, 2, 9, 8)),
        (lambda: L.Flatten(data_format="channels_first"), (4, 2, 3, 5)),
    ],
)
def test_layers_inside_may_be_channels_first(inner, shape):
    model = keras.Sequential([L.Input(shape), L.TimeDistributed(inner(), name="steps")])
    randomize(model)
    found = rebuilt(model)
    assert found.input_shapes == (shape,)
    x = torch.randn(2, *shape)
    np.testing.assert_allclose(found(x).detach(), model(x.numpy()).detach(), atol=1e-5)


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
        ({"class_name": "Sequential", "config": {"layers": []}}, r"layers\[0\].config.layer: no layers found"),
        (
            {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {"unit": 3}}]}},
            r"layers\[0\].config.layer.config.layers\[0\].config.unit: .*unknown key",
        ),
        ({"class_name": "ActivityRegularization", "config": {"l2": 1.0}}, "config.layer: .*regularizes its outputs"),
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
