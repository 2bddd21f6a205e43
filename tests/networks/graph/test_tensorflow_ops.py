"""Operations of tf.keras 2.2 and 2.3, against numpy on tensors in Keras's layout."""

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.networks.network import build_network

SHAPE = (4, 5, 3)
X = np.random.default_rng(0).uniform(0.2, 2.0, (2, *SHAPE)).astype(np.float32)


def layer(op, inputs, constants=None, **attributes):
    """A layer as tf.keras writes it: its own name in the config, with a prefix elsewhere."""
    node = {"name": op, "op": op, "input": ["a", "b"], "attr": {"T": {"type": "DT_FLOAT"}, **attributes}}
    return {
        "class_name": "TensorFlowOpLayer",
        "name": f"tf_op_layer_{op}",
        "config": {"name": op, "trainable": True, "dtype": "float32", "node_def": node, "constants": constants or {}},
        "inbound_nodes": [[[name, 0, 0, {}] for name in inputs]],
    }


def network(*layers, inputs=1, shape=SHAPE):
    first = [
        {"class_name": "InputLayer", "name": f"x{i}", "config": {"batch_input_shape": [None, *shape], "name": f"x{i}"}}
        for i in range(inputs)
    ]
    ends = [[entry["name"], 0, 0] for entry in first], [[layers[-1]["name"], 0, 0]]
    config = {"name": "m", "layers": [*first, *layers], "input_layers": ends[0], "output_layers": ends[1]}
    return build_network({"class_name": "Functional", "config": config, "keras_version": "2.4.0"})


def computed(found, *xs):
    """The output in Keras's layout."""
    held = [torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1) if x.ndim > 2 else x)) for x in xs]
    y = found(*held).detach()
    assert tuple(y.shape[1:]) == found.output_shapes[0]
    return np.moveaxis(y.numpy(), 1, -1) if y.ndim > 2 else y.numpy()


CHANNELS = [0.1, 0.2, 0.3]
MANY = {"list": {"i": ["1", "2"]}}
CASES = [
    ("AddV2", {"1": 2.0}, {}, lambda x: x + 2),
    ("Add", {"1": CHANNELS}, {}, lambda x: x + np.array(CHANNELS)),
    ("BiasAdd", {"1": CHANNELS}, {}, lambda x: x + np.array(CHANNELS)),
    ("Sub", {"0": 1.0}, {}, lambda x: 1 - x),
    ("Sub", {"1": [[[CHANNELS]]]}, {}, lambda x: x - np.array(CHANNELS)),
    ("Mul", {"1": 3}, {}, lambda x: 3 * x),
    ("RealDiv", {"1": CHANNELS}, {}, lambda x: x / np.array(CHANNELS)),
    ("RealDiv", {"0": 2.0}, {}, lambda x: 2 / x),
    ("Pow", {"1": 3.0}, {}, lambda x: x**3),
    ("Maximum", {"1": 1.0}, {}, lambda x: np.maximum(x, 1)),
    ("Minimum", {"1": CHANNELS}, {}, lambda x: np.minimum(x, np.array(CHANNELS))),
    ("Neg", {}, {}, lambda x: -x),
    ("Exp", {}, {}, np.exp),
    ("Log", {}, {}, np.log),
    ("Sqrt", {}, {}, np.sqrt),
    ("Rsqrt", {}, {}, lambda x: x**-0.5),
    ("Square", {}, {}, np.square),
    ("Tanh", {}, {}, np.tanh),
    ("Sigmoid", {}, {}, lambda x: 1 / (1 + np.exp(-x))),
    ("Relu", {}, {}, lambda x: np.maximum(x, 0)),
    ("Relu6", {}, {}, lambda x: np.clip(x, 0, 6)),
    ("LeakyRelu", {}, {"alpha": {"f": 0.3}}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ("Softmax", {}, {}, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    ("Identity", {}, {}, lambda x: x),
    ("Cast", {}, {"DstT": {"type": "DT_FLOAT"}}, lambda x: x),
    ("Mean", {"1": [1, 2]}, {"keep_dims": {"b": False}}, lambda x: x.mean((1, 2))),
    ("Mean", {"1": [2, 1]}, {"keep_dims": {"b": True}}, lambda x: x.mean((1, 2), keepdims=True)),
    ("Max", {"1": [1, 2]}, {}, lambda x: x.max((1, 2))),
    ("Reshape", {"1": [-1, 20, 3]}, {}, lambda x: x.reshape(-1, 20, 3)),
    ("Reshape", {"1": [-1, 6, 10]}, {}, lambda x: x.reshape(-1, 6, 10)),
    ("Transpose", {"1": [0, 3, 1, 2]}, {}, lambda x: x.transpose(0, 3, 1, 2)),
    ("ExpandDims", {"1": 1}, {}, lambda x: x[:, None]),
    ("ExpandDims", {"1": -1}, {}, lambda x: x[..., None]),
]


@pytest.mark.parametrize(("op", "constants", "attributes", "expected"), CASES)
def test_an_operation_on_one_tensor(op, constants, attributes, expected):
    found = network(layer(op, ["x0"], constants, **attributes))
    np.testing.assert_allclose(computed(found, X), expected(X), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "constants", "expected"),
    [
        ("AddV2", {}, lambda x, y: x + y),
        ("Sub", {}, lambda x, y: x - y),
        ("RealDiv", {}, lambda x, y: x / y),
        ("ConcatV2", {"2": -1}, lambda x, y: np.concatenate([x, y], -1)),
        ("ConcatV2", {"2": 1}, lambda x, y: np.concatenate([x, y], 1)),
    ],
)
def test_an_operation_on_two_tensors(op, constants, expected):
    found = network(layer(op, ["x0", "x1"], constants), inputs=2)
    np.testing.assert_allclose(computed(found, X, X[::-1] + 1), expected(X, X[::-1] + 1), rtol=1e-5)


@pytest.mark.parametrize(("axes", "expected"), [(["1"], lambda x: x[:, 0]), (["1", "-1"], lambda x: x[:, 0, :, 0])])
def test_axes_of_length_one_are_removed(axes, expected):
    x = X[:, :1, :, :1]
    found = network(layer("Squeeze", ["x0"], squeeze_dims={"list": {"i": axes}}), shape=(1, 5, 1))
    np.testing.assert_allclose(computed(found, x), expected(x))


def test_operations_follow_one_another_as_in_a_squeeze_and_excitation_block():
    mean = layer("Mean", ["x0"], {"1": [1, 2]}, keep_dims={"b": True})
    scale = layer("Sigmoid", ["tf_op_layer_Mean"])
    found = network(mean, scale, layer("Mul", ["x0", "tf_op_layer_Sigmoid"]))
    np.testing.assert_allclose(computed(found, X), X / (1 + np.exp(-X.mean((1, 2), keepdims=True))), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (layer("MatMul", ["x0"]), "the operation 'MatMul' is not supported. Expected one of Abs, Add"),
        (
            layer("Mean", ["x0"], {"1": [1, 3]}),
            r"over all axes between batch and channels, got \[1, 3\]",
        ),
        (layer("Mean", ["x0"], {"1": [1]}), "expected an input with 1 spatial axes"),
        (layer("Mean", ["x0"]), "only supported with a constant as input 2"),
        (layer("Reshape", ["x0"], {"1": [2, 60]}), "only supported with -1 for the batch"),
        (layer("Transpose", ["x0"], {"1": [1, 0, 2, 3]}), "only supported if the batch stays the first axis"),
        (layer("Cast", ["x0"], DstT={"type": "DT_INT32"}), "only supported to floats, got DT_INT32"),
        (layer("AddV2", ["x0"], {"1": [1.0, 2.0]}), "expected a number for each channel, got 2"),
        (layer("AddV2", ["x0"], {"5": 1.0}), "expected 1 constants among 2 inputs"),
        (layer("Squeeze", ["x0"], squeeze_dims={"list": {"i": ["1"]}}), "expected axes of length 1"),
        (layer("ExpandDims", ["x0"], {"1": 0}), "expected an axis of 1 to 4"),
    ],
)
def test_what_is_not_supported_is_refused_with_its_place(wrong, message):
    with pytest.raises(ConfigError, match=message) as caught:
        network(wrong)
    assert any(problem.where.startswith("layers.config.layers[1]") for problem in caught.value.problems)
