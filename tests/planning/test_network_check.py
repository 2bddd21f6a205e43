"""Networks that do not suit the loss or the samples."""

import pytest

from rayrml.config.tables import choose
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.planning.network_check import warn_of_ending


def network(activation, units=3):
    return build_network(
        [
            {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "name": "input"}},
            {"class_name": "Dense", "config": {"name": "out", "units": units, "activation": activation}},
        ]
    )


def warning(activation, function, **arguments):
    choice = choose(LOSSES, {"function": function, **arguments}, "loss", "function")
    return "; ".join(warn_of_ending(network(activation), choice))


@pytest.mark.parametrize(
    ("activation", "function", "arguments", "cure"),
    [
        ("softmax", "NLL", {}, 'Use the activation "log_softmax"'),
        ("sigmoid", "NLL", {}, 'Use the activation "log_softmax"'),
        (None, "NLL", {"weight": [1, 1, 2]}, 'Use the activation "log_softmax", or the loss CrossEntropy'),
        ("softmax", "CrossEntropy", {}, "Remove the activation"),
        ("sigmoid", "CrossEntropy", {}, "Remove the activation"),
        (None, "BCE", {}, 'Use the activation "sigmoid"'),
        ("log_softmax", "BCE", {}, 'Use the activation "sigmoid"'),
        (None, "Dice", {}, 'Use the activation "softmax", or "source": "logits" in the loss'),
        ("log_softmax", "Dice", {}, '"source": "log_softmax" in the loss'),
        ("softmax", "Dice", {"source": "logits"}, "Remove the activation"),
        (None, "Focal", {"source": "log_softmax"}, 'Use the activation "log_softmax"'),
    ],
)
def test_a_loss_that_takes_something_else_is_told_of_with_the_cure(activation, function, arguments, cure):
    text = warning(activation, function, **arguments)
    assert text.startswith(f"the loss {function} expects ")
    assert "the network's last layer 'out' " in text
    assert cure in text


@pytest.mark.parametrize(
    ("activation", "function", "arguments"),
    [
        ("log_softmax", "NLL", {}),
        (None, "CrossEntropy", {}),
        ("log_softmax", "CrossEntropy", {}),
        ("sigmoid", "BCE", {}),
        ("softmax", "BCE", {}),
        ("softmax", "Dice", {}),
        ("sigmoid", "Dice", {}),
        (None, "Dice", {"source": "logits"}),
        ("relu", "NLL", {}),
        (None, "MSE", {}),
        ("softmax", "MSE", {}),
    ],
)
def test_what_goes_together_or_cannot_be_told_has_no_warning(activation, function, arguments):
    assert warning(activation, function, **arguments) == ""
