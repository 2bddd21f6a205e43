import itertools

import pytest
import torch
from torch import nn

from rayrml.inference.evaluation import EvaluationStep, metric_of
from rayrml.losses import LOSSES
from rayrml.optimizers import OPTIMIZERS
from rayrml.training.gradients import SharedGradient
from rayrml.training.sharding import Sharding
from rayrml.training.step import TrainingStep
from rayrml.workers import Workers
from tests.training.test_step import network, samples

TINY = 16  # bytes: a bucket for each parameter
NOTES = 2 + 3  # the loss, its weight and the wishes


class Branched(nn.Module):
    """A network with a layer that is called twice, and one that is never called."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Linear(64, 4)
        self.unused = nn.Linear(4, 4)
        self.twice = nn.Linear(4, 4)

    def forward(self, batch):
        hidden = self.first(batch.flatten(1))
        return self.twice(self.twice(hidden)).log_softmax(1)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def hessian(parameters):
    return OPTIMIZERS["Hessian"](parameters, max_iterations=3)


NLL = LOSSES["NLL"]()
WEIGHTED = LOSSES["NLL"](weight=(1.0, 2.0, 5.0, 0.5), ignore_index=2)
# Network, loss, optimizer, number of samples, batch size; with ragged batches, and workers whose part is empty.
CASES = [
    (network, NLL, sgd, 10, 4),
    (network, NLL, sgd, 2, 64),
    (network, WEIGHTED, sgd, 10, 1),
    (network, NLL, hessian, 5, 4),
    (Branched, NLL, sgd, 10, 4),
]


def trained(workers, case, compression="none", **options):
    """Losses and gradient norms of an epoch's batches, and all weights after it."""
    build, loss, optimizer, count, batch_size = case
    net = build()
    sharding = Sharding(net, workers, compression=compression)
    step = TrainingStep(net, loss, optimizer(net.parameters()), workers=workers, sharding=sharding, **options)
    images, labels = samples(count)
    figures = []
    for start in range(0, count, batch_size):
        batch = slice(start, start + batch_size)
        part, target = (x[batch][workers.rank :: workers.size] for x in (images, labels))
        done = step(part, target, len(images[batch]))
        figures += [done.loss.item(), done.gradient_norm.item()]
    return figures, torch.cat([p.detach().flatten() for p in net.parameters()]).tolist()


def _whole(workers):
    return [trained(workers, case) for case in CASES]


def _bucketed(workers):
    return [trained(workers, case, bucket_bytes=TINY) for case in CASES]


def _compressed(workers):
    # Without the second-order optimizer, whose line search decides differently after different rounding.
    cases = [case for case in CASES if case[2] is sgd]
    return [trained(workers, case, bucket_bytes=size, compression="bf16") for case in cases for size in (TINY, 2**20)]


def _all_ways(workers):
    return _whole(workers), _bucketed(workers), _compressed(workers)


@pytest.fixture(scope="module")
def by_size(on_workers):
    return on_workers(_all_ways, 2, 3)


def test_buckets_give_the_steps_of_one_exchange_and_of_one_process(by_size):
    alone = [trained(Workers(), case) for case in CASES]
    for results in by_size.values():
        whole, bucketed, _ = results[0]
        for case, *ways in zip(CASES, whole, bucketed, alone, strict=True):
            # A line search amplifies rounding differences.
            within = 2e-3 if case[2] is hessian else 1e-4
            for (figures, weights), (other_figures, other_weights) in itertools.combinations(ways, 2):
                assert figures == pytest.approx(other_figures, rel=within, abs=1e-5)
                assert weights == pytest.approx(other_weights, rel=within, abs=within)


def test_gradients_of_16_bits_give_nearly_the_same_steps(by_size):
    alone = [trained(Workers(), case) for case in CASES if case[2] is sgd for _ in range(2)]
    for results in by_size.values():
        for (figures, weights), (exact_figures, exact) in zip(results[0][2], alone, strict=True):
            assert weights != exact
            difference = torch.tensor(weights) - torch.tensor(exact)
            assert difference.norm() < 1e-2 * torch.tensor(exact).norm()
            assert figures == pytest.approx(exact_figures, rel=1e-2)


def test_workers_stay_alike_bit_by_bit_however_they_exchange(by_size):
    for results in by_size.values():
        assert all(mine == results[0] for mine in results)


def _loss_of_16_bits(workers):
    """The first batch's loss, which no rounded gradient has influenced yet."""
    return trained(workers, CASES[0], compression="bf16")[0][0]


def test_the_loss_itself_travels_in_full(on_workers):
    exact = trained(Workers(), CASES[0])[0][0]
    assert on_workers(_loss_of_16_bits, 2)[2] == [pytest.approx(exact, rel=1e-6)] * 2


class _Recording(Workers):
    """Two workers whose sums are only recorded: the number of values in each, in the order in which they began."""

    def start_sum(self, tensor):
        RECORD.append(tensor.numel())
        return Workers().start_sum(tensor)


RECORD: list = []


@pytest.fixture
def recorded():
    RECORD.clear()
    return RECORD


def _layers(*sizes):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)))


def test_buckets_set_out_during_backward_the_last_parameters_first(recorded):
    net = _layers(2, 3, 4, 5)
    step = TrainingStep(net, LOSSES["MSE"](), sgd(net.parameters()), workers=_Recording(0, 2), bucket_bytes=TINY)
    net[0].weight.register_hook(lambda _: recorded.append("first layer reached"))
    step(torch.ones(4, 2), torch.ones(4, 5), 8)
    assert recorded == [20, 12, "first layer reached", 6 + NOTES]


def test_a_bucket_that_is_full_early_waits_for_those_before_it(recorded):
    parameters = [nn.Parameter(torch.zeros(size)) for size in (4, 5, 6)]
    shared = SharedGradient(parameters, _Recording(0, 2), bucket_bytes=TINY)
    shared.begin()
    shared.send()
    parameters[1].sum().backward()
    assert recorded == []
    parameters[2].sum().backward()
    assert recorded == [6, 5]
    shared.finish()
    assert recorded == [6, 5, 4 + NOTES]


def test_a_worker_without_samples_sends_the_same_buckets(recorded):
    net = _layers(2, 3, 4, 5)
    step = TrainingStep(net, LOSSES["MSE"](), sgd(net.parameters()), workers=_Recording(0, 2), bucket_bytes=TINY)
    step(torch.empty(0), torch.empty(0), 1)
    assert recorded == [20, 12, 6 + NOTES]


def test_buckets_are_of_the_size_asked_for_and_small_networks_have_one(recorded):
    parameters = [nn.Parameter(torch.zeros(size)) for size in (7, 5, 1, 3, 2)]
    for limit in (4 * 4, 2**20):
        shared = SharedGradient(parameters, _Recording(0, 2), bucket_bytes=limit)
        shared.begin()
        shared.finish()
    assert recorded == [2 + 3, 1 + 5, 7 + NOTES, 18 + NOTES]


def test_16_bits_are_for_gradients_that_travel(recorded):
    parameters = [nn.Parameter(torch.zeros(3))]
    shared = SharedGradient(parameters, _Recording(0, 2), compression="bf16")
    shared.begin()
    parameters[0].grad.fill_(1 + 2**-12)
    shared.finish()
    assert recorded == [3, NOTES]
    assert parameters[0].grad.tolist() == [1, 1, 1]
    alone = SharedGradient(parameters, Workers(), compression="bf16")
    alone.begin()
    parameters[0].grad.fill_(1 + 2**-12)
    alone.finish()
    assert parameters[0].grad.tolist() == [1 + 2**-12] * 3


def test_gradients_outside_of_a_step_are_not_sent(recorded):
    net = _layers(2, 3, 4, 5)
    step = TrainingStep(net, LOSSES["MSE"](), sgd(net.parameters()), workers=_Recording(0, 2), bucket_bytes=TINY)
    step(torch.ones(4, 2), torch.ones(4, 5), 8)
    recorded.clear()
    EvaluationStep(net, LOSSES["MSE"](), None)(torch.ones(4, 2), torch.ones(4, 5))
    net(torch.ones(4, 2)).sum().backward()
    assert recorded == []


@pytest.mark.parametrize("workers", [Workers(), _Recording(0, 2)], ids=["one", "two"])
@pytest.mark.parametrize("loss", [NLL, WEIGHTED], ids=["plain", "weighted"])
def test_no_step_waits_for_a_number_from_the_device(workers, loss, recorded):
    # This device has only shapes: reading a value raises an error.
    images, labels, net = *(x.to("meta") for x in samples(10)), network().to("meta")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    step = TrainingStep(net, loss, optimizer, workers=workers, gradient_clip=1.0, bucket_bytes=TINY)
    assert step(images, labels, 10).loss.device.type == "meta"
    assert EvaluationStep(net, loss, metric_of(loss))(images, labels).shape == (10, 4)


def test_parameters_are_let_alone_when_the_step_is_gone():
    net = _layers(2, 3, 4, 5)
    step = TrainingStep(net, LOSSES["MSE"](), sgd(net.parameters()), workers=_Recording(0, 2), bucket_bytes=TINY)
    assert all(p._post_accumulate_grad_hooks for p in net.parameters())
    del step
    assert not any(p._post_accumulate_grad_hooks for p in net.parameters())
