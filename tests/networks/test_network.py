from __future__ import annotations

import copy
import json
import pickle
import weakref

import pytest
import torch

from rayrml.errors import ConfigError, DataError
from rayrml.networks.network import build_network
from tests.conftest import dense_network
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
    with pytest.raises(ConfigError, match="shape is not declared"):
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


def penalized(*layers):
    network = build_network(list(layers), input_shape=(4, 6, 6))
    return network, torch.randn(5, 4, 6, 6)


def test_regularized_outputs_add_the_mean_over_samples_of_what_comes_after_the_activation():
    conv = {"name": "c", "filters": 3, "kernel_size": 3, "activation": "relu", "activity_regularizer": "l1"}
    pool = {"class_name": "MaxPooling2D", "config": {"name": "p"}}
    network, batch = penalized({"class_name": "Conv2D", "config": conv}, pool)
    plain, _ = penalized({"class_name": "Conv2D", "config": {**conv, "activity_regularizer": None}})
    plain.load_state_dict(network.state_dict())
    network(batch)
    expected = 0.01 * plain(batch).abs().sum() / 5
    torch.testing.assert_close(network.penalty(), expected)
    assert network.penalty() is None  # it is taken once
    for part in batch.split(1):
        network(part)
    torch.testing.assert_close(network.penalty(), 0.01 * plain(batch[-1:]).abs().sum())
    with torch.inference_mode():
        network(batch)
    assert network.penalty() is None


def test_each_call_of_a_layer_is_penalized_and_the_gradient_is_that_of_the_penalty():
    layer = {"class_name": "ActivityRegularization", "config": {"name": "a", "l1": 0.1, "l2": 0.2}}
    network, batch = penalized(layer, {"class_name": "Activation", "config": {"name": "t", "activation": "tanh"}})
    batch.requires_grad_()
    torch.testing.assert_close(network(batch), batch.tanh())
    network.penalty().backward()
    torch.testing.assert_close(batch.grad, (0.1 * batch.detach().sign() + 0.4 * batch.detach()) / 5)


def test_a_json_file_is_read_by_its_path(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(MNIST))
    assert build_network(str(path)).num_parameters == 34_826
    with pytest.raises(DataError, match=r"cannot read .*absent\.json'\. No such file"):
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
        "layers[0].config.filters: Conv2d 'a': this key is missing and has no default",
        "layers[0].config.filtrs: Conv2d 'a': unknown key. Did you mean 'filters'?",
        "layers[1]: Conv3 'b': unknown name \"Conv3\". Did you mean 'Conv3D'?",
        "layers[2].config.kernel_constraint: Dense 'c': not supported. Expected null",
        "layers[2].config.units: Dense 'c': must be a valid integer, got \"ten\"",
    ]


def test_an_input_that_does_not_fit_is_named_with_its_shape():
    layers = [{"class_name": "Conv2D", "config": {"name": "c", "filters": 4, "kernel_size": 9}}]
    with pytest.raises(ConfigError) as caught:
        build_network(layers, input_shape=(1, 8, 8))
    expected = "layers[0]: Conv2D 'c' on (1, 8, 8): a window of (9, 9) does not fit into an input of (8, 8)"
    assert str(caught.value) == expected


def _small_cnn():
    """A branch, a concatenation, strided `same` padding and a batch normalization, which a compiler must handle."""
    x = keras.Input((12, 12, 3))
    y = L.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    y = L.BatchNormalization()(L.Concatenate()([y, L.MaxPooling2D(3, 2, "same")(x)]))
    y = L.Conv2DTranspose(4, 3, strides=2, padding="same")(y)
    return keras.Model(x, L.Dense(5, activation="softmax")(L.Flatten()(y)))


def test_a_network_is_compiled_and_exported_as_one_graph():
    network = build_network(json.loads(_small_cnn().to_json())).eval()
    x = torch.randn(2, 3, 12, 12)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), network(x))
    exported = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    x = torch.randn(5, 3, 12, 12)
    torch.testing.assert_close(exported.module()(x), network(x))
    network.train()
    torch.compile(network, fullgraph=True, backend="aot_eager")(x).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_several_inputs_are_taken_as_arguments_or_as_a_list_and_several_outputs_are_a_tuple():
    x, y = keras.Input((3,)), keras.Input((4, 5, 2))
    z = L.Dense(2)(x)
    model = keras.Model([x, y], [L.Multiply()([z, y]), z])
    network = assert_same(model)
    assert network.input_shapes == ((3,), (2, 4, 5)) and network.output_shapes == ((2, 4, 5), (2,))
    tensors = [torch.randn(1, 3), torch.randn(1, 2, 4, 5)]
    for a, b in zip(network(tensors), network(*tensors), strict=True):
        assert torch.equal(a, b)
    assert network.check_input((3,)) == "the network takes 2 inputs, got 1"


def test_a_network_frees_each_tensor_after_its_last_use():
    layers = [{"class_name": "ReLU", "config": {"name": f"r{i}"}} for i in range(3)]
    network = build_network(layers, (1,))
    alive: list[int] = []
    refs: list[weakref.ref] = []

    def note(_, __, output):
        alive.append(sum(ref() is not None for ref in refs))
        refs.append(weakref.ref(output))

    for layer in network.layers().values():
        layer.register_forward_hook(note)
    with torch.no_grad():
        network(torch.ones(4, 1))
    assert alive == [0, 1, 1]


@pytest.mark.parametrize("name", ["train", "name", "weight", "forward", "a.b", "conv/1", "type"])
def test_a_layer_may_have_any_name(name):
    entry = {"class_name": "Dense", "config": {"name": name, "units": 2}}
    twin = {"class_name": "Dense", "config": {"name": name.replace(".", "_") + "_", "units": 2}}
    network = build_network([entry, twin], (2,)).train()
    assert set(network.layers()) == {name, twin["config"]["name"]} and network(torch.ones(1, 2)).shape == (1, 2)
    assert len(network.state_dict()) == 4
    assert f"{name.replace('.', '_')}.weight" in network.state_dict()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3}},
            (4,),
            "layers[0]: Conv2D 'row' on (4): expected an input with 2 spatial axes and channels, got shape (4)",
        ),
        (
            {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": [3, 3, 3]}},
            (4, 8, 8),
            "layers[0].config.kernel_size: Conv2D 'row' on (4, 8, 8): expected 2 numbers of at least 1, got [3, 3, 3]",
        ),
        (
            {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3, "padding": "sme"}},
            (4, 8, 8),
            "layers[0].config.padding: Conv2D 'row' on (4, 8, 8): expected 'valid', 'same', numbers or pairs",
        ),
        (
            {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3, "groups": 3}},
            (4, 8, 8),
            "layers[0].config.groups: Conv2D 'row' on (4, 8, 8): 3 groups do not divide 4 input channels and 3 filters",
        ),
        (
            {"class_name": "Dense", "config": {"units": 3, "activation": "rleu"}},
            (4,),
            "layers[0].config.activation: Dense 'row' on (4): unknown name \"rleu\". Did you mean 'relu'?",
        ),
        (
            {"class_name": "Softmax", "config": {"axis": 3}},
            (4, 8),
            "layers[0].config.axis: Softmax 'row' on (4, 8): axis 3 is not one of 1 to 2 (or -1 to -2)",
        ),
        (
            {"class_name": "Reshape", "config": {"target_shape": [5, -1]}},
            (4, 8),
            "layers[0].config.target_shape: Reshape 'row' on (4, 8): 32 numbers do not fit into [5, -1]",
        ),
        (
            {"class_name": "Dense", "config": {"units": 3}},
            (None,),
            "layers[0]: Dense 'row' on (?): its weights depend on an unknown size",
        ),
        (
            {"class_name": "Dense", "config": {"units": 3, "bias_constraint": "non_neg"}},
            (4,),
            "layers[0].config.bias_constraint: Dense 'row': not supported. Expected null",
        ),
        (
            {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3, "data_format": "channels"}},
            (4, 8, 8),
            "layers[0].config.data_format: Conv2D 'row': expected 'channels_last' or 'channels_first', got 'channels'",
        ),
        (
            {"class_name": "Conv2DTranspose", "config": {"filters": 3, "kernel_size": 3, "output_padding": 1}},
            (4, 8, 8),
            "layers[0].config.output_padding: Conv2DTranspose 'row' on (4, 8, 8): expected less than the strides",
        ),
        (
            {"class_name": "Cropping1D", "config": {"cropping": 4}},
            (4, 8),
            "layers[0].config.cropping: Cropping1D 'row' on (4, 8): nothing is left of an input of (8)",
        ),
        (
            {"class_name": "Dense", "config": {"units": 3, "activation": {"class_name": "PReLU", "config": {}}}},
            (4,),
            "layers[0].config.activation: Dense 'row' on (4): a layer with weights cannot be an activation",
        ),
    ],
)
def test_what_a_layer_cannot_do_is_named_with_the_layer_its_input_and_the_key(layer, shape, message):
    with pytest.raises(ConfigError) as caught:
        build_network([layer | {"config": layer["config"] | {"name": "row"}}], shape)
    assert str(caught.value).startswith(message)


def test_inputs_that_do_not_fit_together_are_named_with_their_shapes():
    entries = [
        {"class_name": "InputLayer", "config": {"name": n, "batch_input_shape": [None, s, 2]}}
        for n, s in (("x", 3), ("y", 4))
    ]
    calls = [[["x", 0, 0], ["y", 0, 0]]]
    for name, message in (("Add", "cannot be broadcast"), ("Concatenate", "differ in more than axis -1")):
        with pytest.raises(ConfigError, match=r"on \(2, 3\) and \(2, 4\): .*shapes .* " + message):
            build_network([*entries, {"class_name": name, "config": {"name": "m"}, "inbound_nodes": calls}])
    with pytest.raises(ConfigError, match="expected one input, got 2"):
        build_network([*entries, {"class_name": "ReLU", "config": {"name": "m"}, "inbound_nodes": calls}])


def test_a_layer_called_again_on_other_channels_is_refused_and_on_another_size_is_not():
    entries = [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 8, 2]}},
        {"class_name": "InputLayer", "config": {"name": "y", "batch_input_shape": [None, 9, 2]}},
    ]
    conv = {
        "class_name": "Conv1D",
        "config": {"name": "c", "filters": 3, "kernel_size": 2, "strides": 2, "padding": "same"},
        "inbound_nodes": [[["x", 0, 0]], [["y", 0, 0]]],
    }
    network = build_network([*entries, conv])
    assert network.output_shapes == ((3, 4), (3, 5))
    assert [y.shape for y in network(torch.ones(1, 2, 8), torch.ones(1, 2, 9))] == [(1, 3, 4), (1, 3, 5)]
    entries[1]["config"]["batch_input_shape"] = [None, 8, 3]
    with pytest.raises(ConfigError, match=r"Conv1D 'c' on \(3, 8\): expected 2 input channels, got 3"):
        build_network([*entries, conv])


def test_operations_that_are_no_layers_compute_what_keras_computes():
    x = keras.Input((6, 5, 4))
    gate = keras.ops.sigmoid(L.GlobalAveragePooling2D(keepdims=True)(x))
    y = keras.ops.relu6(3.0 - x * gate) / 2.0
    z = keras.ops.maximum(keras.ops.concatenate([y, keras.ops.square(x) + x], axis=1), 0.1)
    assert_same(keras.Model(x, z))


def test_nested_shared_and_reused_models_compute_what_keras_computes():
    i = keras.Input((8, 8, 3))
    backbone = keras.Model(i, [L.Conv2D(4, 3, name="c")(i), L.BatchNormalization(name="b")(i)], name="backbone")
    head = keras.Sequential([L.Flatten(name="f"), L.Dense(4, name="d")], name="head")
    x, y = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    (a, b), (c, _) = backbone(x), backbone(y)
    model = keras.Model([x, y], [L.Subtract()([head(a), head(c)]), b])
    network = assert_same(model)
    assert network.num_parameters == model.count_params()


def test_the_outputs_of_inputs_of_open_size_follow_from_the_samples():
    layers = [
        {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, None, None, 3]}},
        {"class_name": "Conv2D", "config": {"filters": 4, "kernel_size": 3, "strides": 2}},
    ]
    network = build_network(layers)
    assert network.outputs_of((3, 9, 8)) == ((4, 4, 3),) == (network(torch.rand(2, 3, 9, 8)).shape[1:],)
    with pytest.raises(ConfigError, match=r"layers\[1\]: Conv2D .*a window of \(3, 3\) does not fit"):
        network.outputs_of((3, 2, 2))


def test_a_layer_may_be_named_like_an_attribute():
    layers = dense_network(3)
    layers[-1]["config"]["name"] = "shapes"
    network = build_network(layers)
    network.accept((1, 28, 28))
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 3)
