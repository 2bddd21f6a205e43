"""What holds for every loss: a new row is tested the moment it exists."""

import inspect

import pytest
import torch

from rayrml.losses import LOSSES
from rayrml.metrics import METRICS

CLASSES = 3
WEIGHT = (1.0, 0.5, 4.0)
SHAPES = [(5, CLASSES), (4, CLASSES, 2, 3), (3, CLASSES, 2, 2, 2)]


def probabilities(shape, seed=0):
    """Outputs that every loss takes: positive, and of sum 1 over the channels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).softmax(1)


def targets(loss, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if loss.targets == "arrays":
        return torch.rand(shape, generator=generator, dtype=torch.float64)
    return torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)


def variants(builder):
    """The sets of arguments with which a row is tested: none, options that it has, and each source of outputs."""
    known = inspect.signature(builder).parameters
    options = [{"weight": WEIGHT}, {"ignore_index": 1}, {"weight": WEIGHT, "ignore_index": 1}]
    sources = [{"source": source} for source in ("log_softmax", "sigmoid", "logits")]
    return [{}, *(arguments for arguments in options + sources if arguments.keys() <= known.keys())]


CASES = [
    pytest.param(builder(**arguments), arguments.get("source"), id=f"{name}-{'-'.join(map(str, arguments.values()))}")
    for name, builder in LOSSES.items()
    for arguments in variants(builder)
]
EVERY_LOSS = pytest.mark.parametrize(("loss", "source"), CASES)
IGNORING = pytest.mark.parametrize(("loss", "source"), [c for c in CASES if c.values[0].ignore_index is not None])
MEASURED = pytest.mark.parametrize(("loss", "source"), [c for c in CASES if c.values[0].metric is not None])


def output_for(source, probability):
    """Probabilities as the loss wants to have them; only log_softmax is picky about signs."""
    return probability.clamp(min=1e-38).log() if source == "log_softmax" else probability


@EVERY_LOSS
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_is_one_finite_number(loss, source, shape):
    value = loss(output_for(source, probabilities(shape)).float(), targets(loss, shape))
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.isfinite()


@EVERY_LOSS
def test_gradients_are_those_of_finite_differences(loss, source):
    shape = (3, CLASSES, 2, 2)
    target = targets(loss, shape)
    output = output_for(source, probabilities(shape)).requires_grad_()
    assert torch.autograd.gradcheck(lambda o: loss(o, target), (output,))


@EVERY_LOSS
@pytest.mark.parametrize("cuts", [[1, 3], [4], [0, 2, 3]])
def test_parts_of_workers_weighed_by_their_weights_give_the_loss_of_the_whole(loss, source, cuts):
    shape = (6, CLASSES, 2, 2)
    output, target = output_for(source, probabilities(shape)), targets(loss, shape)
    total = weights = 0.0
    for part, labels in zip(output.tensor_split(cuts), target.tensor_split(cuts), strict=True):
        if len(part):
            weight = loss.weight(labels) if loss.weight else len(part)
            total = total + loss(part, labels) * weight
            weights = weights + weight
    assert (total / weights).item() == pytest.approx(loss(output, target).item(), rel=1e-6)


@EVERY_LOSS
@pytest.mark.parametrize("sure_of", [0, 1, 2])
def test_probabilities_of_0_and_1_give_finite_losses_and_gradients(loss, source, sure_of):
    shape = (4, CLASSES, 2, 2)
    output = torch.zeros(shape)
    output[:, sure_of] = 1
    output = output_for(source, output).requires_grad_()
    value = loss(output, targets(loss, shape).float() if loss.targets == "arrays" else targets(loss, shape))
    value.backward()
    assert value.isfinite()
    assert output.grad.isfinite().all()


@EVERY_LOSS
def test_numbers_far_from_0_give_finite_losses_and_gradients(loss, source):
    shape = (4, CLASSES, 2, 2)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e4
    output = (logits if source == "logits" else output_for(source, logits.softmax(1))).requires_grad_()
    target = targets(loss, shape)
    loss(output, target).backward()
    assert output.grad.isfinite().all()


@EVERY_LOSS
def test_the_truth_is_not_worse_than_anything_else(loss, source):
    shape = (4, CLASSES, 2, 2)
    target = targets(loss, shape)
    if loss.targets == "labels":
        truth = torch.nn.functional.one_hot(target, CLASSES).movedim(-1, 1).double()
    else:
        target = truth = target.round()
    right, wrong = (output_for(source, o * 0.98 + 0.01) for o in (truth, truth.roll(1, 1)))
    assert loss(right, target) < loss(wrong, target)


@IGNORING
def test_ignored_labels_count_neither_for_the_loss_nor_for_its_gradient(loss, source):
    shape = (4, CLASSES, 2, 2)
    target = targets(loss, shape)
    output = output_for(source, probabilities(shape)).requires_grad_()
    value = loss(output, target)
    value.backward()
    ignored = (target == loss.ignore_index).unsqueeze(1).expand(shape)
    assert ignored.any()
    assert (output.grad[ignored] == 0).all()
    other = torch.where(ignored, probabilities(shape, seed=9), output.detach())
    assert loss(other, target).item() == pytest.approx(value.item(), rel=1e-12)


@IGNORING
def test_a_batch_of_ignored_labels_alone_gives_no_loss_and_no_gradient(loss, source):
    shape = (4, CLASSES, 2, 2)
    output = output_for(source, probabilities(shape)).requires_grad_()
    value = loss(output, torch.full((4, 2, 2), loss.ignore_index))
    value.backward()
    assert value.item() == 0
    assert (output.grad == 0).all()
    if loss.weight:
        assert loss.weight(torch.full((4, 2, 2), loss.ignore_index)).item() == 0


@MEASURED
def test_a_loss_names_a_metric_of_the_table_that_takes_its_outputs(loss, source):
    shape = (4, CLASSES, 2, 2)
    metric = METRICS[loss.metric](ignore_index=loss.ignore_index)
    output = output_for(source, probabilities(shape))
    scores = output if loss.probabilities is None else loss.probabilities(output)
    assert 0 <= metric.value(metric.sums(scores, targets(loss, shape))) <= 1


@EVERY_LOSS
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_fits_the_shapes_that_it_takes(loss, source, shape):
    assert loss.misfit(shape[1:], targets(loss, shape).shape[1:]) is None
    assert loss.misfit((shape[1], *[None] * len(shape[2:])), targets(loss, shape).shape[1:]) is None
    assert loss.misfit(shape[1:], (7, 7, 7, 7)) is not None


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_one_channel_is_binary_or_refused(name):
    loss = LOSSES[name]()
    output = torch.tensor([0.9, 0.2, 0.6, 0.4]).view(2, 1, 2)
    labels = torch.tensor([[1, 0], [1, 0]])
    if loss.binary:
        assert loss.classes_of(1) == 2
        assert loss.misfit((1, 2), (2,)) is None
        assert loss(output, labels) < loss(output, 1 - labels)
    else:
        assert loss.targets == "arrays" or "one channel" in loss.misfit((1, 2), (2,))
