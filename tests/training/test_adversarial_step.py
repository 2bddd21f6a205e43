"""Steps of a critic and a generator: figures computed apart, for one worker and for several."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rayrml.data import noise
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.training.adversarial_step import (
    AdversarialStep,
    CriticStep,
    GeneratorStep,
    Noise,
    Turns,
)
from rayrml.workers import Workers

CASES = json.loads((Path(__file__).parent.parent / "losses" / "adversarial.json").read_text())
LINEAR, DEEP, CONVOLUTION = range(3)


class Shift(nn.Module):
    """A generator that adds a weight to its input, so that inputs say which samples it makes."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    def forward(self, inputs):
        return inputs + self.weight


def critic_of(case):
    network = build_network({"class_name": "Sequential", "config": {"layers": case["layers"]}}).double().train()
    with torch.no_grad():
        for name, weight in case["weights"].items():
            network.get_parameter(name).copy_(torch.tensor(weight, dtype=torch.float64))
    return network


def step_of(generator, critic, shape, workers=Workers(), rate=0.1, **settings):  # noqa: B008 (frozen)
    loss = LOSSES["Wasserstein"](**settings)
    options = {"workers": workers}
    of_critic = CriticStep(
        generator, critic, loss, torch.optim.SGD(critic.parameters(), lr=rate), input_shape=shape, **options
    )
    of_generator = GeneratorStep(
        generator, critic, loss, torch.optim.SGD(generator.parameters(), lr=rate), sample_shape=shape, **options
    )
    turns = Turns(loss.critic_steps)
    return AdversarialStep(of_critic, of_generator, loss, turns), turns


def parts_of(case, workers=Workers(), count=None):  # noqa: B008 (frozen)
    """A worker's part of the real samples, of the generated ones and of the shares."""
    own = slice(workers.rank, count, workers.size)
    return [torch.tensor(case[name], dtype=torch.float64)[:count][own] for name in ("real", "fake", "mix")]


def trained_by(case, workers=Workers(), count=None, *, generates=True, **settings):  # noqa: B008 (frozen)
    """The figures of one step with both updates, and the weights after it."""
    real, fake, mix = parts_of(case, workers, count)
    total = count or len(case["real"])
    critic, generator = critic_of(case), Shift(np.shape(case["fake"])[1:])
    settings = {"critic_steps": 1, "gradient_penalty": case["gradient_penalty"], **settings}
    step, _ = step_of(
        generator, critic, generator.weight.shape, workers, case["expected"]["sgd_learning_rate"], **settings
    )
    trained = step(real, Noise(fake, mix, fake if generates else None, total), total)
    figures = [trained.loss.item(), trained.gradient_norm.item(), *trained.terms.tolist()]
    return figures, *({n: p.detach().numpy() for n, p in net.named_parameters()} for net in (critic, generator))


def near(found, expected, accuracy=1e-6):
    for name, values in expected.items():
        assert found[name] == pytest.approx(np.array(values), rel=accuracy, abs=accuracy), name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"][:20])
def test_a_step_of_the_critic_is_that_of_the_reference(case):
    (loss, length, *terms), weights, _ = trained_by(case)
    expected = case["expected"]
    assert loss == pytest.approx(expected["critic_loss"], rel=1e-6)
    assert terms[:2] == pytest.approx([expected["wasserstein"], expected["penalty"]], rel=1e-6)
    gradient = np.concatenate([np.ravel(values) for values in expected["critic_gradients"].values()])
    assert length == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
    near(weights, expected["weights_after"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"][:20])
def test_the_generator_learns_from_the_updated_critic(case):
    (*_, found), _, weights = trained_by(case, gradient_penalty=0, clip=1e9)
    critic, fake = critic_of(case), torch.tensor(case["fake"], dtype=torch.float64)
    (critic(fake).mean() - critic(torch.tensor(case["real"], dtype=torch.float64)).mean()).backward()
    torch.optim.SGD(critic.parameters(), lr=case["expected"]["sgd_learning_rate"]).step()
    loss = -critic(fake.requires_grad_()).mean()
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-9)
    moved = -case["expected"]["sgd_learning_rate"] * fake.grad.sum(0)
    assert weights["weight"] == pytest.approx(moved.numpy(), abs=1e-12)


def test_the_generator_has_its_turn_after_so_many_updates_through_all_epochs():
    case = CASES[DEEP]
    real, fake, mix = parts_of(case)
    generator, critic = Shift(fake.shape[1:]), critic_of(case)
    step, turns = step_of(generator, critic, fake.shape[1:], critic_steps=3)
    for number in range(1, 8):
        before, of_critic = generator.weight.detach().clone(), [p.detach().clone() for p in critic.parameters()]
        own = Noise(fake, mix, fake if turns.generator_is_next else None, 4)
        trained = step(real, own, len(real))
        assert turns.updates == number and turns.generator_was_last == (number % 3 == 0)
        assert torch.equal(generator.weight, before) == (number % 3 > 0)
        assert trained.terms[2].isnan().item() == (number % 3 > 0)
        assert not all(torch.equal(old, new) for old, new in zip(of_critic, critic.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in critic.parameters())


def test_weights_of_the_critic_are_cut_after_each_update():
    case = CASES[DEEP]
    _, weights, _ = trained_by(case, gradient_penalty=0, clip=0.01)
    assert max(abs(values).max() for values in weights.values()) == pytest.approx(0.01, abs=1e-15)


def test_the_generators_update_changes_no_weight_of_the_critic():
    (*_, loss), weights, _ = trained_by(CASES[DEEP])
    (*_, unknown), alone, _ = trained_by(CASES[DEEP], generates=False)
    assert np.isfinite(loss) and np.isnan(unknown)
    near(weights, alone, 0)


def normalized(penalty):
    """Networks with batch normalization: the generator, and the critic, which has one only for tests of both."""
    torch.manual_seed(1)
    layers = lambda *more: {"class_name": "Sequential", "config": {"layers": [*more]}}  # noqa: E731
    first = {"class_name": "Dense", "config": {"units": 6, "name": "a", "batch_input_shape": [None, 3]}}
    norm = {"class_name": "BatchNormalization", "config": {"name": "n", "axis": -1}}
    last = {"class_name": "Dense", "config": {"units": 3, "name": "b"}}
    score = {"class_name": "Dense", "config": {"units": 1, "name": "c"}}
    own = {"class_name": "Dense", "config": {"units": 5, "name": "d", "batch_input_shape": [None, 3]}}
    leaky = {"class_name": "LeakyReLU", "config": {"name": "l"}}
    generator = build_network(layers(first, norm, last)).double().train()
    critic = build_network(layers(own, leaky, score) if penalty else layers(own, norm, leaky, score)).double().train()
    return generator, critic


def trained_with_norms(workers, penalty, count=5, batch_size=7):
    """The figures of three steps of critic and generator, all weights and statistics after them."""
    generator, critic = normalized(penalty)
    settings = {"gradient_penalty": 10} if penalty else {"gradient_penalty": 0, "clip": 0.5}
    step, turns = step_of(generator, critic, (3,), workers, critic_steps=2, **settings)
    real = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    figures = []
    for number in range(3):
        places = np.arange(workers.rank, count, workers.size)
        draws = noise.draws_of_step(0, 1, number, places)
        made = [torch.from_numpy(a).double() for a in (noise.draw_inputs(draws, (3,), "critic"), noise.draw_mix(draws))]
        draws = noise.draws_of_step(0, 1, number, np.arange(workers.rank, batch_size, workers.size))
        inputs = torch.from_numpy(noise.draw_inputs(draws, (3,), "generator")).double()
        target = Noise(*made, *((inputs, batch_size) if turns.generator_is_next else ()))
        trained = step(real[places], target, count)
        figures += [trained.loss.item(), trained.gradient_norm.item(), *trained.terms[:2].tolist()]
    states = [{name: t.numpy() for name, t in net.state_dict().items()} for net in (generator, critic)]
    return figures, *states


def with_local_norm_in_the_critic(workers):
    """A critic whose batch normalization asks for the statistics of all workers, beside a penalty."""
    generator, critic = normalized(penalty=False)
    next(layer for layer in critic.layers().values() if hasattr(layer, "synchronized")).synchronized = True
    step, _ = step_of(generator, critic, (3,), workers, critic_steps=1)
    own = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(workers.rank))
    target = Noise(own, torch.full((4,), 0.5, dtype=torch.float64), own, 4 * workers.size)
    return step(own, target, 4 * workers.size).loss.isfinite().item()


def all_of(workers):
    wholes = [trained_by(case, workers) for case in CASES]
    few = trained_by(CASES[CONVOLUTION], workers, count=2)
    norms = [trained_with_norms(workers, penalty, count) for penalty in (True, False) for count in (5, 2)]
    return wholes, few, norms, with_local_norm_in_the_critic(workers)


@pytest.fixture(scope="module")
def by_size(on_workers):
    return on_workers(all_of, 2, 3)


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_workers_takes_the_same_step(by_size, size):
    for wholes, few, *_ in by_size[size]:
        for found, case in zip([*wholes, few], [*CASES, CASES[CONVOLUTION]], strict=True):
            figures, critic, generator = trained_by(case, count=2 if found is few else None)
            assert found[0] == pytest.approx(figures, rel=1e-6, abs=1e-9)
            near(found[1], critic)
            near(found[2], generator)


@pytest.mark.parametrize("size", [2, 3])
def test_batch_normalization_is_by_the_batch_of_all_workers_also_if_a_part_is_empty(by_size, size):
    for _, _, norms, _ in by_size[size]:
        cases = [(penalty, count) for penalty in (True, False) for count in (5, 2)]
        for found, (penalty, count) in zip(norms, cases, strict=True):
            figures, *states = trained_with_norms(Workers(), penalty, count)
            assert found[0] == pytest.approx(figures, rel=1e-6, abs=1e-9)
            for own, expected in zip(found[1:], states, strict=True):
                near(own, expected)


def test_a_critic_with_a_penalty_normalizes_each_workers_part(by_size):
    """Second derivatives of what is normalized by all workers are refused."""
    assert all(finite for results in by_size.values() for *_, finite in results)


def test_micro_batches_add_up_to_the_step():
    case = CASES[DEEP]
    real, fake, mix = parts_of(case)
    found = []
    for accumulate in (1, 3):
        critic, generator = critic_of(case), Shift(fake.shape[1:])
        loss = LOSSES["Wasserstein"](critic_steps=1)
        options = {"accumulate": accumulate}
        optimizers = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (critic, generator)]
        step = AdversarialStep(
            CriticStep(generator, critic, loss, optimizers[0], input_shape=fake.shape[1:], **options),
            GeneratorStep(generator, critic, loss, optimizers[1], **options),
            loss,
            Turns(1),
        )
        trained = step(real, Noise(fake, mix, fake, len(fake)), len(real))
        found.append([trained.loss.item(), *trained.terms.tolist(), *copy.copy(generator.weight).flatten().tolist()])
    assert found[0] == pytest.approx(found[1], rel=1e-9)
