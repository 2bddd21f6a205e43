import concurrent.futures
import copy
import functools
import inspect
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, r2_score
from torch import nn
from torch.nn import functional

from rayrml.data.shards import boxes_of
from rayrml.errors import ConfigError
from rayrml.inference.evaluation import EvaluationStep, as_target, metric_of
from rayrml.losses import LOSSES
from rayrml.metrics import METRICS
from rayrml.networks.network import build_network
from rayrml.optimizers import OPTIMIZERS
from rayrml.planning.preparation import prepare
from rayrml.tensors import tiny_as_zero, to_input
from rayrml.training.step import TrainingStep
from rayrml.workers import Workers
from tests.box_data import configuration, grids, write_images


def network():
    """A small network whose second kernel is in channels-last format, like rayrml's own kernels."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 4), nn.LogSoftmax(1)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def samples(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 4, (count,), generator=generator)


def step_of(net, loss=None, optimizer="SGD", **options):
    built = OPTIMIZERS[optimizer](net.parameters(), learning_rate=0.1)
    return TrainingStep(net, loss or LOSSES["NLL"](), built, **options)


def test_pixels_become_numbers_from_0_to_1():
    assert to_input(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])


def test_images_of_class_numbers_become_indices():
    image = torch.tensor([[[[0.0, 1.0000001], [1.9999999, 3.0]]]])
    assert as_target(image, LOSSES["NLL"]()).tolist() == [[[0, 1], [2, 3]]]
    assert as_target(image, LOSSES["MSE"]()) is image


def test_shares_of_classes_stay_as_they_are_where_the_loss_takes_them():
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    loss = LOSSES["CrossEntropy"]()
    logits = torch.tensor([[1.0, 2.0], [0.5, 0.1]])
    expected = -(shares * logits.log_softmax(1)).sum(1).mean()
    assert loss(logits, as_target(shares, loss)).item() == pytest.approx(expected.item())
    assert not LOSSES["CrossEntropy"](weight=(1.0, 2.0)).accepts_shares


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


def logits_of(*ends):
    """A network of rayrml whose outputs are its inputs (N, 2, 3, 3), or what the layers `ends` make of them."""
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 3, 3, 2]}}
    layers = [first, {"class_name": "Dense", "config": {"units": 2, "use_bias": False, "name": "sums"}}]
    net = build_network([*layers, *({"class_name": "Activation", "config": {"activation": end}} for end in ends)])
    with torch.no_grad():
        net.get_parameter("sums.weight").copy_(torch.eye(2))
    return net


def found(step):
    """The loss and the metric of an evaluation."""
    evaluation = step.result(torch.device("cpu"))
    return evaluation.loss, evaluation.value


def counts(step):
    """The confusion matrix of an evaluation."""
    return step.result(torch.device("cpu")).details.counts.tolist()


def both(net, batch, target, **options):
    """The loss, the length of the gradient, and loss and metric in evaluation."""
    test = EvaluationStep(copy.deepcopy(net), options["loss"], metric_of(options["loss"]), autocast=options["autocast"])
    test(batch, target)
    trained = step_of(net, **options)(batch, target, len(batch))
    loss, metric = found(test)
    return trained.loss.item(), trained.gradient_norm.item(), loss, metric or 0.0


def test_a_wrong_certainty_is_as_wrong_in_16_bits():
    logit = torch.full((1, 2, 3, 3), 8.0)
    loss, slope, test_loss, _ = both(
        logits_of("sigmoid"), logit, torch.zeros_like(logit), loss=LOSSES["BCE"](), autocast=torch.bfloat16
    )
    assert loss == test_loss == pytest.approx(8.0, abs=1e-3)
    assert slope > 1


ENDS = {"log_softmax": "log_softmax", "softmax": "softmax", "sigmoid": "sigmoid", "logits": "linear", None: "linear"}
CHOSEN = [
    (name, {"source": source} if source else {})
    for name, builder in LOSSES.items()
    if builder().targets not in ("boxes", "noise")
    for source in (ENDS if "source" in inspect.signature(builder).parameters else (None,))
    if "PDE" not in name
]


@pytest.mark.parametrize(("name", "options"), CHOSEN)
@pytest.mark.parametrize("scale", [1, 8])
def test_losses_and_metrics_in_16_bits_are_those_in_32(name, options, scale):
    generator = torch.Generator().manual_seed(0)
    batch = (torch.randn(4, 2, 3, 3, generator=generator) * scale).bfloat16().float()
    loss = LOSSES[name](**options)
    labels = torch.randint(0, 2, (4, 3, 3), generator=generator)
    target = labels if loss.targets == "labels" else torch.stack([labels, 1 - labels], 1).float()
    net = logits_of(ENDS[(loss.takes or "").removeprefix("sigmoid_") or None])
    short, full = (
        both(copy.deepcopy(net), batch, target, loss=loss, autocast=dtype) for dtype in (torch.bfloat16, None)
    )
    assert (short[0], *short[2:]) == pytest.approx((full[0], *full[2:]), rel=1e-6)
    assert short[1] == pytest.approx(full[1], rel=0.02)  # backward goes through the 16 bits of the weighted sums


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
        results.append(found(step))
    output = net(images / 255)
    assert results[0][0] == pytest.approx(functional.nll_loss(output, labels).item())
    assert results[0][1] == (output.argmax(1) == labels).double().mean().item()
    assert results[1] == pytest.approx(results[0])
    assert results[2] == pytest.approx(results[0])


def test_accuracy_counts_pixels_where_targets_are_masks():
    output = torch.log(torch.tensor([[[[0.9, 0.2]], [[0.1, 0.8]]]]))  # (1, 2, 1, 2)
    metric = METRICS["accuracy"]()
    assert metric.value(metric.sums(output, torch.tensor([[[0, 0]]]))) == 0.5


def test_the_metric_of_a_loss_ignores_what_the_loss_ignores():
    metric = metric_of(LOSSES["NLL"](ignore_index=7))
    output = torch.log(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]]))
    assert metric.name == "accuracy"
    assert metric.value(metric.sums(output, torch.tensor([0, 1, 7]))) == 0.5


def test_a_loss_without_a_metric_is_evaluated_alone():
    loss = LOSSES["MSE"]()
    step = EvaluationStep(nn.Identity(), loss, metric_of(loss))
    for batch in torch.arange(6.0).view(3, 2).split(2):
        step(batch, torch.zeros_like(batch))
    assert found(step) == (pytest.approx(55 / 6), None)


def test_a_metric_judges_probabilities_whatever_the_network_ends_with():
    labels = torch.tensor([[1, 0, 0]])
    for source, output in (("logits", [0.4, -0.4, 0.6]), ("log_softmax", [-0.6, -0.8, -0.1])):
        loss = LOSSES["Dice"](source=source)
        step = EvaluationStep(nn.Identity(), loss, metric_of(loss))
        step(torch.tensor([[output]]), labels)
        assert found(step)[1] == pytest.approx(2 / 3)


def test_evaluation_leaves_its_confusion_matrix_for_the_report():
    step = EvaluationStep(nn.Identity(), LOSSES["NLL"](), METRICS["f1"]())
    step(torch.eye(2), torch.tensor([0, 0]))
    assert counts(step) == [[1, 1], [0, 0]]


def evaluated(workers):
    """The confusion matrix of 11 samples, split over the workers; the last of three has none."""
    images, labels = samples(11)
    mine = torch.arange(11) % 2 == workers.rank if workers.size > 1 else torch.ones(11, dtype=torch.bool)
    step = EvaluationStep(network().eval(), LOSSES["NLL"](), METRICS["accuracy"](), workers=workers)
    for image, label in zip(images[mine].split(3), labels[mine].split(3), strict=True):
        if len(label):
            step(image, label)
    return counts(step)


def test_the_confusion_matrix_is_that_of_all_samples_for_any_number_of_workers(on_workers):
    images, labels = samples(11)
    predicted = network().eval()(images / 255).argmax(1)
    expected = [[int(((labels == t) & (predicted == p)).sum()) for p in range(4)] for t in range(4)]
    assert evaluated(Workers()) == expected
    for size, found in on_workers(evaluated, 2, 3).items():
        assert found == [expected] * size


def average_precision(workers):
    """The mean average precision of 11 samples, split over the workers; the last of three has none."""
    images, labels = samples(11)
    mine = torch.arange(11) % 2 == workers.rank if workers.size > 1 else torch.ones(11, dtype=torch.bool)
    metric = METRICS["mean_average_precision"]()
    step = EvaluationStep(network().eval(), LOSSES["NLL"](), metric, workers=workers)
    for image, label in zip(images[mine].split(3), labels[mine].split(3), strict=True):
        if len(label):
            step(image, label)
    return found(step)[1]


def test_a_metric_of_ranks_is_that_of_all_samples_for_any_number_of_workers(on_workers):
    images, labels = samples(11)
    scores = network().eval()(images / 255).detach()
    present = sorted(set(labels.tolist()))
    expected = sum(average_precision_score(labels == k, scores[:, k]) for k in present) / len(present)
    assert average_precision(Workers()) == pytest.approx(expected, rel=1e-5)
    for size, found in on_workers(average_precision, 2, 3).items():
        assert found == pytest.approx([expected] * size, rel=1e-5)


def far_from_zero():
    target = 1e6 + torch.randn(11, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return target, (target + 0.3 * target.flip(0) - 0.3e6).float()


def r2(workers):
    """R2 of 11 samples, split over the workers; the last of three has none."""
    target, output = far_from_zero()
    mine = torch.arange(11) % 2 == workers.rank if workers.size > 1 else torch.ones(11, dtype=torch.bool)
    metric = METRICS["r2"]()
    step = EvaluationStep(nn.Identity(), LOSSES["MSE"](), metric, workers=workers)
    for given, wanted in zip(output[mine].split(3), target[mine].split(3), strict=True):
        if len(given):
            step(given, wanted)
    return found(step)[1]


def test_r2_is_that_of_all_samples_for_any_number_of_workers(on_workers):
    expected = pytest.approx(r2_score(*far_from_zero()), rel=1e-9)
    assert r2(Workers()) == expected
    for found in on_workers(r2, 2, 3).values():
        assert all(figure == expected for figure in found)
        assert len(set(found)) == 1


def test_a_metric_of_ranks_begins_anew_in_each_epoch():
    step = EvaluationStep(nn.Identity(), LOSSES["NLL"](), METRICS["auroc"]())
    for order, expected in (([0, 1], 1.0), ([1, 0], 0.0)):
        step.reset()
        step(torch.eye(2), torch.tensor(order))
        assert found(step)[1] == expected


def test_masks_and_shares_of_classes_have_no_confusion_matrix():
    step = EvaluationStep(nn.Identity(), LOSSES["CrossEntropy"](), METRICS["accuracy"]())
    step(torch.eye(2)[:, :, None], torch.tensor([[0], [0]]))
    assert step.result(torch.device("cpu")).details is None


def test_labels_that_do_not_count_are_in_no_confusion_matrix():
    loss = LOSSES["NLL"](ignore_index=7)
    step = EvaluationStep(nn.Identity(), loss, metric_of(loss))
    step(torch.eye(3).log().clamp(min=-9), torch.tensor([0, 7, 1]))
    assert counts(step) == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("target", [torch.ones(3, 1, 5, 4), None], ids=["evaluation", "prediction"])
def test_outputs_of_evaluation_have_the_values_that_the_problem_prescribes(target):
    step = EvaluationStep(nn.Identity(), LOSSES["Poisson2D_PDE"](), None)
    batch = torch.rand(3, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    output = step(batch, target)
    assert (output[:, :, 0] == 1).all()
    assert (output[:, :, -1] == 0).all()
    assert torch.equal(output[:, :, 1:-1], batch[:, :, 1:-1])


def test_a_problem_trains_without_solutions():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(20, 20), nn.Unflatten(1, (1, 5, 4)))
    nu = torch.ones(6, 1, 5, 4)
    loss = LOSSES["Poisson2D_PDE"]()
    step = TrainingStep(net, loss, OPTIMIZERS["Hessian"](net.parameters()))
    for _ in range(3):
        step(nu, nu, 6)
    evaluation = EvaluationStep(net, loss, metric_of(loss))
    falls = torch.linspace(1, 0, 5)[:, None].expand(6, 1, 5, 4)
    assert torch.allclose(evaluation(nu, nu), falls, atol=1e-3)
    assert found(evaluation) == (pytest.approx(1), None)


def test_a_batch_of_ignored_labels_changes_nothing():
    net = network()
    before = copy.deepcopy(net.state_dict())
    images, labels = samples(4)
    loss = LOSSES["NLL"](ignore_index=9)
    trained = step_of(net, loss)(images, torch.full_like(labels, 9), 4)
    evaluation = EvaluationStep(net, loss, metric_of(loss))
    evaluation(images, torch.full_like(labels, 9))
    assert (trained.loss.item(), trained.gradient_norm.item()) == (0, 0)
    assert found(evaluation)[0] == 0
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


# Optimizers that need a closure


class Noisy(nn.Module):
    """A line whose slope is learned, with random noise that is recorded."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0]))
        self.drawn = []

    def forward(self, batch):
        noise = torch.rand(1)
        self.drawn.append(noise.item())
        return batch * self.slope * (1 + noise)


def test_a_step_by_closure_minimizes_the_batch_and_tells_how_it_was_before():
    net = nn.Linear(2, 1)
    batch = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    target = batch @ torch.tensor([[2.0], [-3.0]]) + 1
    before = functional.mse_loss(net(batch), target)
    norm = torch.cat([g.flatten() for g in torch.autograd.grad(before, list(net.parameters()))]).norm()
    step = TrainingStep(net, LOSSES["MSE"](), OPTIMIZERS["Hessian"](net.parameters()))
    trained = step(batch, target, 20)
    assert trained.loss.item() == pytest.approx(before.item())
    assert trained.gradient_norm.item() == pytest.approx(norm.item())
    assert net.weight.tolist() == [pytest.approx([2, -3], abs=1e-3)]
    assert net.bias.tolist() == pytest.approx([1], abs=1e-3)


def test_all_looks_at_a_batch_see_the_same_dropout_and_those_at_the_next_another():
    net = Noisy()
    step = TrainingStep(net, LOSSES["MSE"](), OPTIMIZERS["Hessian"](net.parameters()))
    for _ in range(2):
        step(torch.ones(3, 1), torch.zeros(3, 1), 3)
        net.drawn.append(None)
    cut = net.drawn.index(None)
    first, second = net.drawn[:cut], net.drawn[cut + 1 : -1]
    assert len(first) > 1
    assert len(set(first)) == len(set(second)) == 1
    assert first[0] != second[0]


def test_a_clipped_gradient_is_refused_for_an_optimizer_with_a_closure():
    net = network()
    with pytest.raises(ConfigError, match="gradient_clip"):
        TrainingStep(net, LOSSES["NLL"](), OPTIMIZERS["Hessian"](net.parameters()), gradient_clip=1.0)


# Several workers


def _cases():
    """Loss, optimizer, number of samples, batch size; some workers' parts are empty."""
    weight = (1.0, 2.0, 5.0, 0.5)

    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.1)

    def hessian(parameters):
        return OPTIMIZERS["Hessian"](parameters, max_iterations=3)

    yield LOSSES["NLL"](), sgd, 10, 4
    yield LOSSES["NLL"](), sgd, 2, 64
    yield LOSSES["NLL"](weight=weight), sgd, 10, 4
    yield LOSSES["NLL"](weight=weight, ignore_index=2), sgd, 10, 1  # some batches are ignored as a whole
    yield LOSSES["Focal"](source="log_softmax", ignore_index=1), sgd, 10, 4
    yield LOSSES["Dice"](source="log_softmax"), sgd, 10, 4
    yield LOSSES["NLL"](), hessian, 10, 4
    yield LOSSES["NLL"](weight=weight, ignore_index=2), hessian, 5, 4
    for name, optimizer in OPTIMIZERS.items():
        if name != "Hessian":
            yield LOSSES["NLL"](), functools.partial(optimizer, learning_rate=0.01), 10, 4


def _results(workers):
    return [_result(workers, *case) for case in _cases()]


def _result(workers, loss, optimizer, count, batch_size):
    """Losses of an epoch's batches, weights after it, and the evaluation's result."""
    rank, size = workers.rank, workers.size
    net = network()
    step = TrainingStep(net, loss, optimizer(net.parameters()), workers=workers)
    images, labels = samples(count)
    losses = []
    for start in range(0, count, batch_size):
        batch = slice(start, start + batch_size)
        part, target = images[batch][rank::size], labels[batch][rank::size]
        trained = step(part, target, len(images[batch]))
        whole = len(images[batch]) if loss.weight is None else loss.weight(labels[batch]).item()
        counted = len(images[batch]) if trained.weight is None else trained.weight.item()
        assert counted == pytest.approx(whole)
        losses.append(trained.loss.item())
    evaluation = EvaluationStep(net.eval(), loss, metric_of(loss), workers=workers)
    if len(images[rank::size]):
        evaluation(images[rank::size], labels[rank::size])
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    return losses, weights.tolist(), found(evaluation)


def test_workers_take_the_steps_that_one_process_takes(on_workers):
    expected = _results(Workers())
    for results in on_workers(_results, 2, 3).values():
        for mine in results:
            for (losses, weights, result), alone in zip(mine, expected, strict=True):
                # Second-order steps amplify rounding differences.
                assert losses == pytest.approx(alone[0], rel=1e-4, abs=1e-5)
                assert weights == pytest.approx(alone[1], rel=1e-4, abs=1e-4)
                assert result == pytest.approx(alone[2], rel=1e-4)
            # Exactly: workers that drift apart eventually decide differently, and then wait for each other forever.
            assert mine == results[0]


def test_a_copy_of_a_network_takes_the_same_step():
    net = network()
    other = copy.deepcopy(net)
    step_of(net)(*samples(6), 6)
    step_of(other)(*samples(6), 6)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_tiny_numbers_are_zeros_in_training_and_nowhere_else():
    tiny = torch.full((4,), 1e-37)

    def products() -> list[torch.Tensor]:
        with concurrent.futures.ThreadPoolExecutor() as others:
            return [tiny * 0.01, others.submit(lambda: tiny * 0.01).result()]

    with tiny_as_zero():
        assert all((product == 0).all() for product in products())
    assert all((product > 0).all() for product in products())


@pytest.mark.parametrize("name", ["exact_match", "mean_average_precision"])
def test_several_classes_are_compared_with_the_threshold(name):
    scores = torch.tensor([[0.2, 0.4, 0.9], [0.35, 0.1, 0.25]])
    target = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    figures = {}
    for threshold in (0.3, 0.5):
        step = EvaluationStep(nn.Identity(), LOSSES["BCE"](), METRICS[name](), columns="classes", threshold=threshold)
        step(scores, target)
        evaluation = step.result(torch.device("cpu"))
        figures[threshold] = evaluation.value, evaluation.details.sums.reshape(3, 3)[0].tolist()
    assert figures[0.3][1] == [1, 1, 1]  # found of each class
    assert figures[0.5][1] == [0, 0, 1]
    assert figures[0.3][0] == 1.0
    assert figures[0.5][0] == (0.0 if name == "exact_match" else 1.0)


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """The network, the loss, and a batch of images with boxes."""
    folder = tmp_path_factory.mktemp("boxes")
    write_images(folder)
    plan = prepare(configuration(folder))
    table = plan.training.samples.boxes
    images = torch.rand(len(table), 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return plan, images, boxes_of(table, np.arange(len(table))).boxes


def detection_step(boxed, optimizer="SGD", **options):
    plan, images, boxes = boxed
    network = copy.deepcopy(plan.network).train()
    step = step_of(network, plan.loss.build(), optimizer, global_batch_norm=False, **options)
    return network, step(images, boxes, len(images))


def test_a_loss_of_several_terms_reports_each(boxed):
    plan, images, boxes = boxed
    loss, network = plan.loss.build(), copy.deepcopy(plan.network).train()
    total, terms = loss.parts(loss.of_network(network(images)), boxes)
    trained = detection_step(boxed)[1]
    torch.testing.assert_close(trained.terms, terms.detach())
    torch.testing.assert_close(trained.loss, total.detach())
    torch.testing.assert_close(trained.terms.sum(), trained.loss)
    assert len(terms) == len(loss.term_names) == 4


def test_boxes_are_divided_among_micro_batches(boxed):
    """Without batch normalization, which sees a micro-batch, the parts make up the whole."""
    plan, images, boxes = boxed
    layers = [each for each in grids()["config"]["layers"] if each["name"] != "norm"]
    for each in layers:
        each["inbound_nodes"] = json.loads(json.dumps(each["inbound_nodes"]).replace("norm", "conv"))
    model = grids()
    model["config"]["layers"] = layers
    found = []
    for accumulate in (1, 2, 4):
        torch.manual_seed(0)
        network = build_network(model)
        trained = step_of(network.train(), plan.loss.build(), accumulate=accumulate)(images, boxes, len(images))
        found.append((trained.loss, trained.terms, network.layers()["fine"].weight))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


def test_a_line_search_minimizes_the_loss_of_boxes(boxed):
    plan, images, boxes = boxed
    network, trained = detection_step(boxed, "Hessian")
    loss = plan.loss.build()
    assert loss.function(loss.of_network(network(images)), boxes) < trained.loss
    torch.testing.assert_close(trained.terms.sum(), trained.loss)
