"""Batch normalization with gamma and beta although its file has neither."""

import pytest
import torch

from rayrml.networks.affine import list_without_affine, with_affine_batch_norm
from rayrml.networks.graph import read_graph
from rayrml.networks.network import build_network

BARE = {"center": False, "scale": False}


def network(*configs, **model):
    """A dense network with one batch normalization for each configuration."""
    norms = [{"class_name": "BatchNormalization", "config": {"name": f"bn_{i}", **c}} for i, c in enumerate(configs)]
    first = {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, 3]}}
    last = {"class_name": "Dense", "config": {"name": "out", "units": 2, "trainable": False}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [first, *norms, last], **model}}


def parameters(layers):
    return sorted(name for name, value in build_network(layers).named_parameters() if value.requires_grad)


def test_layers_that_are_not_frozen_get_both_and_the_rest_stays():
    layers = network(BARE, {"scale": False}, {**BARE, "trainable": False}, {})
    assert parameters(layers) == ["bn_1.bias", "bn_3.bias", "bn_3.weight"]
    both = [f"bn_{i}.{name}" for i in (0, 1, 3) for name in ("bias", "weight")]
    changed = with_affine_batch_norm(layers)
    assert parameters(changed) == both
    assert with_affine_batch_norm(changed) == changed
    assert layers["config"]["layers"][1]["config"] == {"name": "bn_0", **BARE}
    assert list(list_without_affine(read_graph(layers))) == ["bn_0"]
    assert not list(list_without_affine(read_graph(changed)))


def test_it_computes_what_it_computed_before_training():
    layers, x = network(BARE, BARE), torch.rand(5, 3)
    outputs = []
    for each in (layers, with_affine_batch_norm(layers)):
        torch.manual_seed(0)
        outputs.append(build_network(each)(x))
    torch.testing.assert_close(*outputs)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("trainable", [True, False])
def test_layers_inside_others_get_both(trainable, depth):
    layer = {"class_name": "BatchNormalization", "config": {**BARE, "trainable": trainable}}
    for _ in range(depth):
        layer = {"class_name": "TimeDistributed", "config": {"name": "t", "layer": layer}}
    first = {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, *(2,) * depth, 3]}}
    changed = with_affine_batch_norm([first, layer])
    prefix = ".".join(["t", *["layer"] * depth])
    assert parameters(changed) == ([f"{prefix}.bias", f"{prefix}.weight"] if trainable else [])
    assert list(list_without_affine(read_graph([first, layer]))) == (["t"] if trainable else [])
    assert not list(list_without_affine(read_graph(changed)))


@pytest.mark.parametrize(("model", "expected"), [({}, 2), ({"trainable": False}, 0)])
def test_nested_models_and_wrapped_layers_are_found(model, expected):
    inner = network(BARE, **model)
    inner["config"]["name"] = "inner"
    outer = network()
    outer["config"]["layers"].insert(1, inner)
    assert len([name for name in parameters(with_affine_batch_norm(outer)) if "bn_0" in name]) == expected
