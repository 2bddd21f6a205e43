"""Networks that do not suit the loss or the samples."""

import pytest

from rayrml.config.cluster import Ray
from rayrml.config.tables import choose
from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.planning.network_check import warn_of_ending, warn_of_small_parts


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
        ("relu", "NLL", {}, 'Use the activation "log_softmax"'),
        ("tanh", "NLL", {}, 'Use the activation "log_softmax"'),
        ("hard_sigmoid", "NLL", {}, 'Use the activation "log_softmax"'),
        ("relu", "BCE", {}, 'Use the activation "sigmoid"'),
        ("tanh", "BCE", {}, 'Use the activation "sigmoid"'),
        ("softplus", "Dice", {}, 'Use the activation "softmax"'),
        ("relu", "CrossEntropy", {}, "Remove the activation"),
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
        ("exponential", "NLL", {}),
        ("hard_sigmoid", "BCE", {}),
        ("relu", "MSE", {}),
        (None, "MSE", {}),
        ("softmax", "MSE", {}),
    ],
)
def test_what_goes_together_or_cannot_be_told_has_no_warning(activation, function, arguments):
    assert warning(activation, function, **arguments) == ""


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ([("Activation", {"activation": "tanh"})], "'last' ends with tanh"),
        ([("ReLU", {})], "'last' ends with ReLU"),
        ([("LeakyReLU", {})], "'last' ends with LeakyReLU"),
        ([("ReLU", {}), ("Dropout", {"rate": 0.5})], "'last' ends with ReLU"),
        ([("ReLU", {}), ("Reshape", {"target_shape": [3]})], "'last' ends with ReLU"),
        ([("BatchNormalization", {})], ""),
        ([("ReLU", {}), ("LogSoftmax", {})], ""),
    ],
)
def test_an_activation_may_be_a_layer_of_its_own(more, shown):
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "name": "input"}},
        {"class_name": "Dense", "config": {"name": "out", "units": 3}},
    ]
    names = [f"layer_{i}" for i in range(len(more) - 1)] + ["last"]
    layers += [{"class_name": kind, "config": {"name": n, **c}} for n, (kind, c) in zip(names, more, strict=True)]
    text = "; ".join(warn_of_ending(build_network(layers), choose(LOSSES, {"function": "NLL"}, "loss", "function")))
    assert (shown in text) and bool(text) == bool(shown)


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "seen"), [(8, 4, "2 of the 8"), (8, 100, "1 of the 8"), (1, 100, None), (64, 4, None)]
)
def test_batch_normalization_that_sees_fewer_samples_because_of_accumulate_is_told(batch_size, accumulate, seen):
    normalized = build_network(
        [
            {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "name": "input"}},
            {"class_name": "BatchNormalization", "config": {"name": "norm"}},
        ]
    )
    told = "; ".join(warn_of_small_parts(normalized, batch_size, accumulate, Ray()))
    assert (f"sees {seen} samples" in told) if seen else not told
