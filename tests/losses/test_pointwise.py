"""BCE, MSE, MAE and Huber against means in numpy."""

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError
from rayrml.losses import LOSSES

RNG = np.random.default_rng(0)
OUTPUT, TARGET = RNG.uniform(0.01, 0.99, (2, 3, 4, 5)), RNG.uniform(0, 1, (2, 3, 4, 5))


def value(name, output=OUTPUT, target=TARGET, **options):
    return LOSSES[name](**options)(torch.tensor(output), torch.tensor(target)).item()


def test_bce_is_the_mean_of_binary_cross_entropies():
    expected = -(TARGET * np.log(OUTPUT) + (1 - TARGET) * np.log(1 - OUTPUT)).mean()
    assert value("BCE") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("source", ["sigmoid", "logits"])
def test_bce_smooths_targets_towards_a_half(source):
    logits = np.log(OUTPUT / (1 - OUTPUT))
    output = logits if source == "logits" else OUTPUT
    smooth = 0.7 * TARGET + 0.15
    expected = -(smooth * np.log(OUTPUT) + (1 - smooth) * np.log(1 - OUTPUT)).mean()
    assert value("BCE", output, source=source, label_smoothing=0.3) == pytest.approx(expected, rel=1e-10)
    labels = RNG.integers(0, 3, (2, 4, 5))
    each = np.stack([labels == c for c in range(3)], 1).astype(float)
    assert value("BCE", OUTPUT, labels, label_smoothing=0.3) == pytest.approx(
        value("BCE", OUTPUT, 0.7 * each + 0.15), rel=1e-12
    )


def test_mse_is_the_mean_of_squares():
    assert value("MSE") == pytest.approx(((OUTPUT - TARGET) ** 2).mean(), rel=1e-12)


def test_mae_is_the_mean_of_absolute_values():
    assert value("MAE") == pytest.approx(abs(OUTPUT - TARGET).mean(), rel=1e-12)


@pytest.mark.parametrize("delta", [0.1, 1.0])
def test_huber_is_a_parabola_that_goes_on_as_a_line(delta):
    error = abs(OUTPUT - TARGET)
    expected = np.where(error < delta, error**2 / 2, delta * (error - delta / 2)).mean()
    assert value("Huber", delta=delta) == pytest.approx(expected, rel=1e-12)


def test_bce_of_the_opposite_is_100_at_the_most():
    assert value("BCE", np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])) == 100


def test_bce_takes_class_indices_for_one_channel():
    output, labels = OUTPUT[:, :1], RNG.integers(0, 2, (2, 4, 5))
    assert value("BCE", output, labels) == pytest.approx(value("BCE", output, labels[:, None].astype(float)))


def test_bce_takes_class_indices_for_several_channels():
    labels = RNG.integers(0, 3, (2, 4, 5))
    each = np.stack([labels == c for c in range(3)], 1).astype(float)
    assert value("BCE", OUTPUT, labels) == pytest.approx(value("BCE", OUTPUT, each))


def test_bce_says_what_it_needs_when_the_output_is_no_probability():
    with pytest.raises(ConfigError, match=r"needs an output in \[0, 1\]\. Expected a network that ends with a sigmoid"):
        value("BCE", OUTPUT * 3)


@pytest.mark.parametrize("name", ["BCE", "MSE", "MAE", "Huber"])
def test_shapes_that_would_be_broadcast_are_refused(name):
    with pytest.raises(ConfigError, match=r"output \(2, 3, 4, 5\) and a target \(2, 1, 4, 5\)"):
        value(name, OUTPUT, TARGET[:, :1])


def test_a_target_of_another_shape_is_noticed_beforehand():
    expected = "the target has shape (1, 4), but for an output (3, 4) the loss needs (3, 4)"
    assert LOSSES["MSE"]().misfit((3, 4), (1, 4)) == expected
    assert LOSSES["MSE"]().misfit((3,), ()) is not None
    assert LOSSES["BCE"]().misfit((3, 4), (1, 4)) == f"{expected} or (4,)"


@pytest.mark.parametrize("name", ["MSE", "MAE", "Huber"])
def test_a_standardized_loss_is_that_of_standardized_numbers(name):
    target = RNG.normal(size=(5, 2)) * [3, 200] + [10, -5000]
    mean, std = [9.0, -4900.0], [2.5, 180.0]
    output = RNG.normal(size=(5, 2))  # of the network, which learns numbers around 0
    loss = LOSSES[name](standardize={"mean": mean, "std": std})
    found = loss(torch.tensor(output), torch.tensor(target)).item()
    assert found == pytest.approx(value(name, output, (target - mean) / std))
    in_unit = loss.imposed(torch.tensor(output))
    assert in_unit.numpy() == pytest.approx(output * std + mean)
    assert loss.of_imposed(in_unit, torch.tensor(target)).item() == pytest.approx(found)


def test_standardizing_knows_the_number_of_channels():
    loss = LOSSES["MSE"](standardize={"mean": [0.0, 0.0], "std": [1.0, 1.0]})
    assert loss.misfit((3,), (3,)) == "standardize has 2 values, but the network's output has 3 channels"
    assert loss.misfit((2,), (2,)) is None


def test_several_classes_are_predicted_by_their_probabilities():
    output = torch.tensor([[0.3, -0.3]])
    assert LOSSES["BCE"](source="logits").scores(output).numpy() == pytest.approx(output.sigmoid().numpy())
    assert LOSSES["CrossEntropy"]().scores(output) is output
