"""NLL, CrossEntropy and Focal against sums over samples and pixels in numpy."""

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
