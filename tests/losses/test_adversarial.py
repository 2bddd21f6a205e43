"""The losses of critic and generator against figures computed apart, and what makes them right for any workers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rayrml.losses import adversarial
from rayrml.networks.network import build_network

CASES = json.loads(Path(__file__).with_suffix("").with_name("adversarial.json").read_text())
LINEAR, DEEP, CONVOLUTION = range(3)


def build(case, dtype=torch.float64):
    """The critic of a case, of rayrml's own layers."""
    network = build_network({"class_name": "Sequential", "config": {"layers": case["layers"]}}).to(dtype).train()
    with torch.no_grad():
        for name, weight in case["weights"].items():
            network.get_parameter(name).copy_(torch.tensor(weight, dtype=torch.float64))
    return network


def tensors(case, *names, dtype=torch.float64):
    return [torch.tensor(case[name], dtype=dtype) for name in names]


def loss_of(case, network, dtype=torch.float64, part=slice(None)):
    """The critic's loss of some samples of a case."""
    real, generated, mix = (values[part] for values in tensors(case, "real", "fake", "mix", dtype=dtype))
    return adversarial.critic_loss(network, real, generated, mix=mix, gradient_penalty=case["gradient_penalty"])


def gradients(network):
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


def near(found, expected, accuracy=1e-6):
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].detach().double().numpy() == pytest.approx(np.array(values), abs=accuracy, rel=accuracy), (
            name
        )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"][:20])
def test_the_critics_loss_and_gradient_are_those_of_the_reference(case):
    network, expected = build(case), case["expected"]
    found = loss_of(case, network)
    assert found.wasserstein.item() == pytest.approx(expected["wasserstein"], rel=1e-6)
    assert found.penalty.item() == pytest.approx(expected["penalty"], rel=1e-6)
    assert found.total.item() == pytest.approx(expected["critic_loss"], rel=1e-6)
    found.total.backward()
    near(gradients(network), expected["critic_gradients"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"][:20])
def test_float32_is_as_near_to_the_reference_as_it_can_be(case):
    network = build(case, torch.float32)
    found = loss_of(case, network, torch.float32)
    found.total.backward()
    assert found.total.dtype == torch.float32
    assert found.total.item() == pytest.approx(case["expected"]["critic_loss"], rel=1e-5)
    near(gradients(network), case["expected"]["critic_gradients"], 1e-4)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"][:20])
def test_weights_after_a_step_are_those_of_the_reference(case):
    network, expected = build(case), case["expected"]
    loss_of(case, network).total.backward()
    torch.optim.SGD(network.parameters(), lr=expected["sgd_learning_rate"]).step()
    near(dict(network.named_parameters()), expected["weights_after"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"][:20])
def test_clipped_weights_are_those_of_the_reference(case):
    network, expected = build(case), case["expected"]
    adversarial.clip_weights(network.parameters(), expected["clip"])
    near(dict(network.named_parameters()), expected["weights_clipped"], 1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"][:20])
def test_the_generator_learns_from_the_critic_and_changes_nothing_in_it(case):
    network, (generated,) = build(case), tensors(case, "fake")
    frozen = next(network.parameters()).requires_grad_(False)
    with adversarial.constant_weights(network):
        loss = adversarial.generator_loss(network, generated.requires_grad_())
        loss.backward()
    assert loss.item() == pytest.approx(case["expected"]["generator_loss"], rel=1e-6)
    assert generated.grad.numpy() == pytest.approx(np.array(case["expected"]["generator_gradient"]), abs=1e-8)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [p.requires_grad for p in network.parameters()] == [p is not frozen for p in network.parameters()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"][:20])
def test_parts_of_a_batch_weighted_by_their_shares_add_up_to_the_whole(case):
    network, count = build(case), len(case["real"])
    whole = loss_of(case, network)
    whole.total.backward()
    expected = gradients(network)
    network.zero_grad()
    found = torch.zeros(3, dtype=torch.float64)
    for part in (slice(0, 1), slice(1, count)):
        own = loss_of(case, network, part=part)
        share = len(case["real"][part]) / count
        (own.total * share).backward()
        found += torch.stack(own).detach() * share
    assert found.numpy() == pytest.approx(torch.stack(whole).detach().numpy(), rel=1e-12)
    near(gradients(network), {name: value.numpy() for name, value in expected.items()}, 1e-12)


def test_the_penalty_fills_no_gradients_and_one_backward_tells_each_weight_once():
    network = build(CASES[CONVOLUTION])
    told = []
    for name, parameter in network.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: told.append(name))
    found = loss_of(CASES[CONVOLUTION], network)
    assert not told and all(parameter.grad is None for parameter in network.parameters())
    found.total.backward()
    assert sorted(told) == sorted(name for name, _ in network.named_parameters())


def test_the_norm_is_that_of_a_whole_sample():
    case = CASES[CONVOLUTION]
    network, (real, generated, mix) = build(case), tensors(case, "real", "fake", "mix")
    mixed = mix.view(-1, 1, 1, 1) * real + (1 - mix.view(-1, 1, 1, 1)) * generated
    norms = adversarial.gradient_norms(network, mixed)
    assert norms.detach().numpy() == pytest.approx(case["expected"]["gradient_norms"], rel=1e-6)


def test_the_penalty_is_in_float32_whatever_the_scores_are_in():
    case = CASES[DEEP]
    network = build(case, torch.float32)
    expected = loss_of(case, network, torch.float32).penalty
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_of(case, network, torch.float32)
    assert found.penalty.item() == expected.item()
    assert found.total.dtype == torch.float32
    assert found.wasserstein.item() != pytest.approx(case["expected"]["wasserstein"], rel=1e-4)


def test_a_critic_that_is_flat_somewhere_has_a_gradient_everywhere():
    case = CASES[DEEP]
    network = build(case)
    with torch.no_grad():
        network.get_parameter("score.weight").zero_()
    found = loss_of(case, network)
    found.total.backward()
    assert found.penalty.item() == 1
    assert all(gradient.isfinite().all() for gradient in gradients(network).values())


def test_generated_samples_get_no_gradient_from_the_critics_loss():
    case = CASES[LINEAR]
    real, generated, mix = tensors(case, "real", "fake", "mix")
    generated.requires_grad_()
    adversarial.critic_loss(build(case), real, generated, mix=mix, gradient_penalty=10).total.backward()
    assert generated.grad is None


def test_pixels_in_bytes_are_fractions_of_white():
    case = CASES[CONVOLUTION]
    network, (generated, mix) = build(case, torch.float32), tensors(case, "fake", "mix", dtype=torch.float32)
    pixels = torch.randint(0, 256, generated.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, expected = (
        adversarial.critic_loss(network, real, generated, mix=mix, gradient_penalty=10).total.item()
        for real in (pixels, pixels.float() / 255)
    )
    assert found == expected


@pytest.mark.parametrize("kept", [False, True])
def test_activations_may_be_computed_again(kept):
    case = CASES[CONVOLUTION]
    network = build(case)
    expected = loss_of(case, network)
    expected.total.backward()
    whole = gradients(network)
    network.zero_grad()
    network.checkpoint_activations(["conv"] if kept else None)
    found = loss_of(case, network)
    found.total.backward()
    near(gradients(network), {name: value.numpy() for name, value in whole.items()}, 1e-12)


def test_without_a_penalty_nothing_is_mixed():
    case = CASES[LINEAR]
    real, generated = tensors(case, "real", "fake")
    found = adversarial.critic_loss(build(case), real, generated)
    assert found.penalty.item() == 0
    assert found.total.item() == pytest.approx(-case["expected"]["wasserstein"], rel=1e-9)


@pytest.mark.parametrize(("count", "mix"), [(1, torch.rand(4)), (4, torch.rand(1)), (4, torch.rand(4, 1)), (4, None)])
def test_nothing_is_broadcast(count, mix):
    real, generated = tensors(CASES[LINEAR], "real", "fake")
    with pytest.raises(ValueError, match=r"shape|share"):
        adversarial.critic_loss(build(CASES[LINEAR]), real, generated[:count], mix=mix, gradient_penalty=10)
