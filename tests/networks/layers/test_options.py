"""Options and layers that Keras 3 lacks or defines differently, checked against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rayrml.errors import ConfigError
from rayrml.networks.network import build_network


def _row(class_name, shape, **config):
    return build_network([{"class_name": class_name, "config": {"name": "row", **config}}], shape).eval()


def _image(*shape):
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize(
    ("config", "function"),
    [
        ({"activation": "ReLU"}, F.relu),
        ({"activation": "log_softmax_v2"}, lambda x: F.log_softmax(x, 1)),
        ({"activation": "softmax", "axis": 1}, lambda x: F.softmax(x, 2)),
        ({"activation": "log_softmax", "axis": -2}, lambda x: F.log_softmax(x, 3)),
        ({"activation": "hard_sigmoid"}, lambda x: (0.2 * x + 0.5).clamp(0, 1)),
        (
            {"activation": {"class_name": "LeakyReLU", "config": {"name": "a", "alpha": 0.2}}},
            lambda x: F.leaky_relu(x, 0.2),
        ),
        ({"activation": {"class_name": "Softmax", "config": {"axis": -1}}}, lambda x: F.softmax(x, 1)),
        ({"activation": {"class_name": "function", "config": "relu6", "module": "builtins"}}, F.relu6),
        ({"activation": "leaky_relu"}, lambda x: F.leaky_relu(x, 0.2)),
    ],
)
def test_activations_by_name_and_as_layers(config, function):
    x = _image(2, 3, 4, 5) * 3
    torch.testing.assert_close(_row("Activation", (3, 4, 5), **config)(x), function(x))


@pytest.mark.parametrize(
    ("class_name", "config", "function"),
    [
        ("LeakyReLU", {}, lambda x: F.leaky_relu(x, 0.3)),
        ("LeakyReLU", {"alpha": 0.1}, lambda x: F.leaky_relu(x, 0.1)),
        ("ThresholdedReLU", {}, lambda x: x * (x > 1)),
        ("ThresholdedReLU", {"theta": 0.2}, lambda x: x * (x > 0.2)),
        ("Log_Softmax", {}, lambda x: F.log_softmax(x, 1)),
        ("Sigmoid", {}, torch.sigmoid),
        ("Tanh", {}, torch.tanh),
        ("Swish", {}, F.silu),
        ("tf.nn.relu6", {}, F.relu6),
        ("tf.math.subtract", {"operands": [1.0, None]}, lambda x: 1 - x),
        ("tf.math.maximum", {"operands": [None, 0.5]}, lambda x: x.clamp(min=0.5)),
        ("tf.clip_by_value", {"operands": [None, -0.5, 0.5]}, lambda x: x.clamp(-0.5, 0.5)),
        ("tf.nn.leaky_relu", {"operands": [None, 0.2]}, lambda x: F.leaky_relu(x, 0.2)),
    ],
)
def test_layers_of_one_formula(class_name, config, function):
    x = _image(2, 3, 4, 5) * 3
    torch.testing.assert_close(_row(class_name, (3, 4, 5), **config)(x), function(x))


def test_hard_sigmoid_has_another_slope_in_keras_3():
    x = torch.linspace(-4, 4, 50).view(-1, 1)
    entry = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 1]}}
    network = build_network([entry, {"class_name": "Activation", "config": {"activation": "hard_sigmoid"}}])
    torch.testing.assert_close(network(x), (x / 6 + 0.5).clamp(0, 1))


def test_bilinear_upsampling_went_from_corner_to_corner_before_tensorflow_2():
    layer = {"class_name": "UpSampling2D", "config": {"name": "u", "size": 2, "interpolation": "bilinear"}}
    x = torch.tensor([[[[0.0, 1.0, 5.0]]]])
    for version, expected in (
        ("2.3.1", [0, 0.5, 1, 3, 5, 5]),
        ("2.3.0-tf", [0, 0.25, 0.75, 2, 4, 5]),
        ("2.8.0", [0, 0.25, 0.75, 2, 4, 5]),
    ):
        model = {"class_name": "Sequential", "config": {"layers": [layer]}, "keras_version": version}
        y = build_network(model, (1, 1, 3))(x)
        assert y[0, 0, 0].tolist() == expected and torch.equal(y[0, 0, 0], y[0, 0, 1])


def test_bicubic_upsampling_is_keys_cubic_without_the_cells_beyond_the_border():
    def keys(t):
        t = abs(t)
        if t <= 1:
            return 1.5 * t**3 - 2.5 * t**2 + 1
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0

    x = _image(1, 1, 5, 6)
    matrices = []
    for size, factor in ((5, 2), (6, 3)):
        centres = (np.arange(size * factor) + 0.5) / factor - 0.5
        matrix = np.array([[keys(centre - i) for i in range(size)] for centre in centres])
        matrices.append(torch.from_numpy(matrix / matrix.sum(1, keepdims=True)))
    expected = matrices[0] @ x @ matrices[1].T
    given = _row("UpSampling2D", (1, 5, 6), size=[2, 3], interpolation="bicubic")(x)
    torch.testing.assert_close(given, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [3, 5, 7, 49])
def test_nearest_upsampling_repeats_each_cell_as_often_as_it_says(factor):
    x = torch.arange(60.0).view(1, 1, 60)
    y = _row("UpSampling1D", (1, 60), size=factor)(x)
    assert torch.equal(y, x.repeat_interleave(factor, 2))


def test_a_depthwise_convolution_of_volumes_makes_neighbouring_channels_of_each():
    x = _image(2, 2, 6, 5, 7)
    network = _row(
        "DepthwiseConv3D", (2, 6, 5, 7), kernel_size=3, strides=2, padding="same", depth_multiplier=2
    ).double()
    y = network(x)
    layer = network.layers()["row"]
    kernel = layer.weights[0].to_keras(network.get_parameter("row.weight"))  # (3, 3, 3, C, multiplier)
    padded = F.pad(x, (1, 1, 1, 1, 0, 1))
    for c in range(2):
        for m in range(2):
            expected = F.conv3d(padded[:, c : c + 1], kernel[None, None, ..., c, m], stride=2)
            torch.testing.assert_close(y[:, 2 * c + m], expected[:, 0])


def test_a_causal_separable_convolution_looks_back_only():
    network = _row("SeparableConv1D", (3, 10), filters=2, kernel_size=3, dilation_rate=2, padding="causal")
    x = torch.randn(1, 3, 10)
    changed = x.clone()
    changed[..., 6:] += 1
    same = network(x) == network(changed)
    assert network(x).shape == (1, 2, 10) and same[..., :6].all() and not same[..., 6:].any()


@pytest.mark.parametrize(
    ("padding", "torch_pads"),
    [(1, (1, 1, 1, 1)), ([1, 2], (2, 2, 1, 1)), ([[0, 1], [2, 0]], (2, 0, 0, 1))],
)
def test_explicit_padding_is_of_zeros_for_convolutions_and_never_wins_in_pooling(padding, torch_pads):
    x = _image(1, 2, 7, 8) - 5
    conv = _row("Conv2D", (2, 7, 8), filters=3, kernel_size=3, padding=padding).double()
    weight, bias = conv.get_parameter("row.weight"), conv.get_parameter("row.bias")
    torch.testing.assert_close(conv(x), F.conv2d(F.pad(x, torch_pads), weight, bias))
    pool = _row("MaxPooling2D", (2, 7, 8), pool_size=3, strides=2, padding=padding)
    expected = F.max_pool2d(F.pad(x, torch_pads, value=-torch.inf), 3, 2)
    torch.testing.assert_close(pool(x), expected)
    assert pool.output_shapes == (tuple(expected.shape[1:]),)


def test_numbers_may_stand_for_lists_and_default_strides_are_the_pool_size():
    assert _row("MaxPooling2D", (2, 9, 9), pool_size=3).output_shapes == ((2, 3, 3),)
    assert _row("Conv2D", (2, 9, 9), filters=3, kernel_size=3, strides=2, padding="SAME").output_shapes == ((3, 5, 5),)


@pytest.mark.parametrize("name", ["RandomFlip", "RandomRotation", "RandomZoom"])
def test_random_preprocessing_draws_for_each_sample(name):
    torch.manual_seed(0)
    config = {"RandomRotation": {"factor": 0.2}, "RandomZoom": {"height_factor": 0.3, "width_factor": 0.3}}.get(
        name, {}
    )
    x = torch.rand(1, 1, 6, 8).expand(16, -1, -1, -1)
    y = _row(name, (1, 6, 8), **config).train()(x)
    assert y.shape == x.shape and len(y.flatten(1).unique(dim=0)) > 2


@pytest.mark.parametrize(
    ("class_name", "config", "key"),
    [
        ("BatchNormalization", {"renorm": True}, "renorm"),
        ("BatchNormalization", {"axis": [1, 2]}, "axis"),
        ("Resizing", {"height": 3, "width": 3, "crop_to_aspect_ratio": True}, "crop_to_aspect_ratio"),
        ("RandomRotation", {"factor": 0.1, "fill_mode": "wrap"}, "fill_mode"),
        ("UpSampling2D", {"interpolation": "lanczos3"}, "interpolation"),
        ("GroupNormalization", {"groups": 2}, "groups"),
        ("Normalization", {"mean": 1.0}, "mean"),
        ("Permute", {"dims": [1, 2]}, "dims"),
        ("ZeroPadding2D", {"padding": [1, 2, 3]}, "padding"),
        ("Dropout", {"rate": 1.5}, "rate"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_key(class_name, config, key):
    with pytest.raises(ConfigError, match=rf"layers\[0\]\.config\.{key}: {class_name} 'row'"):
        _row(class_name, (3, 4, 5), **config)
