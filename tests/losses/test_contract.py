"""What holds for every loss: a new row is tested as soon as it exists."""

import dataclasses
import inspect

import pytest
import torch

from rayrml import endings
from rayrml.losses import LOSSES, Loss
from rayrml.metrics import METRICS

CLASSES = 3
WEIGHT = (1.0, 0.5, 4.0)
SHAPES = [(5, CLASSES), (4, CLASSES, 2, 3), (3, CLASSES, 2, 2, 2)]
# Samples for losses that require particular shapes: outputs and targets.
OWN_SHAPES = {
    "Burgers_PDE": [((1, 3, 5), (1, 5)), ((1, 2, 2), (1, 2)), ((1, 2, 4), (1, 1, 4))],
    "Poisson2D_PDE": [((1, 4, 3), (1, 4, 3)), ((1, 2, 2), (1, 2, 2))],
    "Poisson3D_PDE": [((1, 3, 2, 4), (1, 3, 2, 4)), ((1, 2, 2, 2), (1, 2, 2, 2))],
}


def probabilities(shape, seed=0):
    """Outputs that every loss accepts: positive, with sum 1 over the channels."""
    generator = torch.Generator().manual_seed(seed)
    if shape[1] == 1:
        return torch.rand(shape, generator=generator, dtype=torch.float64)
    return torch.randn(shape, generator=generator, dtype=torch.float64).softmax(1)


@dataclasses.dataclass
class Case:
    """A row with some of its arguments; `source` is what its outputs are, None for probabilities, and
    with `smooths` even the truth has a loss.
    """

    name: str
    loss: Loss
    source: str | None
    smooths: bool = False

    @property
    def shapes(self):
        """Shapes of outputs that the loss accepts."""
        own = [(4, *output) for output, _ in OWN_SHAPES.get(self.name, ())]
        return own or SHAPES

    def images(self, count):
        """The shape of the outputs of this many samples."""
        return (count, *OWN_SHAPES[self.name][0][0]) if self.name in OWN_SHAPES else (count, CLASSES, 2, 2)

    def output(self, probability):
        """Probabilities in the form that the loss expects; only log_softmax is picky about signs."""
        return probability.clamp(min=1e-38).log() if self.source == "log_softmax" else probability

    def targets(self, shape, seed=0):
        """Targets for an output of this shape."""
        generator = torch.Generator().manual_seed(seed)
        if self.loss.targets == "arrays":
            sample = dict(OWN_SHAPES.get(self.name, ())).get(shape[1:], shape[1:])
            return torch.rand((shape[0], *sample), generator=generator, dtype=torch.float64)
        return torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)

    def solved(self, shape):
        """Targets and the outputs that are correct for them."""
        target = self.targets(shape)
        if self.name == "Burgers_PDE":
            return torch.zeros_like(target), torch.zeros(shape, dtype=torch.float64)
        if self.name in OWN_SHAPES:
            slope = torch.linspace(1, 0, shape[2], dtype=torch.float64)
            return torch.ones_like(target), slope.view(-1, *[1] * len(shape[3:])).expand(shape)
        if self.loss.targets == "labels":
            return target, torch.nn.functional.one_hot(target, CLASSES).movedim(-1, 1).double()
        return target.round(), target.round()


def variants(builder):
    """The sets of arguments with which a row is tested: none, the options it has, and each source of outputs."""
    known = inspect.signature(builder).parameters
    options = [{"weight": WEIGHT}, {"ignore_index": 1}, {"weight": WEIGHT, "ignore_index": 1}]
    options += [{"diffusion_coeff": 0.5, "boundary_factor": 3.0}]
    options += [{"label_smoothing": 0.2}, {"label_smoothing": 0.2, "weight": WEIGHT, "ignore_index": 1}]
    sources = [{"source": source} for source in ("log_softmax", "sigmoid", "logits")]
    return [{}, *(arguments for arguments in options + sources if arguments.keys() <= known.keys())]


CASES = [
    pytest.param(
        Case(name, builder(**arguments), arguments.get("source"), "label_smoothing" in arguments),
        id=f"{name}-{'-'.join(map(str, arguments.values()))}",
    )
    for name, builder in LOSSES.items()
    # A loss of boxes needs the grids of a network, an adversarial one a critic: see their own tests.
    if builder().targets not in ("boxes", "noise")
    for arguments in variants(builder)
]
EVERY_LOSS = pytest.mark.parametrize("case", CASES)
IGNORING = pytest.mark.parametrize("case", [c for c in CASES if c.values[0].loss.ignore_index is not None])
MEASURED = pytest.mark.parametrize("case", [c for c in CASES if c.values[0].loss.metric is not None])


@EVERY_LOSS
def test_a_loss_is_one_finite_number(case):
    for shape in case.shapes:
        value = case.loss(case.output(probabilities(shape)).float(), case.targets(shape))
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value.isfinite()


@EVERY_LOSS
def test_gradients_are_those_of_finite_differences(case):
    shape = case.images(3)
    target = case.targets(shape)
    output = case.output(probabilities(shape)).requires_grad_()
    assert torch.autograd.gradcheck(lambda o: case.loss(o, target), (output,))


@EVERY_LOSS
@pytest.mark.parametrize("cuts", [[1, 3], [4], [0, 2, 3]])
def test_parts_of_workers_weighed_by_their_weights_give_the_loss_of_the_whole(case, cuts):
    loss, shape = case.loss, case.images(6)
    output, target = case.output(probabilities(shape)), case.targets(shape)
    total = weights = 0.0
    for part, labels in zip(output.tensor_split(cuts), target.tensor_split(cuts), strict=True):
        if len(part):
            weight = loss.weight(labels) if loss.weight else len(part)
            total = total + loss(part, labels) * weight
            weights = weights + weight
    assert (total / weights).item() == pytest.approx(loss(output, target).item(), rel=1e-6)


@EVERY_LOSS
@pytest.mark.parametrize("sure_of", [0, 1, 2])
def test_probabilities_of_0_and_1_give_finite_losses_and_gradients(case, sure_of):
    shape = case.images(4)
    output = torch.zeros(shape)
    output[:, sure_of % shape[1]] = 1
    output = case.output(output).requires_grad_()
    target = case.targets(shape)
    value = case.loss(output, target.float() if case.loss.targets == "arrays" else target)
    value.backward()
    assert value.isfinite()
    assert output.grad.isfinite().all()


@EVERY_LOSS
def test_numbers_far_from_0_give_finite_losses_and_gradients(case):
    shape = case.images(4)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e4
    output = (logits if case.source == "logits" else case.output(logits.softmax(1))).requires_grad_()
    case.loss(output, case.targets(shape)).backward()
    assert output.grad.isfinite().all()


@EVERY_LOSS
def test_the_truth_is_not_worse_than_anything_else(case):
    target, truth = case.solved(case.images(4))
    if case.loss.metric is None and case.source:
        return  # of values: what the output means for classes does not matter
    other = probabilities(truth.shape) if case.name in OWN_SHAPES else truth.roll(1, 1)
    right, wrong = (case.output(o * 0.98 + 0.01) for o in (truth, other))
    assert case.loss(right, target) < case.loss(wrong, target)


@IGNORING
def test_ignored_labels_count_neither_for_the_loss_nor_for_its_gradient(case):
    loss, shape = case.loss, case.images(4)
    target = case.targets(shape)
    output = case.output(probabilities(shape)).requires_grad_()
    value = loss(output, target)
    value.backward()
    ignored = (target == loss.ignore_index).unsqueeze(1).expand(shape)
    assert ignored.any()
    assert (output.grad[ignored] == 0).all()
    other = torch.where(ignored, probabilities(shape, seed=9), output.detach())
    assert loss(other, target).item() == pytest.approx(value.item(), rel=1e-12)


@IGNORING
def test_a_batch_of_ignored_labels_alone_gives_no_loss_and_no_gradient(case):
    loss, shape = case.loss, case.images(4)
    output = case.output(probabilities(shape)).requires_grad_()
    nothing = torch.full_like(case.targets(shape), loss.ignore_index)
    value = loss(output, nothing)
    value.backward()
    assert value.item() == 0
    assert (output.grad == 0).all()
    if loss.weight:
        assert loss.weight(nothing).item() == 0


@MEASURED
def test_a_loss_names_a_metric_of_the_table_that_takes_its_outputs(case):
    loss, shape = case.loss, case.images(4)
    metric = METRICS[loss.metric](ignore_index=loss.ignore_index)
    output = case.output(probabilities(shape))
    scores = loss.scores(output)
    assert 0 <= metric.value(metric.sums(scores, case.targets(shape))) <= 1


@EVERY_LOSS
def test_a_loss_takes_what_its_row_says(case):
    loss = case.loss
    assert case.source in (None, (loss.takes or "").removeprefix("sigmoid_"))
    if loss.metric is None:
        assert loss.takes is None or case.source, "a loss of values knows classes only if it is told"
        return
    target, truth = case.solved(case.images(4))
    certain = {"logits": (truth - 0.5) * 1e3, "log_softmax": truth.clamp(min=1e-38).log()}.get(
        loss.takes.removeprefix("sigmoid_"), truth
    )
    assert torch.allclose(endings.probabilities(certain, loss.takes), truth)
    assert case.smooths or loss(certain, target).item() == pytest.approx(0, abs=1e-12)


@EVERY_LOSS
def test_a_loss_fits_the_shapes_that_it_takes(case):
    for shape in case.shapes:
        target = case.targets(shape).shape[1:]
        assert case.loss.misfit(shape[1:]) is None
        assert case.loss.misfit(shape[1:], target) is None
        assert case.loss.misfit((shape[1], *[None] * len(shape[2:])), target) is None
        assert case.loss.misfit(shape[1:], (7, 7, 7, 7)) is not None


@EVERY_LOSS
def test_what_a_problem_prescribes_is_the_same_when_it_is_imposed_again(case):
    output = case.output(probabilities(case.images(4)))
    before, imposed = output.clone(), case.loss.imposed(output)
    assert torch.equal(output, before)
    assert torch.equal(case.loss.imposed(imposed), imposed)
    target = case.targets(output.shape)
    assert case.loss(imposed, target) == case.loss(output, target)


@pytest.mark.parametrize("name", [name for name, row in LOSSES.items() if row().targets not in ("boxes", "noise")])
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
