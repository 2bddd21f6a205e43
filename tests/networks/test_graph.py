from __future__ import annotations

import pytest

from rayrml.errors import ConfigError
from rayrml.networks.graph import Graph, read_graph


def _input(name, shape=(4,)):
    return {"class_name": "InputLayer", "name": name, "config": {"name": name, "batch_input_shape": [None, *shape]}}


def _layer(name, *calls, class_name="Dense", **config):
    """A layer in the form of Keras 2; each call is a list of (layer, call, tensor)."""
    nodes = [[[*reference, {}] for reference in call] for call in calls]
    return {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def _model(layers, inputs, outputs, name="model", class_name="Functional"):
    ends = {"input_layers": [[n, 0, 0] for n in inputs], "output_layers": outputs}
    return {"class_name": class_name, "name": name, "config": {"name": name, "layers": layers, **ends}}


def _calls(graph: Graph) -> list[tuple[str, list[str]]]:
    """Each call as the name of its layer and the names of the layers that feed it."""
    names = [graph.layers[node.layer].name for node in graph.nodes]
    return [(name, [names[i] for i in node.inputs]) for name, node in zip(names, graph.nodes, strict=True)]


DENSE = [{"class_name": "Dense", "config": {"name": name, "units": 2}} for name in ("a", "b")]


@pytest.mark.parametrize(
    "layers",
    [
        DENSE,
        {"class_name": "Sequential", "config": DENSE},  # Keras 2.1
        {"class_name": "Sequential", "config": {"name": "s", "layers": DENSE}},
        {"config": {"layers": DENSE}},
        {"layers": DENSE},
    ],
)
def test_a_list_of_layers_is_a_chain_in_every_form(layers):
    graph = read_graph(layers)
    assert _calls(graph) == [("a_input", []), ("a", ["a_input"]), ("b", ["a"])]
    assert graph.inputs == (0,) and graph.outputs == (2,)
    assert graph.layers[0].declared_shape is None


def test_the_first_layer_declares_the_shape_of_the_input():
    for key, value in (("batch_input_shape", [None, 4]), ("input_shape", [4]), ("input_dim", 4)):
        layer = {"class_name": "Dense", "config": {"units": 2, key: value}}
        assert read_graph([layer]).layers[0].declared_shape == [None, 4]


def test_layers_without_inbound_nodes_take_the_layer_before_and_unused_tensors_are_outputs():
    layers = [_input("in"), *DENSE, _layer("c", [("in", 0, 0)]), _layer("d", class_name="Flatten")]
    graph = read_graph(layers)
    assert _calls(graph)[1:] == [("a", ["in"]), ("b", ["a"]), ("c", ["in"]), ("d", ["c"])]
    assert [graph.layers[graph.nodes[i].layer].name for i in graph.outputs] == ["b", "d"]


@pytest.mark.parametrize(
    "nodes",
    [
        [[["x", 0, 0, {}], ["y", 0, 0, {}]]],
        [[["x", 0, 0], ["y", 0, 0]]],
        ["x", "y"],
        [{"args": [[{"class_name": "__keras_tensor__", "config": {"keras_history": [n, 0, 0]}} for n in "xy"]]}],
    ],
)
def test_inbound_nodes_are_read_in_every_form(nodes):
    graph = read_graph(
        [_input("x"), _input("y"), {"class_name": "Add", "config": {"name": "add"}, "inbound_nodes": nodes}]
    )
    assert _calls(graph)[-1] == ("add", ["x", "y"])


def test_inputs_and_outputs_come_in_the_order_of_the_model_not_of_its_layers():
    layers = [_input("x"), _input("y"), _layer("a", [("x", 0, 0)]), _layer("b", [("y", 0, 0)])]
    graph = read_graph(_model(layers, ["y", "x"], [["b", 0, 0], ["a", 0, 0]]))
    names = [graph.layers[node.layer].name for node in graph.nodes]
    assert [names[i] for i in graph.inputs] == ["y", "x"] and [names[i] for i in graph.outputs] == ["b", "a"]


@pytest.mark.parametrize("ends", [["a", 0, 0], [["a", 0, 0]], {"out": ["a", 0, 0]}])
def test_outputs_are_read_in_every_form(ends):
    graph = read_graph(_model([_input("x"), _layer("a", [("x", 0, 0)])], ["x"], ends))
    assert graph.outputs == (1,)


def test_a_shared_layer_has_one_layer_and_a_node_for_each_call():
    layers = [_input("x"), _layer("a", [("x", 0, 0)], [("a", 0, 0)], [("a", 1, 0)])]
    graph = read_graph(_model(layers, ["x"], [["a", 2, 0]]))
    assert len(graph.layers) == 2 and _calls(graph)[1:] == [("a", ["x"]), ("a", ["a"]), ("a", ["a"])]
    assert [node.inputs for node in graph.nodes] == [(), (0,), (1,), (2,)] and graph.outputs == (3,)


def test_calls_run_after_what_they_take_whatever_the_order_of_the_layers():
    layers = [_layer("b", [("a", 0, 0)]), _layer("a", [("x", 0, 0)]), _input("x")]
    assert _calls(read_graph(_model(layers, ["x"], [["b", 0, 0]]))) == [("x", []), ("a", ["x"]), ("b", ["a"])]


def test_layers_that_no_output_needs_are_left_out():
    layers = [_input("x"), _layer("a", [("x", 0, 0)]), _layer("dead", [("x", 0, 0)])]
    assert [layer.name for layer in read_graph(_model(layers, ["x"], [["a", 0, 0]])).layers] == ["x", "a"]


def _tower(first_call, **call):
    tower = _model(
        [_input("i"), _layer("d", [("i", 0, 0)]), _layer("e", [("i", 0, 0)])], ["i"], [["e", 0, 0], ["d", 0, 0]]
    )
    tower |= {"name": "tower", "inbound_nodes": [[["x", 0, 0, call]], [["y", 0, 0, call]]]}
    merged = _layer("cat", [("tower", first_call, 0), ("tower", first_call + 1, 1)], class_name="Concatenate")
    return _model([_input("x"), _input("y"), tower, merged], ["x", "y"], [["cat", 0, 0]])


@pytest.mark.parametrize("first_call", [0, 1])
def test_a_nested_model_called_twice_shares_its_layers_and_calls_may_count_from_1(first_call):
    graph = read_graph(_tower(first_call))
    assert _calls(graph) == [("x", []), ("y", []), ("e", ["x"]), ("d", ["y"]), ("cat", ["e", "d"])]
    assert [layer.keras_path for layer in graph.layers[2:]] == [("tower", "d"), ("tower", "e"), ("cat",)]


def test_a_mode_that_a_call_of_a_model_asks_for_is_that_of_its_layers():
    graph = read_graph(_tower(1, training=False))
    assert [node.training for node in graph.nodes] == [None, None, False, False, None]


def test_layers_of_the_same_name_in_different_models_get_names_of_their_own():
    def inner(name, source):
        model = _model([_input("i"), _layer("d", [("i", 0, 0)])], ["i"], [["d", 0, 0]], name)
        return model | {"inbound_nodes": [[[*source, {}]]]}

    layers = [_input("x"), inner("m", ("x", 0, 0)), inner("n", ("m", 1, 0))]
    assert _calls(read_graph(_model(layers, ["x"], [["n", 1, 0]])))[1:] == [("m/d", ["x"]), ("n/d", ["m/d"])]


def test_a_frozen_model_freezes_its_layers():
    layers = _tower(1)
    layers["config"]["layers"][2]["config"]["trainable"] = False
    assert [layer.trainable for layer in read_graph(layers).layers] == [True, True, False, False, True]


def test_operations_of_tensorflow_keep_the_constants_of_their_call():
    layers = [
        _input("x"),
        {
            "class_name": "TFOpLambda",
            "name": "op",
            "config": {"name": "op", "function": "math.subtract"},
            "inbound_nodes": [["_CONSTANT_VALUE", -1, 3.0, {"y": ["x", 0, 0], "name": None}]],
        },
    ]
    layer = read_graph(layers).layers[1]
    assert layer.class_name == "tf.math.subtract" and layer.config["operands"] == [3.0, None]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers: no layers found"),
        ({"class_name": "Functional", "config": {}}, "layers: no layers found"),
        ([_input("x", (0, 4))], "layers[0]: InputLayer 'x': expected a shape such as [null, 28, 28, 1]"),
        (_model([_input("x")], ["x"], [["x", "0", 0]]), "layers: expected [layer, call, tensor], got ['x', '0', 0]"),
        (["Dense"], "layers[0]: expected a layer: an object with 'class_name' and 'config'"),
        ([DENSE[0], DENSE[0]], "layers[1]: the name 'a' is already used by layers[0]"),
        ([_input("x"), _layer("a", [("z", 0, 0)])], "layers[1].inbound_nodes: Dense 'a': no layer is named 'z'"),
        ([_input("in"), _layer("a", [("inn", 0, 0)])], "Did you mean 'in'?"),
        ([_input("x"), _layer("a", [("x", 3, 0)])], "InputLayer 'x' has no call number 3, but another layer uses it"),
        (
            [_input("x"), _layer("a", [("x", 0, 1)])],
            "InputLayer 'x' has no output number 1, but another layer uses it",
        ),
        ([_input("x"), {**DENSE[0], "inbound_nodes": [[["x"]]]}], "expected [layer, call, tensor], got ['x']"),
        ([_input("x"), {**DENSE[0], "inbound_nodes": [[["x", 0, 0, {"scale": 2}]]]}], "unsupported arguments"),
        (
            _model([_input("x")], ["x"], [["y", 0, 0]]),
            "no layer is named 'y', but it is an input or output of the model",
        ),
        (
            [
                _input("x"),
                _layer("a", [("x", 0, 0), ("c", 0, 0)]),
                _layer("b", [("a", 0, 0)]),
                _layer("c", [("b", 0, 0)]),
            ],
            "layers[1]: the layers form a cycle: a <- c <- b <- a. A network must be acyclic",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(layers, message):
    with pytest.raises(ConfigError) as caught:
        read_graph(layers)
    assert message in str(caught.value)


def test_a_chain_of_thousands_of_layers_is_read():
    layers = [{"class_name": "ReLU", "config": {"name": f"r{i}"}} for i in range(3000)]
    assert len(read_graph(layers).nodes) == 3001
