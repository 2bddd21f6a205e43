from __future__ import annotations

import math

import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.networks.layers.initializers import INITIALIZERS, draw
from rayrml.networks.network import build_network

SHAPE = (3, 3, 20, 60)  # a Keras kernel: (*receptive field, in, out)
FAN_IN, FAN_OUT = 180, 540


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("option", "variance"),
    [
        ("glorot_uniform", 2 / (FAN_IN + FAN_OUT)),
        ({"class_name": "HeUniform", "config": {"seed": 7}}, 2 / FAN_IN),
        ("LecunUniform", 1 / FAN_IN),
        ({"class_name": "RandomUniform", "config": {"minval": -0.3, "maxval": 0.3}}, 0.6**2 / 12),
        (
            {
                "class_name": "VarianceScaling",
                "config": {"scale": 1.0, "mode": "fan_out", "distribution": "uniform", "seed": None},
            },
            1 / FAN_OUT,
        ),
    ],
)
def test_uniform_distributions_have_the_variance_and_the_bounds_of_keras(option, variance):
    value = draw(option, SHAPE, "")
    assert value.mean().abs() < 4 * math.sqrt(variance / value.numel())
    assert value.var().item() == pytest.approx(variance, rel=0.03)
    limit = math.sqrt(3 * variance)
    assert 0.99 * limit < value.abs().max() <= limit


@pytest.mark.parametrize(
    ("option", "variance"),
    [
        ("glorot_normal", 2 / (FAN_IN + FAN_OUT)),
        ("he_normal", 2 / FAN_IN),
        ("lecun_normal", 1 / FAN_IN),
        ({"class_name": "VarianceScaling", "config": {"distribution": "normal"}}, 1 / FAN_IN),
    ],
)
def test_scaled_normal_distributions_are_cut_at_two_deviations_and_keep_their_variance(option, variance):
    value = draw(option, SHAPE, "")
    assert value.mean().abs() < 4 * math.sqrt(variance / value.numel())
    assert value.var().item() == pytest.approx(variance, rel=0.03)
    limit = 2 * math.sqrt(variance) / 0.87962566103423978
    assert 0.98 * limit < value.abs().max() <= limit


def test_a_truncated_normal_loses_variance_and_a_normal_does_not():
    truncated = draw({"class_name": "TruncatedNormal", "config": {"stddev": 0.1}}, SHAPE, "")
    assert truncated.abs().max() <= 0.2 and truncated.std().item() == pytest.approx(0.08796, rel=0.02)
    whole = draw({"class_name": "RandomNormal", "config": {"mean": 1.0, "stddev": 0.1}}, SHAPE, "")
    assert whole.std().item() == pytest.approx(0.1, rel=0.02) and whole.mean().item() == pytest.approx(1, abs=0.01)


def test_fixed_values():
    assert (draw("zeros", (3,), "") == 0).all() and (draw("Ones", (3,), "") == 1).all()
    assert (draw({"class_name": "Constant", "config": {"value": 0.2}}, (3,), "") == 0.2).all()
    torch.testing.assert_close(draw({"class_name": "Identity", "config": {"gain": 2.0}}, (3, 3), ""), 2 * torch.eye(3))
    with pytest.raises(ConfigError, match="two axes"):
        draw("identity", (3, 3, 3), "")


def test_an_orthogonal_kernel_has_orthonormal_columns():
    matrix = draw("orthogonal", (3, 3, 4, 8), "").reshape(36, 8)
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("layer", "attribute", "fans"),
    [
        ({"class_name": "Conv2D", "config": {"filters": 64, "kernel_size": 3}}, "weight", 9 * (32 + 64)),
        ({"class_name": "Conv2D", "config": {"filters": 64, "kernel_size": 3, "groups": 4}}, "weight", 9 * (8 + 64)),
        ({"class_name": "Conv2DTranspose", "config": {"filters": 64, "kernel_size": 3}}, "weight", 9 * (32 + 64)),
        (
            {"class_name": "DepthwiseConv2D", "config": {"kernel_size": 9, "depth_multiplier": 4}},
            "weight",
            81 * (32 + 4),
        ),
        ({"class_name": "Dense", "config": {"units": 64}}, "weight", 32 + 64),
        ({"class_name": "SeparableConv2D", "config": {"filters": 64, "kernel_size": 9}}, "pointwise_weight", 32 + 64),
    ],
)
def test_the_fans_are_those_of_the_kernel_in_keras_own_shape(layer, attribute, fans):
    network = build_network([layer | {"config": layer["config"] | {"name": "row"}}], (32, 16, 16))
    weight = network.get_parameter(f"row.{attribute}")
    limit = math.sqrt(6 / fans)
    assert 0.97 * limit < weight.abs().max() <= limit
    assert weight.var().item() == pytest.approx(limit**2 / 3, rel=0.1)
    assert all((p == 0).all() for name, p in network.named_parameters() if name.endswith("bias"))


def test_the_json_chooses_the_initializer_of_each_weight():
    config = {"name": "d", "units": 3, "kernel_initializer": "ones", "bias_initializer": {"class_name": "Ones"}}
    network = build_network([{"class_name": "Dense", "config": config}], (2,))
    assert all((p == 1).all() for p in network.parameters())


def test_the_callers_seed_decides_the_weights():
    layer = [{"class_name": "Dense", "config": {"name": "d", "units": 3}}]
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(build_network(layer, (5,)).get_parameter("d.weight"))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("glorot_unifrom", "Did you mean 'GlorotUniform'"),
        ({"class_name": "Constant", "config": {"val": 1}}, "unknown key"),
        ({"class_name": "VarianceScaling", "config": {"mode": "fan"}}, "fan_avg"),
    ],
)
def test_a_wrong_initializer_is_named_with_its_key(option, message):
    layer = {"class_name": "Dense", "config": {"name": "d", "units": 3, "kernel_initializer": option}}
    with pytest.raises(ConfigError, match=r"layers\[0\]\.config\.kernel_initializer.*" + message):
        build_network([layer], (2,))


def test_every_initializer_has_the_shape_that_is_asked_for():
    for name in INITIALIZERS:
        assert draw(name, (4, 4), "").shape == (4, 4)
