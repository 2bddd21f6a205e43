import copy
import multiprocessing
import socket

import pytest
import torch
from torch import nn
from torch.nn import functional

from rayrml.losses import LOSSES, Loss
from rayrml.metrics import METRICS
from rayrml.steps import EvaluationStep, TrainingStep, to_input
from rayrml.workers import Workers


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 36, 4), nn.LogSoftmax(1))


def samples(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 4, (count,), generator=generator)


def step_of(net, loss=None, **options):
    return TrainingStep(net, loss or LOSSES["NLL"](), torch.optim.SGD(net.parameters(), lr=0.1), **options)


def test_pixels_become_numbers_from_0_to_1():
    assert to_input(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])


def test_floating_point_input_stays_as_it_is():
    assert to_input(torch.tensor([3.0])).tolist() == [3.0]


def test_a_step_is_that_of_a_hand_written_loop():
    net, by_hand = network(), network()
    images, labels = samples(10)
    trained = step_of(net)(images, labels, 10)

    loss = functional.nll_loss(by_hand(images / 255), labels)
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in by_hand.parameters()]).norm()
    with torch.no_grad():
        for parameter in by_hand.parameters():
            parameter -= 0.1 * parameter.grad
    assert trained.loss.item() == pytest.approx(loss.item())
    assert trained.gradient_norm.item() == pytest.approx(norm.item())
    for a, b in zip(net.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


def test_a_clipped_gradient_has_the_length_asked_for():
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    trained = step_of(net, gradient_clip=0.01)(*samples(10), 10)
    moved = torch.cat([(a - b).flatten() for a, b in zip(net.parameters(), before, strict=True)]).norm()
    assert trained.gradient_norm > 0.01
    assert moved.item() == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_a_penalty_of_the_network_is_part_of_the_loss():
    net = network()
    net.penalty = lambda: sum(p.square().sum() for p in net.parameters())
    images, labels = samples(10)
    expected = functional.nll_loss(net(images / 255), labels) + net.penalty()
    assert step_of(net)(images, labels, 10).loss.item() == pytest.approx(expected.item())


def test_evaluation_does_not_depend_on_the_batches():
    net = network().eval()
    images, labels = samples(17)
    results = []
    for size in (17, 5, 1):
        step = EvaluationStep(net, LOSSES["NLL"](), METRICS["accuracy"]())
        for batch, target in zip(images.split(size), labels.split(size), strict=True):
            step(batch, target)
        results.append(step.result(torch.device("cpu")))
    output = net(images / 255)
    assert results[0][0] == pytest.approx(functional.nll_loss(output, labels).item())
    assert results[0][1] == (output.argmax(1) == labels).double().mean().item()
    assert results[1] == pytest.approx(results[0])
    assert results[2] == pytest.approx(results[0])


def test_accuracy_counts_pixels_where_targets_are_masks():
    output = torch.log(torch.tensor([[[[0.9, 0.2]], [[0.1, 0.8]]]]))  # (1, 2, 1, 2)
    metric = METRICS["accuracy"]()
    assert metric.value(metric.sums(output, torch.tensor([[[0, 0]]]))) == 0.5


def _weighted():
    weight = torch.tensor([1.0, 2.0, 5.0, 0.5])
    return Loss(lambda o, t: functional.nll_loss(o, t, weight), "labels", "accuracy", weight=lambda t: weight[t].sum())


def _worker(rank, size, port, queue):
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    queue.put((rank, _results(rank, size)))
    torch.distributed.destroy_process_group()


def _results(rank, size):
    results = []
    for loss, count, batch_size in ((LOSSES["NLL"](), 10, 4), (_weighted(), 10, 4), (LOSSES["NLL"](), 2, 64)):
        workers = Workers(rank, size)
        net = network()
        step = step_of(net, loss, workers=workers)
        images, labels = samples(count)
        starts = range(0, count, batch_size)
        losses = []
        for start in starts:
            batch = slice(start, start + batch_size)
            part, target = images[batch][rank::size], labels[batch][rank::size]
            losses.append(step(part, target, len(images[batch])).loss.item())
        evaluation = EvaluationStep(net.eval(), LOSSES["NLL"](), METRICS["accuracy"](), workers=workers)
        if len(images[rank::size]):
            evaluation(images[rank::size], labels[rank::size])
        weights = torch.cat([p.detach().flatten() for p in net.parameters()])
        results.append((losses, weights.tolist(), evaluation.result(torch.device("cpu"))))
    return results


def _on_workers(size):
    """The results of each of `size` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_worker, args=(rank, size, port, queue)) for rank in range(size)]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return results.values()


def test_workers_take_the_steps_that_one_process_takes():
    expected = _results(0, 1)
    for results in (*_on_workers(2), *_on_workers(3)):
        for (losses, weights, result), alone in zip(results, expected, strict=True):
            assert losses == pytest.approx(alone[0], abs=1e-6)
            assert weights == pytest.approx(alone[1], abs=1e-6)
            assert result == pytest.approx(alone[2], abs=1e-6)


def test_a_copy_of_a_network_takes_the_same_step():
    net = network()
    other = copy.deepcopy(net)
    step_of(net)(*samples(6), 6)
    step_of(other)(*samples(6), 6)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
