"""Each layer, with its options, computes what Keras 3 computes with the same random weights."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from rayrml.networks.network import build_network
from tests.keras_reference import assert_same, inputs, keras, randomize, rebuilt, to_held, to_keras

L = keras.layers
convnext = importlib.import_module("keras.src.applications.convnext")  # its layers have no public name

VECTOR, SEQUENCE, IMAGE, ODD, VOLUME = (6,), (10, 4), (9, 10, 4), (7, 11, 3), (5, 6, 7, 2)


def _windows(kind, shape, **more):
    """The kinds of padding with odd and even kernels, strides and sizes."""
    rank = len(shape) - 1
    for padding in ("valid", "same", *(("causal",) if rank == 1 and more.pop("causal", False) else ())):
        for kernel, stride in ((1, 1), (2, 1), (3, 1), (3, 2), (2, 3), (4, 2), (4, 3)):
            yield kind, {"kernel_size": kernel, "strides": stride, "padding": padding, **more}, shape


CONVOLUTIONS = [
    *_windows(L.Conv1D, SEQUENCE, filters=3, causal=True),
    *_windows(L.Conv2D, IMAGE, filters=3),
    *_windows(L.Conv3D, VOLUME, filters=3),
    (L.Conv1D, {"filters": 6, "kernel_size": 3, "groups": 2, "padding": "causal", "dilation_rate": 2}, SEQUENCE),
    (L.Conv2D, {"filters": 6, "kernel_size": (2, 3), "groups": 2, "strides": (2, 1), "padding": "same"}, IMAGE),
    (L.Conv2D, {"filters": 3, "kernel_size": (3, 2), "dilation_rate": (2, 3), "padding": "same"}, IMAGE),
    (L.Conv2D, {"filters": 3, "kernel_size": 3, "use_bias": False, "activation": "softmax"}, IMAGE),
    (L.Conv3D, {"filters": 4, "kernel_size": 2, "groups": 2, "dilation_rate": 2, "activation": "log_softmax"}, VOLUME),
    (L.DepthwiseConv1D, {"kernel_size": 3, "strides": 2, "padding": "same", "depth_multiplier": 2}, SEQUENCE),
    (L.DepthwiseConv2D, {"kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    (L.DepthwiseConv2D, {"kernel_size": 4, "depth_multiplier": 3, "activation": "relu6", "use_bias": False}, ODD),
    (L.DepthwiseConv2D, {"kernel_size": 3, "dilation_rate": 2, "depth_multiplier": 2, "padding": "same"}, ODD),
    (L.SeparableConv1D, {"filters": 5, "kernel_size": 3, "padding": "same", "strides": 2}, SEQUENCE),
    (L.SeparableConv1D, {"filters": 5, "kernel_size": 3, "dilation_rate": 2, "depth_multiplier": 2}, SEQUENCE),
    (L.SeparableConv2D, {"filters": 5, "kernel_size": 4, "padding": "same", "strides": 3}, IMAGE),
    (L.SeparableConv2D, {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "activation": "relu"}, ODD),
    (L.SeparableConv2D, {"filters": 5, "kernel_size": 3, "dilation_rate": 2, "use_bias": False}, ODD),
]

TRANSPOSED = [
    (kind, {"filters": 2, "kernel_size": kernel, "strides": stride, "padding": padding, "output_padding": more}, shape)
    for kind, shape in ((L.Conv1DTranspose, (5, 3)), (L.Conv2DTranspose, (4, 5, 3)), (L.Conv3DTranspose, (2, 3, 2, 2)))
    for padding in ("valid", "same")
    for kernel, stride, more in (
        (1, 2, None),
        (2, 2, None),
        (3, 2, None),
        (4, 2, None),
        (3, 3, None),
        (5, 3, 2),
        (3, 2, 1),
    )
] + [
    (L.Conv2DTranspose, {"filters": 2, "kernel_size": (2, 3), "strides": (3, 1), "use_bias": False}, (4, 5, 3)),
    (L.Conv2DTranspose, {"filters": 2, "kernel_size": 3, "dilation_rate": 2, "activation": "tanh"}, (4, 5, 3)),
    (L.Conv2DTranspose, {"filters": 2, "kernel_size": 2, "dilation_rate": 3, "padding": "same"}, (4, 5, 3)),
]

POOLING = [
    (kind, {"pool_size": size, "strides": stride, "padding": padding}, shape)
    for kinds, shape in (
        ((L.MaxPooling1D, L.AveragePooling1D), SEQUENCE),
        ((L.MaxPooling2D, L.AveragePooling2D), ODD),
        ((L.MaxPooling3D, L.AveragePooling3D), VOLUME),
    )
    for kind in kinds
    for padding in ("valid", "same")
    for size, stride in ((2, None), (3, 2), (1, 2), (3, 1), (4, 3), (2, 3))
    if (padding, kind.__name__[:7]) != ("same", "Average")  # Keras's torch backend counts some padded cells
] + [
    (kind, {"keepdims": keepdims}, shape)
    for kinds, shape in (
        ((L.GlobalMaxPooling1D, L.GlobalAveragePooling1D), SEQUENCE),
        ((L.GlobalMaxPooling2D, L.GlobalAveragePooling2D), ODD),
        ((L.GlobalMaxPooling3D, L.GlobalAveragePooling3D), VOLUME),
    )
    for kind in kinds
    for keepdims in (False, True)
]

NORMALIZATION = [
    (L.BatchNormalization, {}, VECTOR),
    (L.BatchNormalization, {"epsilon": 0.1, "scale": False}, SEQUENCE),
    (L.BatchNormalization, {"center": False, "axis": 1}, IMAGE),
    (L.BatchNormalization, {"axis": -2}, VOLUME),
    (L.LayerNormalization, {}, VECTOR),
    (L.LayerNormalization, {"epsilon": 0.1, "center": False}, IMAGE),
    (L.LayerNormalization, {"axis": [1, 2, 3]}, ODD),
    (L.LayerNormalization, {"axis": [1, 3]}, ODD),
    (L.GroupNormalization, {"groups": 2}, IMAGE),
    (L.GroupNormalization, {"groups": -1, "epsilon": 0.1, "scale": False}, SEQUENCE),
    (L.GroupNormalization, {"groups": 1, "center": False}, VOLUME),
    (L.GroupNormalization, {"groups": 3, "axis": 1}, IMAGE),
    (L.UnitNormalization, {}, IMAGE),
    (L.UnitNormalization, {"axis": [1, 2]}, IMAGE),
]

RESHAPING = [
    (L.Reshape, {"target_shape": (-1,)}, IMAGE),
    (L.Reshape, {"target_shape": (-1, 4)}, IMAGE),
    (L.Reshape, {"target_shape": (15, 3, -1)}, IMAGE),
    (L.Reshape, {"target_shape": (2, 3)}, VECTOR),
    (L.Flatten, {}, VECTOR),
    (L.Flatten, {}, SEQUENCE),
    (L.Flatten, {}, IMAGE),
    (L.Flatten, {}, VOLUME),
    (L.Permute, {"dims": (2, 1)}, SEQUENCE),
    (L.Permute, {"dims": (3, 1, 2)}, IMAGE),
    (L.Permute, {"dims": (4, 2, 1, 3)}, VOLUME),
    (L.RepeatVector, {"n": 3}, VECTOR),
    (L.UpSampling1D, {"size": 3}, SEQUENCE),
    (L.UpSampling2D, {"size": (2, 3)}, IMAGE),
    (L.UpSampling2D, {"size": (2, 3), "interpolation": "bilinear"}, IMAGE),
    (L.UpSampling3D, {"size": (2, 1, 3)}, VOLUME),
    (L.ZeroPadding1D, {"padding": (1, 3)}, SEQUENCE),
    (L.ZeroPadding2D, {"padding": ((0, 1), (2, 3))}, IMAGE),
    (L.ZeroPadding2D, {"padding": (1, 2)}, IMAGE),
    (L.ZeroPadding3D, {"padding": ((0, 1), (2, 3), (1, 0))}, VOLUME),
    (L.Cropping1D, {"cropping": (1, 3)}, SEQUENCE),
    (L.Cropping2D, {"cropping": ((0, 1), (2, 3))}, IMAGE),
    (L.Cropping2D, {"cropping": 2}, IMAGE),
    (L.Cropping3D, {"cropping": ((0, 1), (2, 3), (1, 0))}, VOLUME),
]

NAMES = [
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "sigmoid", "hard_sigmoid", "tanh", "softmax",
    "log_softmax", "softplus", "softsign", "swish", "silu", "mish", "exponential", "hard_silu",
]  # fmt: skip

OTHERS = [
    (L.Dense, {"units": 5}, VECTOR),
    (L.Dense, {"units": 5, "activation": "softmax", "use_bias": False}, SEQUENCE),
    (L.Dense, {"units": 5, "activation": "log_softmax"}, IMAGE),
    (L.Dense, {"units": 2}, VOLUME),
    *((L.Activation, {"activation": name}, IMAGE) for name in NAMES),
    *((L.Dense, {"units": 3, "activation": name}, VECTOR) for name in NAMES),
    (L.ReLU, {}, IMAGE),
    (L.ReLU, {"max_value": 0.7, "negative_slope": 0.2, "threshold": 0.3}, IMAGE),
    (L.ReLU, {"threshold": 0.3}, IMAGE),
    (L.LeakyReLU, {}, IMAGE),
    (L.LeakyReLU, {"negative_slope": 0.1}, IMAGE),
    (L.PReLU, {}, VECTOR),
    (L.PReLU, {}, IMAGE),
    (L.PReLU, {"shared_axes": [1, 2]}, IMAGE),
    (L.PReLU, {"shared_axes": [1]}, VOLUME),
    (L.ELU, {"alpha": 0.7}, IMAGE),
    (L.Softmax, {}, IMAGE),
    (L.Softmax, {"axis": 1}, IMAGE),
    (L.Softmax, {"axis": [1, 2]}, IMAGE),
    (L.Softmax, {"axis": -2}, SEQUENCE),
    (L.Rescaling, {"scale": 0.5, "offset": -1.0}, IMAGE),
    (L.Rescaling, {"scale": [0.5, 2.0, 1.0, 3.0], "offset": 0.1}, IMAGE),
    (L.Normalization, {"mean": 0.3, "variance": 2.0}, IMAGE),
    (L.Normalization, {"mean": [0.3, 0.1, 1.0, 2.0], "variance": [1.0, 2.0, 3.0, 4.0], "invert": True}, IMAGE),
    (L.Normalization, {}, IMAGE),
    (L.Normalization, {"axis": None}, IMAGE),
    (L.Normalization, {"axis": 1}, IMAGE),
    (L.Resizing, {"height": 5, "width": 17}, IMAGE),
    (L.Resizing, {"height": 18, "width": 20, "interpolation": "nearest"}, IMAGE),
    *((L.Dropout, {"rate": 0.4}, shape) for shape in (VECTOR, IMAGE)),
    (L.SpatialDropout1D, {"rate": 0.4}, SEQUENCE),
    (L.SpatialDropout2D, {"rate": 0.4}, IMAGE),
    (L.SpatialDropout3D, {"rate": 0.4}, VOLUME),
    (L.GaussianNoise, {"stddev": 0.4}, IMAGE),
    (L.GaussianDropout, {"rate": 0.4}, IMAGE),
    (L.AlphaDropout, {"rate": 0.4}, IMAGE),
    (convnext.LayerScale, {"init_values": 0.1, "projection_dim": 4}, IMAGE),
    (convnext.LayerScale, {"init_values": 0.1, "projection_dim": 6}, VECTOR),
    (convnext.StochasticDepth, {"drop_path_rate": 0.4}, IMAGE),
    (L.RandomFlip, {}, IMAGE),
    (L.RandomRotation, {"factor": 0.2}, IMAGE),
    (L.RandomZoom, {"height_factor": 0.2}, IMAGE),
]


def _id(value):
    if isinstance(value, dict):
        return ",".join(f"{k}={v}" for k, v in value.items())
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(
    ("kind", "options", "shape"), CONVOLUTIONS + TRANSPOSED + POOLING + NORMALIZATION + RESHAPING + OTHERS, ids=_id
)
def test_a_layer_computes_what_keras_computes(kind, options, shape):
    assert_same(keras.Sequential([L.Input(shape), kind(**options)]))


MERGES = [
    *((kind, {}, [IMAGE] * 2) for kind in (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum)),
    *((kind, {}, [SEQUENCE] * 3) for kind in (L.Add, L.Multiply, L.Average, L.Maximum, L.Minimum)),
    (L.Add, {}, [IMAGE, (4,)]),
    (L.Multiply, {}, [(10, 4), IMAGE]),
    (L.Multiply, {}, [IMAGE, (1, 1, 4)]),
    (L.Concatenate, {}, [IMAGE, (9, 10, 2)]),
    (L.Concatenate, {"axis": 1}, [IMAGE, (3, 10, 4)]),
    (L.Concatenate, {"axis": -2}, [IMAGE, (9, 3, 4), IMAGE]),
    (L.Concatenate, {"axis": 1}, [SEQUENCE, (3, 4)]),
    (L.Concatenate, {}, [VECTOR, (3,)]),
    (L.Dot, {"axes": 1}, [VECTOR, VECTOR]),
    (L.Dot, {"axes": -1, "normalize": True}, [VECTOR, VECTOR]),
    (L.Dot, {"axes": 2}, [(4, 5), (3, 5)]),
    (L.Dot, {"axes": (1, 2), "normalize": True}, [(5, 4), (3, 5)]),
    (L.Dot, {"axes": (1, 2)}, [(5,), (3, 5)]),
    (L.Dot, {"axes": (3, 1)}, [(2, 3, 5), (5, 4)]),
]


@pytest.mark.parametrize(("kind", "options", "shapes"), MERGES, ids=_id)
def test_a_merge_computes_what_keras_computes(kind, options, shapes):
    tensors = [keras.Input(shape) for shape in shapes]
    assert_same(keras.Model(tensors, kind(**options)(tensors)))


@pytest.mark.parametrize("axis", [-1, 1])
def test_batch_normalization_moves_its_statistics_as_keras_does(axis):
    for shape in (VECTOR, SEQUENCE, IMAGE, VOLUME):
        model = keras.Sequential([L.Input(shape), L.BatchNormalization(axis=axis, momentum=0.8, name="bn")])
        randomize(model)
        network = rebuilt(model).train()
        (x,) = inputs(model, batch=5)
        expected = model(x, training=True).detach().numpy()
        np.testing.assert_allclose(to_keras(network(to_held(x))), expected, atol=1e-5)
        state = network.state_dict()
        for name, weight in (("bn.running_mean", "moving_mean"), ("bn.running_var", "moving_variance")):
            moved = getattr(model.get_layer("bn"), weight).value.detach()
            torch.testing.assert_close(state[name], moved, atol=1e-6, rtol=1e-6)


def test_channels_first_networks_take_and_give_channels_first_tensors():
    first = {"data_format": "channels_first"}
    x = keras.Input((3, 8, 9))
    y = L.Conv2D(4, 3, strides=2, padding="same", activation="relu", **first)(x)
    y = L.UpSampling2D(2, **first)(L.ZeroPadding2D(((0, 1), (2, 0)), **first)(L.BatchNormalization(axis=1)(y)))
    z = L.Concatenate(axis=1)([y, y])
    model = keras.Model(x, [z, L.Dense(3)(L.Flatten(**first)(L.MaxPooling2D(3, **first)(z)))])
    randomize(model)
    network = rebuilt(model)
    assert network.input_shapes == ((3, 8, 9),) and network.output_shapes == ((8, 10, 14), (3,))
    (image,) = inputs(model)
    expected = model(image, training=False)
    for e, given, held in zip(expected, network(torch.from_numpy(image)), network(to_held(image)), strict=True):
        np.testing.assert_allclose(given.detach().numpy(), e.detach().numpy(), atol=1e-5)
        np.testing.assert_array_equal(to_keras(held), given.detach().numpy())


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 1), (4, 3), (2, 3), (8, 8)])
def test_average_pooling_counts_no_padded_cell(size, stride):
    x = np.random.default_rng(0).normal(size=(2, 3, 10)).astype("float32")
    config = {"pool_size": size, "strides": stride, "padding": "same"}
    network = build_network([{"class_name": "AveragePooling1D", "config": config}], (3, 10))
    num_windows = -(-10 // stride)
    before = max((num_windows - 1) * stride + size - 10, 0) // 2
    starts = [i * stride - before for i in range(num_windows)]
    expected = np.stack([x[:, :, max(start, 0) : start + size].mean(2) for start in starts], 2)
    np.testing.assert_allclose(network(torch.from_numpy(x)).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("axes", [[1], [2], [1, 2], [1, 3], [2, 3], [1, 2, 3]])
def test_layer_normalization_takes_the_statistics_of_the_axes_that_keras_counts(axes):
    x = np.random.default_rng(0).normal(2, 3, size=(2, 5, 6, 4))  # (N, H, W, C)
    network = build_network([{"class_name": "LayerNormalization", "config": {"axis": axes, "name": "ln"}}], (4, 5, 6))
    layer = network.layers()["ln"].double()
    sizes = [x.shape[axis] for axis in axes]
    gamma, beta = np.random.default_rng(1).normal(size=(2, *sizes))
    for weight, value in zip(layer.weights, (gamma, beta), strict=True):
        assert list(weight.shape) == sizes
        with torch.no_grad():
            getattr(layer, weight.attribute).copy_(weight.to_torch(torch.from_numpy(value)))
    wide = [x.shape[axis] if axis in axes else 1 for axis in range(4)]
    mean, variance = (f(x, axis=tuple(axes), keepdims=True) for f in (np.mean, np.var))
    expected = (x - mean) / np.sqrt(variance + 1e-3) * gamma.reshape(wide) + beta.reshape(wide)
    np.testing.assert_allclose(to_keras(network(to_held(x))), expected, atol=1e-12)
