"""Small realistic networks, and mutations of them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from rayrml.networks.network import build_network
from rayrml.storage import is_uri
from tests.conftest import ROOT, dense_network
from tests.faults.fuzzing import Case
from tests.faults.mutations import mutated, spoiled_text
from tests.networks.layers.test_contract import NAMES, sample


def corpus() -> list[Any]:
    """The examples' networks, a small one for each layer, and the formats of several Keras versions."""
    examples = [json.loads(path.read_text()) for path in sorted((ROOT / "examples").glob("*/*net*.json"))]
    return [*examples, *map(_row, NAMES), *_forms()] + 4 * [*_forms()]


def _row(name: str) -> list[dict[str, Any]]:
    """A network around one layer, with the initializers and regularizers of its JSON."""
    config, shapes = sample(name)
    inputs = [_input(f"in{i}", [*shape[1:], shape[0]]) for i, shape in enumerate(shapes)]
    calls = [[[entry["name"], 0, 0, {}] for entry in inputs]]
    row = {"class_name": name, "name": "row", "config": {"name": "row", "trainable": True, **config}}
    return [*inputs, row | {"inbound_nodes": calls}, {"class_name": "Flatten", "config": {"name": "flat"}}]


def _forms() -> list[Any]:
    tensor = {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 4], "dtype": "float32", "keras_history": ["x", 0, 0]},
    }
    keras_3 = [
        _input("x", [4]),
        {
            "module": "keras.layers",
            "class_name": "Dense",
            "name": "dense",
            "config": {
                "name": "dense",
                "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
                "units": 3,
                "kernel_initializer": {"class_name": "VarianceScaling", "config": {"scale": 2.0, "mode": "fan_in"}},
                "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.01, "l2": 0.02}},
                "activation": {"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}},
            },
            "inbound_nodes": [{"args": [tensor], "kwargs": {"training": False}}],
        },
        {"module": "keras.src.ops.numpy", "class_name": "Add", "name": "add", "config": {"name": "add"},
         "inbound_nodes": [{"args": [tensor, 1.5], "kwargs": {}}]},
    ]  # fmt: skip
    tower = _model("tower", [_input("i", [4]), _dense("d", "i", 0), _dense("e", "d", 0)], ["i"], [["e", 0, 0]])
    tower["inbound_nodes"] = [[["x", 0, 0, {}]], [["y", 0, 0, {"training": True}]]]
    merged = {"class_name": "Concatenate", "name": "cat", "config": {"name": "cat"},
              "inbound_nodes": [[["tower", 1, 0, {}], ["tower", 2, 0, {}]]]}  # fmt: skip
    operation = {"class_name": "TFOpLambda", "name": "op", "config": {"name": "op", "function": "math.multiply"},
                 "inbound_nodes": [["cat", 0, 0, {"y": 3.0, "name": None}]]}  # fmt: skip
    shared = [_input("x", [4]), _input("y", [4]), tower, merged, operation]
    small = dense_network(3, (12, 12))
    return [
        {"class_name": "Sequential", "keras_version": "2.2.4", "config": small},
        {"class_name": "Sequential", "config": {"name": "s", "layers": small, "build_input_shape": [None, 9]}},
        _model("functional", keras_3, ["x"], [["dense", 0, 0], ["add", 0, 0]]),
        _model("shared", shared, ["x", "y"], [["op", 0, 0]]),
        [{"class_name": "Sequential", "config": {"layers": small}}, {"class_name": "ReLU", "config": {}}],
    ]


def _input(name: str, shape: list[int]) -> dict[str, Any]:
    return {
        "class_name": "InputLayer",
        "name": name,
        "config": {"name": name, "batch_input_shape": [None, *shape]},
        "inbound_nodes": [],
    }


def _dense(name: str, source: str, call: int) -> dict[str, Any]:
    config = {"name": name, "units": 4, "kernel_initializer": "orthogonal", "use_bias": True}
    return {"class_name": "Dense", "name": name, "config": config, "inbound_nodes": [[[source, call, 0, {}]]]}


def _model(name: str, layers: list[Any], inputs: list[str], outputs: list[Any]) -> dict[str, Any]:
    ends = {"input_layers": [[n, 0, 0] for n in inputs], "output_layers": outputs}
    return {"class_name": "Functional", "name": name, "config": {"name": name, "layers": layers, **ends}}


def cases(folder: Path) -> Case:
    """A mutated network, as a parsed value or as a file, is built or refused."""
    networks = corpus()

    def case(r: random.Random) -> Any:
        original = r.choice(networks)
        shape = r.choice([None, None, (1, 12, 12), (4,), (2**40,), (None, None), ()])
        if r.random() < 0.25:
            path = folder / "network.json"
            path.write_bytes(spoiled_text(r, original))
            return build_network(path, shape)
        found = mutated(r, original, networks)
        if isinstance(found, str) and is_uri(found):
            return None  # would be requested from other machines
        return build_network(found, shape)

    return case
