"""NLL, CrossEntropy and Focal against sums over samples and pixels in numpy."""

import functools

import numpy as np
import pytest
import torch

from rayrml.config.tables import choose
from rayrml.errors import ConfigError
from rayrml.losses import LOSSES

WEIGHT = (1.0, 0.5, 4.0)
RNG = np.random.default_rng(0)


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def mean_over_labels(target, term, weight, ignore):
    """Weighted mean of `term(index)` over all labels, whose indices are (n, *pixel)."""
    total = count = 0.0
    for index in np.ndindex(target.shape):
        if target[index] != ignore:
            factor = 1.0 if weight is None else weight[target[index]]
            total += factor * term(index)
            count += factor
    return total / count


def at(array, index, channel):
    return array[(index[0], channel, *index[1:])]


def focus(probability, gamma):
    return -((1 - probability) ** gamma) * np.log(probability)


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignore", [None, 0, 255])
def test_nll_and_cross_entropy_are_weighted_means_of_log_likelihoods(shape, weight, ignore):
    logits = RNG.normal(size=shape)
    target = RNG.integers(0, 3, (shape[0], *shape[2:]))
    if ignore == 255:
        target.flat[::3] = 255
    logs = np.log(softmax(logits))
    expected = mean_over_labels(target, lambda i: -at(logs, i, target[i]), weight, ignore)
    options = {"weight": weight, "ignore_index": ignore}
    labels = torch.tensor(target)
    assert LOSSES["NLL"](**options)(torch.tensor(logs), labels).item() == pytest.approx(expected, rel=1e-12)
    assert LOSSES["CrossEntropy"](**options)(torch.tensor(logits), labels).item() == pytest.approx(expected, rel=1e-12)


def outputs(source, logits):
    by_source = {
        "softmax": softmax,
        "log_softmax": lambda x: np.log(softmax(x)),
        "sigmoid": sigmoid,
        "logits": lambda x: x,
    }
    return torch.tensor(by_source[source](logits))


@pytest.mark.parametrize("source", ["softmax", "log_softmax", "logits"])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignore", [None, 0, 255])
def test_focal_is_the_papers_formula_for_the_true_class(source, gamma, weight, ignore):
    logits, target = RNG.normal(size=(2, 3, 4)), RNG.integers(0, 3, (2, 4))
    if ignore == 255:
        target.flat[::3] = 255
    p = softmax(logits)
    expected = mean_over_labels(target, lambda i: focus(at(p, i, target[i]), gamma), weight, ignore)
    loss = LOSSES["Focal"](source=source, gamma=gamma, weight=weight, ignore_index=ignore)
    assert loss(outputs(source, logits), torch.tensor(target)).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignore", [None, 2])
def test_focal_of_sigmoids_adds_up_a_question_for_each_channel(weight, ignore):
    logits, target = RNG.normal(size=(2, 3, 4)), RNG.integers(0, 3, (2, 4))
    p = sigmoid(logits)

    def term(i):
        return sum(focus(at(p, i, c) if c == target[i] else 1 - at(p, i, c), 2.0) for c in range(3))

    loss = LOSSES["Focal"](source="sigmoid", weight=weight, ignore_index=ignore)
    expected = mean_over_labels(target, term, weight, ignore)
    assert loss(outputs("sigmoid", logits), torch.tensor(target)).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("source", ["sigmoid", "logits", "softmax"])
@pytest.mark.parametrize("weight", [None, (0.25, 0.75)])
def test_focal_of_one_channel_asks_for_class_1(source, weight):
    logits, target = RNG.normal(size=(2, 1, 4)), RNG.integers(0, 2, (2, 4))
    p = sigmoid(logits)
    expected = mean_over_labels(
        target, lambda i: focus(at(p, i, 0) if target[i] else 1 - at(p, i, 0), 2.0), weight, None
    )
    output = outputs("logits" if source == "logits" else "sigmoid", logits)
    loss = LOSSES["Focal"](source=source, weight=weight)
    assert loss(output, torch.tensor(target)).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("source", ["softmax", "log_softmax", "logits"])
@pytest.mark.parametrize("name", ["NLL", "CrossEntropy", "Focal"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("ignore", [None, 0, 255])
def test_label_smoothing_is_that_of_pytorch_for_any_ending(name, source, weight, ignore):
    logits, target = torch.tensor(RNG.normal(size=(4, 3, 5))), torch.tensor(RNG.integers(0, 3, (4, 5)))
    if ignore == 255:
        target[:, ::2] = 255
    own = {"gamma": 0.0} if name == "Focal" else {}
    loss = LOSSES[name](source=source, weight=weight, ignore_index=ignore, label_smoothing=0.3, **own)
    weights = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    skipped = -1 if ignore is None else ignore
    reference = functools.partial(
        torch.nn.functional.cross_entropy, logits, target, ignore_index=skipped, label_smoothing=0.3
    )
    if name == "Focal" and weight is not None:
        # As the paper's alpha, a weight belongs to the true class, also for the shares of the others.
        factors = weights[target.clamp(max=2)] * (target != skipped)
        expected = (reference(reduction="none") * factors).sum() / factors.sum()
    else:
        expected = reference(weight=weights)
    assert loss(outputs(source, logits.numpy()), target).item() == pytest.approx(expected.item(), rel=1e-10)


def test_label_smoothing_moves_the_best_output_away_from_certainty():
    target = torch.tensor([1])
    for name in ("NLL", "Focal"):
        loss = LOSSES[name](source="softmax", label_smoothing=0.1)
        sure, smooth = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.05, 0.95]])
        assert loss(smooth, target) < loss(sure, target)


@pytest.mark.parametrize("smoothing", [-0.1, 1, 1.5])
def test_label_smoothing_leaves_something_of_the_labels(smoothing):
    with pytest.raises(ConfigError, match=r"loss\.label_smoothing: must be (greater|less) than"):
        choose(LOSSES, {"function": "NLL", "label_smoothing": smoothing}, "loss", "function")


@pytest.mark.parametrize("name", ["NLL", "CrossEntropy", "Focal", "Dice", "Jaccard"])
def test_balanced_weights_wait_for_their_numbers(name):
    loss = choose(LOSSES, {"function": name, "weight": "balanced"}, "loss", "function").build()
    assert loss.num_classes is None
    assert not loss.accepts_shares
    with pytest.raises(ConfigError, match=r"'balanced' stands for numbers that follow from training samples"):
        loss(torch.tensor([[0.4, 0.6]]), torch.tensor([1]))


@pytest.mark.parametrize(
    ("weight", "complaint"),
    [
        ("equal", 'weight: unknown weights "equal". Expected a list with a number for each class, or "balanced"'),
        ([1, -1], "weight.1: must be greater than or equal to 0, got -1"),
        ([1, "a"], 'weight.1: must be a valid number, got "a"'),
    ],
)
def test_invalid_class_weights_are_one_mistake(weight, complaint):
    with pytest.raises(ConfigError) as raised:
        choose(LOSSES, {"function": "NLL", "weight": weight}, "loss", "function")
    assert [str(problem) for problem in raised.value.problems] == [f"loss.{complaint}"]


def test_focal_smooths_each_channel_of_a_sigmoid():
    logits, target = RNG.normal(size=(2, 3, 4)), RNG.integers(0, 3, (2, 4))
    p = sigmoid(logits)

    def term(i):
        of_truth = (at(p, i, c) if c == target[i] else 1 - at(p, i, c) for c in range(3))
        return sum(0.9 * focus(truth, 2.0) + 0.1 * focus(1 - truth, 2.0) for truth in of_truth)

    loss = LOSSES["Focal"](source="sigmoid", label_smoothing=0.2)
    expected = mean_over_labels(target, term, None, None)
    assert loss(outputs("sigmoid", logits), torch.tensor(target)).item() == pytest.approx(expected, rel=1e-10)


def test_focal_of_gamma_0_is_cross_entropy():
    logits, target = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 2])
    focal = LOSSES["Focal"](source="logits", gamma=0.0, weight=WEIGHT)(logits, target)
    assert focal.item() == pytest.approx(LOSSES["CrossEntropy"](weight=WEIGHT)(logits, target).item(), rel=1e-6)


def test_logits_keep_their_gradient_where_probabilities_round_to_0():
    for channels in (1, 2):
        logits = torch.zeros(1, channels)
        logits[0, -1] = -200
        logits.requires_grad_()
        loss = LOSSES["Focal"](source="logits")(logits, torch.tensor([1]))
        loss.backward()
        assert loss.item() == pytest.approx(200)
        assert logits.grad[0, -1].item() == pytest.approx(-1)


def test_focal_is_flat_where_the_truth_is_sure_whatever_gamma():
    output = torch.tensor([[1.0, 0.0]], requires_grad=True)
    LOSSES["Focal"](gamma=0.5)(output, torch.tensor([0])).backward()
    assert output.grad.abs().max() < 1e-3


def test_weights_of_another_number_of_classes_are_noticed():
    loss = LOSSES["NLL"](weight=(1.0, 2.0))
    assert loss.misfit((3,)) == "weight has 2 values, but the network's output has 3 channels"
    assert loss.misfit((2,)) is None
    assert LOSSES["Focal"](weight=(1.0, 2.0)).misfit((1, 4, 4)) is None


@pytest.mark.parametrize("name", ["NLL", "CrossEntropy", "Focal"])
@pytest.mark.parametrize(
    ("options", "where"), [({"weight": [1, -1]}, "weight"), ({"weight": []}, "weight"), ({"gamma": -1}, "gamma")]
)
def test_options_out_of_range_are_mistakes(name, options, where):
    with pytest.raises(ConfigError) as caught:
        choose(LOSSES, {"function": name, **options}, "loss", "function")
    assert caught.value.problems[0].where.startswith(f"loss.{where}")
