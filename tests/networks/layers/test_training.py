"""What layers do in training: noise, statistics, penalties, frozen parts, gradients of activations."""

from __future__ import annotations

import math

import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.networks.network import build_network


def _row(class_name, shape, **config):
    network = build_network([{"class_name": class_name, "config": {"name": "row", **config}}], shape)
    return network.train()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_dropout_scales_what_it_keeps():
    y = _row("Dropout", (50, 40, 50), rate=0.4)(torch.ones(1, 50, 40, 50))
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert (y == 0).float().mean().item() == pytest.approx(0.4, abs=0.01)


def test_dropout_shares_a_draw_along_the_axes_of_size_1_in_keras_order():
    y = _row("Dropout", (50, 4, 5), rate=0.5, noise_shape=[None, 1, 1, None])(torch.ones(20, 50, 4, 5))
    assert torch.equal(y, y[:, :, :1, :1].expand_as(y)) and y[:, :, 0, 0].std() > 0.9
    with pytest.raises(ConfigError, match="noise_shape"):
        _row("Dropout", (50, 4, 5), rate=0.5, noise_shape=[None, 7, 1, None])


def test_stochastic_depth_drops_whole_samples():
    y = _row("StochasticDepth", (3, 4, 4), drop_path_rate=0.25)(torch.ones(2000, 3, 4, 4)).flatten(1)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert y.max().item() == pytest.approx(1 / 0.75)


def test_a_layer_scale_begins_with_its_value_and_has_one_weight_for_each_channel():
    layer = _row("LayerScale", (3, 4, 4), init_values=0.1, projection_dim=3)
    assert torch.equal(layer(torch.ones(1, 3, 4, 4)), torch.full((1, 3, 4, 4), 0.1))
    with pytest.raises(ConfigError, match=r"projection_dim: .*expected 3, the number of channels, got 4"):
        _row("LayerScale", (3, 4, 4), init_values=0.1, projection_dim=4)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_spatial_dropout_drops_whole_channels_of_a_sample(rank):
    x = torch.ones(40, 30, *(3,) * rank)
    y = _row(f"SpatialDropout{rank}D", x.shape[1:], rate=0.25)(x).flatten(2)
    assert torch.equal(y, y[..., :1].expand_as(y))
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert y.max().item() == pytest.approx(1 / 0.75)


def test_noise_has_the_deviation_that_is_asked_for():
    x = torch.full((100, 1000), 2.0)
    added = _row("GaussianNoise", (1000,), stddev=0.3)(x) - x
    assert added.std().item() == pytest.approx(0.3, rel=0.02) and added.mean().abs() < 0.01
    factor = _row("GaussianDropout", (1000,), rate=0.2)(x) / x
    assert factor.std().item() == pytest.approx(math.sqrt(0.2 / 0.8), rel=0.02) and (factor.mean() - 1).abs() < 0.01


def test_alpha_dropout_keeps_mean_and_variance():
    y = _row("AlphaDropout", (1000,), rate=0.3)(torch.randn(200, 1000))
    assert y.mean().abs() < 0.02 and y.var().item() == pytest.approx(1, rel=0.03)


def test_noise_is_off_in_inference():
    x = torch.randn(4, 3, 8, 8)
    for name, config in (("Dropout", {"rate": 0.5}), ("GaussianNoise", {"stddev": 1.0}), ("RandomFlip", {})):
        assert torch.equal(_row(name, (3, 8, 8), **config).eval()(x), x)


def test_batch_normalization_of_keras_2_takes_the_unbiased_variance_of_images_and_the_biased_one_of_vectors():
    for shape, correction in (((3, 4, 4), 1), ((3, 2, 4, 4), 1), ((3,), 0), ((3, 7), 0)):
        network = _row("BatchNormalization", shape, momentum=0.9)
        x = torch.randn(6, *shape) * 2 + 1
        network(x)
        dims = [0, *range(2, x.ndim)]
        state = network.state_dict()
        torch.testing.assert_close(state["row.running_mean"], 0.1 * x.mean(dims))
        torch.testing.assert_close(state["row.running_var"], 0.9 + 0.1 * x.var(dims, correction=correction))


def test_batch_normalization_takes_a_batch_of_a_single_value():
    network = _row("BatchNormalization", (3,), momentum=0.9)
    x = torch.randn(1, 3, requires_grad=True)
    assert torch.equal(network(x), torch.zeros(1, 3))
    torch.testing.assert_close(network.state_dict()["row.running_mean"], 0.1 * x[0].detach())
    torch.testing.assert_close(network.state_dict()["row.running_var"], torch.full((3,), 0.9))


def test_a_batch_normalization_that_is_called_twice_can_be_trained():
    layers = [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 3]}},
        {"class_name": "BatchNormalization", "config": {"name": "b"}, "inbound_nodes": [[["x", 0, 0]], [["b", 0, 0]]]},
    ]
    network = build_network(layers).train()
    network(torch.randn(5, 3)).sum().backward()
    assert network.get_parameter("b.weight").grad is not None


def test_instance_normalization_is_that_of_torch():
    for options in ({}, {"affine": True}, {"affine": True, "track_running_stats": True}):
        network = _row("InstanceNormalization", (3, 5, 6), momentum=0.2, epsilon=0.1, **options)
        torch_layer = torch.nn.InstanceNorm2d(3, eps=0.1, momentum=0.2, **options).train()
        for mode in (True, False):
            x = torch.randn(2, 3, 5, 6)
            torch.testing.assert_close(network.train(mode)(x), torch_layer.train(mode)(x))


def test_a_call_may_fix_the_mode_of_its_layer():
    for training in (False, True):
        layers = [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 3]}},
            {
                "class_name": "Dropout",
                "config": {"name": "d", "rate": 0.5},
                "inbound_nodes": [[["x", 0, 0, {"training": training}]]],
            },
        ]
        network = build_network(layers)
        x = torch.ones(9, 3)
        for mode in (False, True):
            assert torch.equal(network.train(mode)(x), x) == (not training)


def test_a_frozen_layer_is_not_trained_and_not_penalized():
    config = {"units": 2, "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.1}}, "trainable": False}
    network = _row("Dense", (3,), **config)
    assert network.num_trainable_parameters == 0 and network.num_parameters == 8 and network.penalty() is None


@pytest.mark.parametrize(
    ("regularizer", "l1", "l2"),
    [
        ("l2", 0, 0.01),
        ({"class_name": "L1", "config": {"l1": 0.3}}, 0.3, 0),
        ({"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.0005}}, 0, 0.0005),
        ("l1_l2", 0.01, 0.01),
    ],
)
def test_every_regularized_weight_adds_its_penalty(regularizer, l1, l2):
    network = _row("Dense", (3,), units=2, kernel_regularizer=regularizer, bias_regularizer=regularizer)
    with torch.no_grad():
        network.get_parameter("row.bias").uniform_(-1, 1)
    penalty = network.penalty()
    expected = sum(l1 * p.abs().sum() + l2 * p.square().sum() for p in network.parameters())
    if regularizer == "l1_l2":  # Keras's default for both together is 0
        assert penalty is None
    else:
        torch.testing.assert_close(penalty, expected)


def test_a_relu_left_to_max_pooling_changes_no_number_and_no_gradient():
    conv = {"class_name": "Conv2D", "config": {"name": "c", "filters": 4, "kernel_size": 3, "activation": "relu"}}
    pool = {"class_name": "MaxPooling2D", "config": {"name": "p", "pool_size": 3, "strides": 2, "padding": "same"}}
    network = build_network([conv, pool], (2, 9, 8))
    x = torch.randn(3, 2, 9, 8)
    network(x).square().sum().backward()
    weight, bias = (network.get_parameter(f"c.{name}").detach().requires_grad_() for name in ("weight", "bias"))
    y = torch.relu(torch.nn.functional.conv2d(x, weight, bias))
    expected = torch.nn.functional.max_pool2d(torch.nn.functional.pad(y, (0, 1, 1, 1)), 3, 2)
    torch.testing.assert_close(network(x), expected)
    expected.square().sum().backward()
    torch.testing.assert_close(network.get_parameter("c.weight").grad, weight.grad)
    torch.testing.assert_close(network.get_parameter("c.bias").grad, bias.grad)


@pytest.mark.parametrize(
    ("mode", "dims"), [("horizontal", [3]), ("vertical", [2]), ("horizontal_and_vertical", [2, 3])]
)
def test_random_flips_flip_half_of_the_samples_along_each_axis(mode, dims):
    x = torch.rand(200, 1, 2, 2)
    y = _row("RandomFlip", (1, 2, 2), mode=mode)(x)
    variants = [x.flip(d) for d in ([], [2], [3], [2, 3]) if set(d) <= set(dims)]
    shares = [(y == v).flatten(1).all(1).float().mean().item() for v in variants]
    assert sum(shares) == pytest.approx(1) and all(s == pytest.approx(1 / len(variants), abs=0.12) for s in shares)


def test_a_quarter_turn_is_counterclockwise_and_a_zoom_of_one_doubles_the_view():
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 4] = 1  # right of the centre
    turned = _row("RandomRotation", (1, 5, 5), factor=[0.25, 0.25], fill_mode="constant")(x)
    expected = torch.zeros(1, 1, 5, 5)
    expected[0, 0, 0, 2] = 1  # above it
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)
    zoomed = _row("RandomZoom", (1, 5, 5), height_factor=[1, 1], fill_mode="constant", fill_value=3.0)(x)
    assert zoomed[0, 0, 2, 3] == 1 and zoomed[0, 0, 2, 2] == 0 and zoomed[0, 0, 0, 0] == 3


@pytest.mark.parametrize(
    ("name", "shape", "keys", "num_samples"),
    [
        ("BatchNormalization", (6,), {}, 1),
        ("BatchNormalization", (6, 1, 1), {}, 1),
        ("InstanceNormalization", (6, 1, 1), {"affine": True}, 1),
        ("InstanceNormalization", (6, 1), {"affine": True, "track_running_stats": True}, 3),
        ("GroupNormalization", (6, 1, 1), {"groups": 6}, 1),
        ("GroupNormalization", (6,), {"groups": 6}, 3),
        ("LayerNormalization", (1,), {}, 1),
    ],
)
def test_a_single_value_is_normalized_to_beta_and_has_a_gradient_of_zero(name, shape, keys, num_samples):
    network = _row(name, shape, **keys)
    layer = network.layers()["row"]
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.copy_(torch.arange(float(layer.bias.numel())).view_as(layer.bias))
    x = torch.randn(num_samples, *shape, requires_grad=True)
    y = network(x)
    expected = layer.bias.view(1, -1, *(1,) * (len(shape) - 1)).expand_as(x)
    assert torch.equal(y, expected)
    y.square().sum().backward()
    assert x.grad is not None
    assert not x.grad.any()
    assert layer.weight.grad is not None
    assert not layer.weight.grad.any()
    assert torch.equal(layer.bias.grad.flatten(), (2 * num_samples * layer.bias.flatten()).detach())


@pytest.mark.parametrize("num_samples", [1, 3])
def test_an_instance_of_one_position_becomes_beta_outside_training_too(num_samples):
    network = _row("InstanceNormalization", (6, 1, 1), affine=True).eval()
    layer = network.layers()["row"]
    with torch.no_grad():
        layer.bias.copy_(torch.arange(6.0))
    y = network(torch.randn(num_samples, 6, 1, 1))
    assert torch.equal(y.flatten(1), torch.arange(6.0).expand(num_samples, -1))


def test_an_instance_of_one_position_is_normalized_by_running_statistics_where_they_are_kept():
    network = _row("InstanceNormalization", (6, 1, 1), track_running_stats=True, epsilon=0.0).eval()
    layer = network.layers()["row"]
    with torch.no_grad():
        layer.running_mean.fill_(2.0)
        layer.running_var.fill_(4.0)
    x = torch.randn(3, 6, 1, 1)
    torch.testing.assert_close(network(x), (x - 2) / 2)


@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("sizes", [(6,), (5, 6), (2, 3, 4)])
def test_instance_normalization_of_a_single_sample_has_the_gradient_of_two_equal_ones(sizes, track):
    """For a single one, torch's own gradient is wrong where channels come last in memory."""
    layer = {"class_name": "InstanceNormalization", "config": {"affine": True, "track_running_stats": track}}
    single, double = (build_network([layer], (4, *sizes)).double().train() for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((1, *sizes, 4), dtype=torch.float64, generator=generator).movedim(-1, 1).requires_grad_()
    target = torch.rand((1, *sizes, 4), dtype=torch.float64, generator=generator).movedim(-1, 1)
    ((single(x) - target) ** 2).sum().backward()
    found = x.grad
    x.grad = None
    ((double(torch.cat([x, x])) - target) ** 2).sum().div(2).backward()
    torch.testing.assert_close(found, x.grad)
    for name, value in single.state_dict().items():
        torch.testing.assert_close(value, double.state_dict()[name])
    for one, two in zip(single.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
