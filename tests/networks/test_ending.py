import pytest
import torch

from rayrml.endings import probabilities
from rayrml.networks.ending import find_activations_at_end, find_ending
from rayrml.networks.graph import read_graph
from rayrml.networks.layers import TABLE
from rayrml.networks.layers.activations import ENDINGS, FUNCTIONS
from rayrml.networks.network import build_network

LOGITS = torch.tensor([[0.5, -1.0, 3.0, 0.0], [1.0, 1.0, -4.0, 2.0]])


def sequence(*layers):
    """A network of the layers, in sequence, on inputs with four channels."""
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "name": "input"}}
    return [
        first,
        *({"class_name": kind, "config": {"name": f"l{i}", **more}} for i, (kind, more) in enumerate(layers)),
    ]


def dense(activation):
    return "Dense", {"units": 4, "activation": activation}


def functional(outputs, *layers):
    """A model in which each of the named layers is called on the input."""
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4]}, "name": "x", "inbound_nodes": []}
    called = [{"class_name": kind, "name": name, "config": more} for name, kind, more in layers]
    entries = [first, *({**entry, "inbound_nodes": [[["x", 0, 0, {}]]]} for entry in called)]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [[name, 0, 0] for name in outputs]}
    return {"class_name": "Functional", "config": {"name": "f", "layers": entries, **ends}}


@pytest.mark.parametrize(
    ("layers", "ending"),
    [
        ([dense("softmax")], "softmax"),
        ([dense("log_softmax_v2")], "log_softmax"),
        ([dense("sigmoid")], "sigmoid"),
        ([dense({"class_name": "Softmax", "config": {"axis": -1}})], "softmax"),
        ([dense({"class_name": "function", "config": "softmax"})], "softmax"),
        ([dense("relu")], None),
        ([dense("linear")], "linear"),
        ([dense(None)], "linear"),
        ([dense(None), ("Dropout", {"rate": 0.5})], "linear"),
        ([dense("relu"), ("BatchNormalization", {})], None),
        ([("Softmax", {})], "softmax"),
        ([("log_softmax", {})], "log_softmax"),
        ([("Activation", {"activation": "sigmoid"})], "sigmoid"),
        ([("Softmax", {}), ("Activation", {"activation": "linear"})], "softmax"),
        ([("Softmax", {}), ("Activation", {"activation": "relu"})], None),
        ([("Softmax", {}), dense("linear")], "linear"),
        ([("Softmax", {}), ("Dropout", {"rate": 0.5}), ("Reshape", {"target_shape": [4]}), ("Flatten", {})], "softmax"),
        ([("Dropout", {"rate": 0.5})], None),
    ],
)
def test_the_last_layer_that_changes_numbers_decides(layers, ending):
    assert find_ending(read_graph(sequence(*layers))) == ending


@pytest.mark.parametrize("function", ["math.sigmoid", "nn.sigmoid"])
def test_operations_end_a_network_as_layers_do(function):
    operation = {
        "class_name": "TFOpLambda",
        "name": "end",
        "config": {"name": "end", "function": function},
        "inbound_nodes": [["x", 0, 0, {}]],
    }
    model = functional(["end"])
    model["config"]["layers"].append(operation)
    assert find_ending(read_graph(model)) == "sigmoid"


def test_the_first_output_decides_and_not_the_last_layer():
    model = functional(["a", "b"], ("a", "Softmax", {}), ("b", *dense("sigmoid")))
    assert find_ending(read_graph(model)) == "softmax"


@pytest.mark.parametrize("function", ENDINGS)
def test_a_function_makes_the_probabilities_that_its_ending_says(function):
    found = probabilities(function(LOGITS), ENDINGS[function])
    assert torch.allclose(found, LOGITS.sigmoid() if ENDINGS[function] == "sigmoid" else LOGITS.softmax(1))
    assert function in FUNCTIONS.values()


ENDS = [name for name, row in TABLE.items() if getattr(row, "ending", None)]
KEEPS = [name for name, row in TABLE.items() if getattr(row, "keeps_numbers", False)]
OPTIONS = {
    "Dropout": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 1.0},
    "StochasticDepth": {"drop_path_rate": 0.5},
    "Reshape": {"target_shape": [2, 2]},
    "Permute": {"dims": [1]},
    "Activation": {"activation": "linear"},
}


@pytest.mark.parametrize("name", ENDS)
def test_a_layer_makes_the_probabilities_that_its_ending_says(name):
    ending = TABLE[name].ending
    output = build_network(sequence((name, {}))).eval()(LOGITS)
    expected = LOGITS.sigmoid() if ending == "sigmoid" else LOGITS.softmax(1)
    assert torch.allclose(probabilities(output, ending), expected)


@pytest.mark.parametrize("name", KEEPS)
def test_a_layer_that_keeps_numbers_changes_none_in_inference(name):
    output = build_network(sequence((name, OPTIONS.get(name, {})))).eval()(LOGITS)
    assert sorted(output.flatten().tolist()) == sorted(LOGITS.flatten().tolist())


@pytest.mark.parametrize("name", TABLE)
def test_every_row_of_the_layers_says_what_it_ends_with(name):
    kind = getattr(TABLE[name], "func", TABLE[name])
    assert kind.ending in (None, *ENDINGS.values())
    assert not (kind.ending and kind.keeps_numbers)


def nested(*ends):
    """A model that calls a model of these layers on the output of a Dense layer."""
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": sequence(*ends)}}
    return [*sequence(dense(None)), inner]


EXACT = torch.tensor([[8.0, -20.0, 0.25, 5.0]])  # exact in 16 bits


@pytest.mark.parametrize(
    ("layers", "function"),
    [
        (sequence(dense("sigmoid")), torch.sigmoid),
        (sequence(dense({"class_name": "Softmax", "config": {}})), lambda x: x.softmax(1)),
        (sequence(dense("log_softmax")), lambda x: x.log_softmax(1)),
        (sequence(dense(None), ("Softmax", {}), ("Dropout", {"rate": 0.5})), lambda x: x.softmax(1)),
        (sequence(dense(None), ("Reshape", {"target_shape": [4]}), ("Tanh", {})), torch.tanh),
        (sequence(dense(None), ("BatchNormalization", {"epsilon": 0.0}), ("Sigmoid", {})), torch.sigmoid),
        (nested(("Sigmoid", {})), torch.sigmoid),
        (nested(dense("softmax")), lambda x: x.softmax(1)),
    ],
)
def test_autocast_leaves_what_follows_the_last_weighted_sum_in_float32(layers, function):
    network = build_network(layers).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.eye(4))
    with torch.autocast("cpu", torch.bfloat16):
        output = network(EXACT)
    assert output.dtype == torch.float32
    assert torch.equal(output, function(EXACT))


def test_autocast_shortens_everything_before_the_last_weighted_sum():
    network = build_network(sequence(dense("sigmoid"), ("Tanh", {}), dense(None)))
    seen = []
    for layer in network.layers().values():
        layer.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(EXACT)
    assert seen == [torch.bfloat16, torch.bfloat16, torch.float32]


def test_the_activations_on_the_way_to_any_output_are_found():
    """Through layers that only move numbers, and through both sides of a concatenation."""

    def find(model):
        return [(layer.name, name) for layer, name in find_activations_at_end(read_graph(model))]

    linear = functional(["a", "b"], ("a", "Dense", {"units": 4}), ("b", "BatchNormalization", {}))
    assert find(linear) == []
    both = functional(["a", "b"], ("a", "Dense", {"units": 4, "activation": "tanh"}), ("b", "Softmax", {}))
    assert find(both) == [("a", "tanh"), ("b", "Softmax")]
    joined = functional(
        ["c"],
        ("a", "Dense", {"units": 4, "activation": "relu"}),
        ("b", "Dense", {"units": 4}),
    )
    merged = {
        "class_name": "Concatenate",
        "name": "c",
        "config": {"name": "c"},
        "inbound_nodes": [[["a", 0, 0, {}], ["b", 0, 0, {}]]],
    }
    joined["config"]["layers"].append(merged)
    assert find(joined) == [("a", "relu")]
    assert find(sequence(dense("relu"), dense(None), ("Reshape", {"target_shape": [2, 2]}))) == []
    assert find(sequence(dense("sigmoid"), ("Flatten", {}), ("Activation", {"activation": "linear"}))) == [
        ("l0", "sigmoid")
    ]
