from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.network import build_network
from tests.keras_reference import assert_same, keras

L = keras.layers

MNIST = [
    {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, 28, 28, 1]}},
    {"class_name": "Conv2D", "config": {"name": "conv2d", "filters": 32, "kernel_size": [3, 3], "activation": "relu"}},
    {"class_name": "MaxPooling2D", "config": {"name": "pool", "pool_size": [2, 2]}},
    {"class_name": "Conv2D", "config": {"name": "conv2d_1", "filters": 64, "kernel_size": 3, "activation": "relu"}},
    {"class_name": "MaxPooling2D", "config": {"name": "pool_1", "pool_size": 2}},
    {"class_name": "Flatten", "config": {"name": "flatten"}},
    {"class_name": "Dropout", "config": {"name": "dropout", "rate": 0.5}},
    {"class_name": "Dense", "config": {"name": "dense", "units": 10, "activation": "log_softmax"}},
]


def test_the_mnist_network_has_the_published_size_and_the_right_shapes():
    network = build_network(MNIST)
    assert network.num_parameters == network.num_trainable_parameters == 34_826
    assert network.input_shapes == ((1, 28, 28),) and network.output_shapes == ((10,),)
    assert network.num_operations == 7
    assert [row.output_shape for row in network.summary()][:3] == [(1, 28, 28), (32, 26, 26), (32, 13, 13)]
    assert sum(row.num_parameters for row in network.summary()) == 34_826


def test_parameters_are_named_after_their_layers():
    names = [name for name, _ in build_network(MNIST).named_parameters()]
    assert names == [f"{layer}.{kind}" for layer in ("conv2d", "conv2d_1", "dense") for kind in ("weight", "bias")]


def test_a_small_sequential_cnn_computes_what_keras_computes():
    layers = [
        L.Input((28, 28, 1)),
        L.Conv2D(8, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(4, 3, padding="same", strides=2),
        L.BatchNormalization(),
        L.ReLU(),
        L.ZeroPadding2D(((0, 1), (2, 0))),
        L.AveragePooling2D(2, padding="same"),
        L.SpatialDropout2D(0.2),
        L.Flatten(),
        L.Dropout(0.5),
        L.Dense(10, activation="log_softmax"),
    ]
    assert_same(keras.Sequential(layers))


def test_a_functional_network_with_a_skip_connection_computes_what_keras_computes():
    x = keras.Input((9, 8, 3))
    a = L.Conv2D(4, 3, padding="same", use_bias=False, name="a")(x)
    b = L.Activation("sigmoid", name="b")(L.BatchNormalization(name="bn")(a))
    c = L.Concatenate(name="cat")([L.Add(name="add")([a, b]), x])
    assert_same(keras.Model(x, [L.Softmax(name="soft")(c), L.GlobalAveragePooling2D(name="gap")(c)]))


def test_a_network_of_any_input_size_follows_the_size_that_it_gets():
    network = assert_same(keras.Sequential([L.Input((None, None, 2)), L.Conv2D(3, 3, strides=2, padding="same")]))
    assert network.input_shapes == ((2, None, None),) and network.output_shapes == ((3, None, None),)
    assert network(torch.zeros(1, 2, 12, 7)).shape == (1, 3, 6, 4)


def test_a_list_without_a_declared_shape_takes_the_one_that_is_given():
    layers = [{"class_name": "Flatten", "config": {}}, {"class_name": "Dense", "config": {"units": 3}}]
    assert build_network(layers, input_shape=(2, 4, 4)).num_parameters == 3 * 32 + 3
    with pytest.raises(ConfigError, match="declared nowhere"):
        build_network(layers)


def test_a_wrong_input_is_refused_with_both_shapes():
    network = build_network(MNIST)
    assert network.check_input((1, 28, 28)) is None
    assert (
        network.check_input((3, 28, 28))
        == "the network takes inputs of shape (1, 28, 28), channels first, got (3, 28, 28)"
    )
    with pytest.raises(ValueError, match=r"\(1, 28, 28\), channels first, got \(1, 32, 32\)"):
        network(torch.zeros(1, 1, 32, 32))


def test_a_network_survives_pickling_and_copying():
    network = build_network(MNIST).eval()
    x = torch.randn(2, 1, 28, 28)
    for twin in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert torch.equal(twin(x), network(x))
        with torch.no_grad():
            twin.get_parameter("dense.bias").add_(1)
        assert not torch.equal(twin.get_parameter("dense.bias"), network.get_parameter("dense.bias"))


def test_a_frozen_batch_normalization_stays_in_inference_mode():
    frozen = {"class_name": "BatchNormalization", "config": {"name": "bn", "trainable": False}}
    network = build_network([frozen], input_shape=(2, 4, 4)).train()
    before = copy.deepcopy(network.state_dict())
    network(torch.randn(8, 2, 4, 4) + 3)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.num_trainable_parameters == 0 and network.num_parameters == 8


def test_the_penalty_is_the_sum_of_the_kernels_regularizers_and_none_without_any():
    regularizer = {"class_name": "L1L2", "config": {"l1": 0.1, "l2": 0.01}}
    dense = {"class_name": "Dense", "config": {"name": "d", "units": 3, "kernel_regularizer": regularizer}}
    network = build_network([dense], input_shape=(4,))
    weight = network.get_parameter("d.weight")
    penalty = network.penalty()
    assert penalty is not None
    torch.testing.assert_close(penalty, 0.1 * weight.abs().sum() + 0.01 * weight.square().sum())
    assert build_network(MNIST).penalty() is None


def test_a_json_file_is_read_by_its_path(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(MNIST))
    assert build_network(str(path)).num_parameters == 34_826
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        build_network(tmp_path / "absent.json")


def test_every_mistake_is_named_with_its_layer_and_place():
    layers = [
        {"class_name": "Conv2d", "config": {"name": "a", "filtrs": 4, "kernel_size": 3}},
        {"class_name": "Conv3", "config": {"name": "b"}},
        {
            "class_name": "Dense",
            "config": {"name": "c", "units": "ten", "kernel_constraint": {"class_name": "MaxNorm"}},
        },
    ]
    with pytest.raises(ConfigError) as caught:
        build_network(layers, input_shape=(1, 8, 8))
    assert str(caught.value).splitlines() == [
        "layers.0.filters: Conv2d 'a': this key is missing and has no default",
        "layers.0.filtrs: Conv2d 'a': unknown key. Did you mean 'filters'?",
        "layers.1: Conv3 'b': unknown name \"Conv3\". Did you mean 'Conv3D'?",
        "layers.2.kernel_constraint: Dense 'c': this cannot be honoured. Expected null",
        "layers.2.units: Dense 'c': expected a valid integer, got \"ten\"",
    ]


def test_an_input_that_does_not_fit_is_named_with_its_shape():
    layers = [{"class_name": "Conv2D", "config": {"name": "c", "filters": 4, "kernel_size": 9}}]
    with pytest.raises(ConfigError) as caught:
        build_network(layers, input_shape=(1, 8, 8))
    expected = "layers.0: Conv2D 'c' on (1, 8, 8): a window of (9, 9) does not fit into an input of (8, 8)"
    assert str(caught.value) == expected
