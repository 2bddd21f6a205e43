"""The scaling of losses, in float32: multiples of two change no other bit there."""

import copy
import functools

import pytest
import torch
from torch import nn

from rayrml.config.tables import choose
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.training import loss_scaling
from rayrml.training.loss_scaling import LossScaler
from rayrml.training.step import TrainingStep
from rayrml.workers import Workers

CPU = torch.device("cpu")
STEPPING = [name for name in OPTIMIZERS if name != "Hessian"]


class Overflowing(nn.Linear):
    """A layer whose gradient overflows for inputs above 100, as in 16 bits, while its loss is finite."""

    def forward(self, x):
        y = super().forward(x.clamp(max=1.0))
        if x.max() > 100:
            y.register_hook(lambda gradient: gradient * torch.inf)
        return y


def network():
    torch.manual_seed(0)
    return Overflowing(3, 2)


def batches(count):
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(6, 3, generator=generator), torch.rand(6, 2, generator=generator)) for _ in range(count)]


def build(name, net):
    momentum = {"momentum": 0.9} if name in ("SGD", "LARS", "RMSprop") else {}
    return choose(OPTIMIZERS, {"type": name, **momentum}, "optimizer").build(list(net.parameters()))


def overflow(x):
    return torch.cat([x[:-1], torch.full_like(x[-1:], 1000.0)])


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("name", STEPPING)
def test_steps_are_those_without_scaling(name, clip):
    results = []
    for scaler in (None, LossScaler(CPU)):
        net = network()
        step = TrainingStep(net, LOSSES["MSE"](), build(name, net), gradient_clip=clip, scaler=scaler)
        done = [step(*batch, 6) for batch in batches(4)]
        norms, losses = [d.gradient_norm.item() for d in done], [d.loss.item() for d in done]
        results.append((norms, losses, [p.tolist() for p in net.parameters()]))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", STEPPING)
@pytest.mark.parametrize("bad", [0, 2])
def test_a_step_that_overflows_changes_nothing_but_the_scale(name, bad):
    """Also the first one, in which SGD gets its momentum."""
    given = batches(4)
    good = [batch for number, batch in enumerate(given) if number != bad]
    given[bad] = (overflow(given[bad][0]), given[bad][1])
    results, scaler = [], LossScaler(CPU)
    for own, scaling in ((given, scaler), (good, None)):
        net = network()
        step = TrainingStep(net, LOSSES["MSE"](), build(name, net), scaler=scaling)
        losses = [step(*batch, 6).loss.item() for batch in own]
        assert all(map(torch.isfinite, map(torch.tensor, losses)))
        results.append([p.tolist() for p in net.parameters()])
    assert results[0] == results[1]
    assert scaler.scale == 2.0**15
    assert scaler.take_skipped() == 1
    assert scaler.take_skipped() == 0


def _trained(workers, bad):
    """Weights, scale and skipped steps after steps of which one overflows in one worker's part."""
    net, scaler = network(), LossScaler(CPU)
    step = TrainingStep(net, LOSSES["MSE"](), build("SGD", net), workers=workers, scaler=scaler)
    for number, (x, y) in enumerate(batches(4)):
        x = overflow(x) if number == bad else x
        step(x[workers.rank :: workers.size], y[workers.rank :: workers.size], 6)
    return [p.flatten().tolist() for p in net.parameters()], scaler.scale.item(), scaler.take_skipped()


def test_all_workers_skip_what_overflows_in_one_of_them(on_workers):
    weights, scale, skipped = _trained(Workers(), 1)
    assert skipped == 1
    for results in on_workers(functools.partial(_trained, bad=1), 2, 3).values():
        for found in results:
            assert found == results[0]
            assert found[1:] == (scale, skipped)
            for mine, theirs in zip(found[0], weights, strict=True):
                assert mine == pytest.approx(theirs, rel=1e-5)


LAYERS = [
    {"class_name": "Dense", "config": {"name": "a", "units": 4}},
    {"class_name": "BatchNormalization", "config": {"name": "b", "momentum": 0.5}},
    {"class_name": "Dense", "config": {"name": "c", "units": 2}},
]


def _trained_in_16_bits(workers, bad, skips, everywhere=True):
    """A network's state, the losses, the scale and the skipped steps; one worker's input is infinite in 16 bits."""
    torch.manual_seed(0)
    net = build_network(LAYERS, (3,)).train()
    scaler = LossScaler(CPU, net)
    scaler.scale.fill_(1024.0)  # the gradients fit from the beginning
    step = TrainingStep(
        net,
        LOSSES["MSE"](),
        build("SGD", net),
        workers=workers,
        autocast=torch.float16,
        global_batch_norm=everywhere,
        scaler=scaler,
    )
    losses = []
    for number, (x, y) in enumerate(batches(4)):
        if number == bad:
            if skips:
                continue
            x = torch.cat([x[:-1], torch.full_like(x[-1:], 1e5)])
        trained = step(x[workers.rank :: workers.size], y[workers.rank :: workers.size], 6)
        losses.append((trained.loss.item(), trained.skipped.item()))
    state = {name: tensor.tolist() for name, tensor in net.state_dict().items()}
    return state, losses, scaler.scale.item(), scaler.take_skipped()


@pytest.mark.parametrize("bad", [0, 2])
def test_a_forward_pass_that_overflows_changes_nothing_but_the_scale(bad):
    """Also not the running statistics, which would stay infinite."""
    state, losses, scale, skipped = _trained_in_16_bits(Workers(), bad, skips=False)
    expected, others, *_ = _trained_in_16_bits(Workers(), bad, skips=True)
    assert state == expected
    assert not torch.tensor(losses[bad][0]).isfinite()
    assert [skip for _, skip in losses] == [float(number == bad) for number in range(4)]
    assert [pair for number, pair in enumerate(losses) if number != bad] == others
    assert (scale, skipped) == (512.0, 1)


@pytest.mark.parametrize("everywhere", [True, False])
def test_all_workers_skip_a_forward_pass_that_overflows_in_one_of_them(on_workers, everywhere):
    found = {
        skips: on_workers(functools.partial(_trained_in_16_bits, bad=1, skips=skips, everywhere=everywhere), 2, 3)
        for skips in (False, True)
    }
    for size, results in found[False].items():
        for (state, losses, *rest), (expected, *_) in zip(results, found[True][size], strict=True):
            assert state == expected
            assert [skip for _, skip in losses] == [0, 1, 0, 0]
            assert rest == [512.0, 1]


def test_the_scale_grows_after_many_steps_and_is_that_of_pytorch(monkeypatch):
    monkeypatch.setattr(loss_scaling, "_STEPS_UNTIL_GROWTH", 3)
    net, scaler = network(), LossScaler(CPU)
    optimizer = build("SGD", net)
    other = copy.deepcopy(net)
    also, expected = build("SGD", other), torch.amp.GradScaler("cpu", growth_interval=3)
    step = TrainingStep(net, LOSSES["MSE"](), optimizer, scaler=scaler)
    for number, (x, y) in enumerate(batches(14)):
        x = overflow(x) if number in (2, 3, 9) else x
        step(x, y, 6)
        also.zero_grad()
        expected.scale(LOSSES["MSE"]()(other(x), y)).backward()
        expected.step(also)
        expected.update()
        assert scaler.scale.item() == expected.get_scale()
    assert all(torch.allclose(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_gradient_that_is_never_finite_is_noticed():
    net, scaler = network(), LossScaler(CPU)
    step = TrainingStep(net, LOSSES["MSE"](), build("Adam", net), scaler=scaler)
    (x, y), *_ = batches(1)
    before = copy.deepcopy(net.state_dict())
    for _ in range(40):
        assert not scaler.exhausted or scaler.scale < 1e-4
        step(overflow(x), y, 6)
    assert scaler.exhausted
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_a_restored_scaler_goes_on():
    scaler, other = LossScaler(CPU), LossScaler(CPU)
    net = network()
    step = TrainingStep(net, LOSSES["MSE"](), build("Adam", net), scaler=scaler)
    for number, (x, y) in enumerate(batches(3)):
        step(overflow(x) if number == 1 else x, y, 6)
    other.restore(scaler.state())
    assert other.state() == scaler.state()
    fresh = LossScaler(CPU)
    fresh.restore({})
    assert fresh.scale == 2.0**16
