"""Which changes of a network's layers make another network of the same weights."""

import copy

import pytest

from rayrml.networks.comparison import compare_networks
from rayrml.networks.graph import read_graph

LAYERS = [
    {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 8, 8, 1]}},
    {"class_name": "Conv2D", "config": {"name": "conv", "filters": 4, "kernel_size": 3, "activation": "relu"}},
    {"class_name": "BatchNormalization", "config": {"name": "norm", "epsilon": 1e-3}},
    {"class_name": "Dropout", "config": {"name": "drop", "rate": 0.5}},
    {"class_name": "Flatten", "config": {"name": "flat"}},
    {"class_name": "Dense", "config": {"name": "dense", "units": 2}},
]
WEIGHTED = ["conv", "norm", "dense"]


def compared(change, before=LAYERS):
    layers = copy.deepcopy(before)
    layers = change(layers) or layers
    return compare_networks(read_graph(before), read_graph(layers), WEIGHTED)


def setting(name, /, **settings):
    """A change of a layer's settings; None removes one."""

    def change(layers):
        (config,) = [layer["config"] for layer in layers if layer["config"]["name"] == name]
        config |= settings
        for key in [key for key, value in settings.items() if value is None]:
            del config[key]

    return change


def inserting(position, class_name, **config):
    return lambda layers: layers.insert(position, {"class_name": class_name, "config": config})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (setting("conv", activation="tanh"), "'conv' had activation relu and now has tanh"),
        (setting("conv", activation=None), "'conv' had activation relu and now has linear"),
        (setting("conv", padding="same"), "'conv' had padding valid and now has same"),
        (setting("conv", dilation_rate=2), "'conv' had dilation_rate 1 and now has 2"),
        (setting("norm", epsilon=0.1), "'norm' had epsilon 0.001 and now has 0.1"),
        (setting("dense", activation="softmax"), "'dense' had activation linear and now has softmax"),
        (inserting(2, "Activation", name="act", activation="tanh"), "'act' (Activation) is new"),
        (lambda layers: [layer for layer in layers if layer["class_name"] != "Flatten"], "'flat' (Flatten) is gone"),
    ],
)
def test_what_changes_the_outputs_is_another_network(change, said):
    found = compared(change)
    assert found.outputs == (said,)
    assert found.training == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (setting("drop", rate=0.25), "'drop' had rate 0.5 and now has 0.25"),
        (lambda layers: layers[:3] + layers[4:], "'drop' (Dropout) is gone"),
        (inserting(2, "GaussianNoise", name="noise", stddev=0.1), "'noise' (GaussianNoise) is new"),
        (inserting(1, "RandomFlip", name="flip"), "'flip' (RandomFlip) is new"),
        (setting("conv", trainable=False), "'conv' is now frozen"),
        (setting("norm", momentum=0.5), "'norm' had momentum 0.99 and now has 0.5"),
        (
            setting("dense", kernel_regularizer={"class_name": "L2", "config": {"l2": 0.1}}),
            "'dense' had kernel_regularizer none and now has {'class_name': 'L2', 'config': {'l2': 0.1}}",
        ),
    ],
)
def test_what_only_matters_for_training_is_told(change, said):
    found = compared(change)
    assert found.outputs == ()
    assert found.training == (said,)


@pytest.mark.parametrize(
    "change",
    [
        lambda layers: None,
        setting("dense", activation="linear"),
        setting("dense", activation=None, dtype="float32"),
        setting("conv", strides=[1, 1], kernel_size=[3, 3], kernel_initializer="zeros", data_format="channels_last"),
        setting("flat", name="another_name"),
        setting("drop", trainable=False, seed=3),
        lambda layers: {"class_name": "Sequential", "config": {"name": "model", "layers": layers}},
    ],
)
def test_other_words_for_the_same_are_no_difference(change):
    found = compared(change)
    assert (found.outputs, found.training) == ((), ())


def test_layers_of_the_same_names_may_be_connected_in_another_way():
    def branching(order):
        def node(*names):
            return [[[name, 0, 0, {}] for name in names]]

        return {
            "class_name": "Model",
            "config": {
                "name": "model",
                "layers": [
                    {**LAYERS[0], "name": "x", "inbound_nodes": []},
                    {
                        "class_name": "Dense",
                        "name": "a",
                        "config": {"name": "a", "units": 1},
                        "inbound_nodes": node("x"),
                    },
                    {
                        "class_name": "Dense",
                        "name": "b",
                        "config": {"name": "b", "units": 1},
                        "inbound_nodes": node("x"),
                    },
                    {"class_name": "Subtract", "name": "s", "config": {"name": "s"}, "inbound_nodes": node(*order)},
                ],
                "input_layers": [["x", 0, 0]],
                "output_layers": [["s", 0, 0]],
            },
        }

    one, other = read_graph(branching("ab")), read_graph(branching("ba"))
    assert compare_networks(one, one, "ab").outputs == ()
    assert compare_networks(one, other, "ab").outputs == ("its layers are connected in another way",)


def test_dropout_that_is_always_on_is_part_of_the_outputs():
    def called(training, rate):
        inbound = [[["x", 0, 0, {"training": training}]]]
        layers = [
            {**LAYERS[0], "name": "x", "inbound_nodes": []},
            {"class_name": "Dropout", "name": "d", "config": {"name": "d", "rate": rate}, "inbound_nodes": inbound},
        ]
        ends = {"input_layers": [["x", 0, 0]], "output_layers": [["d", 0, 0]]}
        return read_graph({"class_name": "Model", "config": {"name": "model", "layers": layers, **ends}})

    assert compare_networks(called(True, 0.5), called(True, 0.25), ()).outputs
    assert not compare_networks(called(None, 0.5), called(None, 0.25), ()).outputs
