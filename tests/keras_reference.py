"""Keras 3 on torch as the reference: its JSON, its weights and its outputs, channels last."""

from __future__ import annotations

import json
import warnings

import numpy as np
import torch

from rayrml.networks.network import Network, build_network

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import keras


def to_held(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1) if x.ndim > 2 else x))


def to_keras(x: torch.Tensor) -> np.ndarray:
    y = x.detach().numpy()
    return np.moveaxis(y, 1, -1) if y.ndim > 2 else y


def randomize(model: keras.Model, seed: int = 0) -> None:
    """Give every weight a random value; variances are positive."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        value = (
            random.uniform(0.5, 1.5, weight.shape) if "variance" in weight.path else random.normal(0, 0.3, weight.shape)
        )
        weight.assign(value)


def rebuilt(model: keras.Model) -> Network:
    """The network that rayrml builds from the model's JSON, with the model's weights."""
    network = build_network(json.loads(model.to_json()))
    copy_weights(model, network)
    return network.eval()


def copy_weights(model: keras.Model, network: Network) -> None:
    layers = network.layers()
    for keras_layer in model._flatten_layers(include_self=False, recursive=True):
        if keras_layer.name not in layers:
            continue
        layer = layers[keras_layer.name]
        values = [w.value.detach().numpy() for w in keras_layer.weights] if layer.weights else []
        for weight, value in zip(layer.weights, values, strict=True):
            assert weight.shape == value.shape
            with torch.no_grad():
                getattr(layer, weight.attribute).copy_(weight.to_torch(torch.from_numpy(value)))


def inputs(model: keras.Model, batch: int = 2, sizes: int = 9, seed: int = 1) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = [[batch, *(sizes if n is None else n for n in tensor.shape[1:])] for tensor in model.inputs]
    return [random.normal(size=shape).astype("float32") for shape in shapes]


def assert_same(model: keras.Model, *, tolerance: float = 1e-5) -> Network:
    """Assert that rayrml's network computes what the Keras model computes, with the same random weights."""
    randomize(model)
    network = rebuilt(model)
    assert_same_outputs(model, network, tolerance=tolerance)
    return network


def assert_same_outputs(model: keras.Model, network: Network, *, tolerance: float = 1e-5) -> None:
    """Assert that both give the same outputs, of the shapes that the network declares."""
    xs = inputs(model)
    expected = model(xs if len(xs) > 1 else xs[0], training=False)
    with torch.no_grad():
        given = network.eval()(*map(to_held, xs))
    expected = expected if isinstance(expected, list | tuple) else [expected]
    given = given if isinstance(given, tuple) else (given,)
    for e, g, shape in zip(expected, given, network.output_shapes, strict=True):
        e = e.detach().numpy()
        assert to_keras(g).shape == e.shape
        assert len(shape) == g.ndim - 1 and all(s in (None, n) for s, n in zip(shape, g.shape[1:], strict=True))
        np.testing.assert_allclose(to_keras(g), e, rtol=0, atol=tolerance * max(1.0, np.abs(e).max()))
