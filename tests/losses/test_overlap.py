"""Dice, Jaccard and Lovasz against loops over samples, classes and sets of pixels in numpy."""

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.losses import LOSSES

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 4, 5, 2))
LABELS = RNG.integers(0, 3, (3, 5, 2))  # class 3 never occurs


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def dice(p, t, smooth=1e-7):
    return 1 - (2 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth)


def jaccard(p, t, smooth=1e-7):
    common = (p * t).sum()
    return 1 - (common + smooth) / (p.sum() + t.sum() - common + smooth)


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


def mean_over_samples(function, probability, labels, ignore, weight=None):
    """Mean over samples of the (weighted) mean over present classes; with one channel, class 1 always counts."""
    values = []
    for p, label in zip(probability, labels, strict=True):
        keep = label.flatten() != ignore
        wanted = [1] if len(p) == 1 else range(len(p))
        terms, weights = [], []
        for channel, c in enumerate(wanted):
            truth = (label.flatten() == c)[keep].astype(float)
            if len(p) == 1 or truth.any():
                terms.append(function(p[channel].flatten()[keep], truth))
                weights.append(1.0 if weight is None else weight[c])
        values.append(np.average(terms, weights=weights) if terms else 0.0)
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


SMOOTH = pytest.mark.parametrize("name", ["Dice", "Jaccard"])


@SMOOTH
@pytest.mark.parametrize(
    "settings", [{"smooth": 1.0}, {"eps": 0.5, "smooth": 0.5}, {"eps": 1.0}, {"eps": 0, "smooth": 1}]
)
def test_smooth_and_eps_are_added_to_both_sides_of_the_fraction(name, settings):
    probability = softmax(LOGITS)
    expected = mean_over_samples(lambda p, t: REFERENCES[name](p, t, smooth=1.0), probability, LABELS, None)
    value = LOSSES[name](**settings)(torch.tensor(probability), torch.tensor(LABELS)).item()
    assert value == pytest.approx(expected, rel=1e-6)


@SMOOTH
def test_an_empty_mask_in_which_something_is_found_is_wholly_wrong(name):
    output = torch.full((1, 1, 3), 0.17)
    assert LOSSES[name](source="sigmoid")(output, torch.zeros(1, 3, dtype=torch.int64)).item() == pytest.approx(1)


@SMOOTH
def test_without_any_smoothing_0_by_0_is_refused(name):
    with pytest.raises(ConfigError, match="eps and smooth are both 0"):
        LOSSES[name](eps=0)


@SMOOTH
@pytest.mark.parametrize("ignore", [None, 1])
def test_a_weight_for_each_class_weights_the_mean_over_classes(name, ignore):
    probability, weight = softmax(LOGITS), (1.0, 0.25, 4.0, 0.5)
    expected = mean_over_samples(REFERENCES[name], probability, LABELS, ignore, weight)
    loss = LOSSES[name](weight=weight, ignore_index=ignore)
    assert loss(torch.tensor(probability), torch.tensor(LABELS)).item() == pytest.approx(expected, rel=1e-6)


@SMOOTH
@pytest.mark.parametrize("ignore", [None, 255])
def test_weights_of_two_classes_make_one_channel_like_two(name, ignore):
    p, labels = sigmoid(LOGITS[:, :1]), np.minimum(LABELS, 1)
    if ignore:
        labels[:, 0] = ignore
    loss = LOSSES[name](source="sigmoid", weight=(0.5, 2.0), ignore_index=ignore)
    one, two = (loss(torch.tensor(each), torch.tensor(labels)).item() for each in (p, np.concatenate([1 - p, p], 1)))
    assert one == pytest.approx(two, rel=1e-12)
