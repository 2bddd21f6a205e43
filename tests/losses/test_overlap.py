"""Dice, Jaccard and Lovasz against loops over samples, classes and sets of pixels in numpy."""

import numpy as np
import pytest
import torch

from rayrml.losses import LOSSES

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 4, 5, 2))
LABELS = RNG.integers(0, 3, (3, 5, 2))  # class 3 never occurs


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def dice(p, t):
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def jaccard(p, t):
    common = (p * t).sum()
    return 1 - (common + 1) / (p.sum() + t.sum() - common + 1)


def set_function(mistaken, truth):
    """Jaccard loss of mistaking a set of pixels: |M| / |T or M|. Source: arXiv 1705.08790, equation 5."""
    return len(mistaken) / len(truth | mistaken) if mistaken else 0.0


def lovasz(p, t):
    """The extension by definition: the sum of the errors, largest first, times what each adds to the set function."""
    errors, truth = abs(p - t), set(np.flatnonzero(t))
    order = np.argsort(-errors).tolist()
    adds = [set_function(set(order[: i + 1]), truth) - set_function(set(order[:i]), truth) for i in range(len(order))]
    return float(np.dot(errors[order], adds))


REFERENCES = {"Dice": dice, "Jaccard": jaccard, "Lovasz": lovasz}
EVERY_ONE = pytest.mark.parametrize("name", REFERENCES)


def mean_over_samples(function, probability, labels, ignore):
    """Mean over samples of the mean over present classes; with one channel, class 1 always counts."""
    values = []
    for p, label in zip(probability, labels, strict=True):
        keep = label.flatten() != ignore
        wanted = [1] if len(p) == 1 else range(len(p))
        terms = []
        for channel, c in enumerate(wanted):
            truth = (label.flatten() == c)[keep].astype(float)
            if len(p) == 1 or truth.any():
                terms.append(function(p[channel].flatten()[keep], truth))
        values.append(np.mean(terms) if terms else 0.0)
    return np.mean(values)


@EVERY_ONE
@pytest.mark.parametrize("source", ["softmax", "log_softmax", "sigmoid", "logits"])
@pytest.mark.parametrize("ignore", [None, 1])
def test_several_channels_are_averaged_over_the_classes_of_a_sample(name, source, ignore):
    probability = sigmoid(LOGITS) if source == "sigmoid" else softmax(LOGITS)
    output = {"log_softmax": np.log(probability), "logits": LOGITS}.get(source, probability)
    expected = mean_over_samples(REFERENCES[name], probability, LABELS, ignore)
    loss = LOSSES[name](source=source, ignore_index=ignore)
    assert loss(torch.tensor(output), torch.tensor(LABELS)).item() == pytest.approx(expected, rel=1e-10)


@EVERY_ONE
@pytest.mark.parametrize("source", ["softmax", "log_softmax", "sigmoid", "logits"])
@pytest.mark.parametrize("ignore", [None, 255])
def test_one_channel_is_the_probability_of_class_1(name, source, ignore):
    logits, labels = LOGITS[:, :1], np.minimum(LABELS, 1)
    labels[2] = 0  # a sample without class 1
    if ignore:
        labels[:, 0] = ignore
    probability = sigmoid(logits)
    output = {"log_softmax": np.log(probability), "logits": logits}.get(source, probability)
    expected = mean_over_samples(REFERENCES[name], probability, labels, ignore)
    loss = LOSSES[name](source=source, ignore_index=ignore)
    assert loss(torch.tensor(output), torch.tensor(labels)).item() == pytest.approx(expected, rel=1e-10)


def test_lovasz_of_sure_predictions_is_the_jaccard_loss():
    predicted = RNG.integers(0, 2, (1, 1, 40))
    truth = RNG.integers(0, 2, (1, 40))
    union = np.logical_or(predicted[0], truth).sum()
    expected = 1 - np.logical_and(predicted[0], truth).sum() / union
    loss = LOSSES["Lovasz"](source="sigmoid")
    assert loss(torch.tensor(predicted).double(), torch.tensor(truth)).item() == pytest.approx(expected)


@EVERY_ONE
def test_what_is_found_where_nothing_is_gets_a_gradient(name):
    output = torch.full((1, 1, 4), 0.5, requires_grad=True)
    LOSSES[name](source="sigmoid")(output, torch.zeros(1, 4, dtype=torch.int64)).backward()
    assert (output.grad >= 0).all()
    assert output.grad.sum() > 0


@EVERY_ONE
def test_a_sample_without_pixels_to_find_and_none_found_is_perfect(name):
    loss = LOSSES[name](source="sigmoid")
    assert loss(torch.zeros(1, 1, 4), torch.zeros(1, 4, dtype=torch.int64)).item() == 0


@EVERY_ONE
def test_samples_of_one_value_a_class_are_taken_too(name):
    output = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    loss = LOSSES[name]()
    assert loss(output, torch.tensor([0, 1])) < loss(output, torch.tensor([1, 0]))


def test_a_smaller_smooth_lets_small_regions_count_more():
    output, labels = torch.tensor([[[0.5, 0.0, 0.0]]]), torch.tensor([[1, 0, 0]])
    assert LOSSES["Dice"](smooth=1e-6)(output, labels).item() == pytest.approx(1 / 3, rel=1e-4)
    assert LOSSES["Dice"](smooth=1.0)(output, labels).item() == pytest.approx(0.2, rel=1e-4)
