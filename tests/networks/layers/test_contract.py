"""What holds for every row of the layer table: a new row is tested as soon as it exists."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest
import torch

from rayrml.config import names
from rayrml.networks import layers
from rayrml.networks.layers import merging
from rayrml.networks.network import build_network
from rayrml.saving.keras_weights import export_weights, load_weights
from rayrml.tensors import to_input

# Values of arguments without a default; a row with a new one needs an entry here.
ARGUMENTS = {
    "filters": 4, "kernel_size": 2, "units": 3, "rate": 0.5, "stddev": 0.1, "target_shape": [-1, 3], "n": 3,
    "activation": "relu", "scale": 0.5, "height": 5, "width": 7, "factor": 0.1, "height_factor": 0.1, "axes": -1,
    "init_values": 0.5, "projection_dim": 6, "drop_path_rate": 0.5,
}  # fmt: skip
MORE = {
    "GroupNormalization": {"groups": 2},
    "tf.clip_by_value": {"operands": [None, 0.6, 1.4]},
    "tf.concat": {"operands": [None, None, -1]},
    "tf.expand_dims": {"operands": [None, 1]},
    "tf.squeeze": {"operands": [None, 1]},
    "TimeDistributed": {"layer": {"class_name": "Dense", "config": {"units": 3}}},
}
BINARY = re.compile(r".*\.(Add|Sub|Mul|Div|TrueDiv|Pow|Max|Min|Concat|add|sub|mul|div|truediv|pow|max|min)\w*")
SPATIAL = {0: (), 1: (6,), 2: (6, 5), 3: (6, 5, 4)}
NAMES = sorted(layers.TABLE)


def sample(name: str) -> tuple[dict, list[tuple[int, ...]]]:
    """Arguments for a row, and shapes of inputs that it accepts."""
    builder = layers.TABLE[name]
    parameters = [p for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY]
    config = {p.name: ARGUMENTS[p.name] for p in parameters if p.default is p.empty and p.name in ARGUMENTS}
    config |= MORE.get(name, {})
    match = re.search(r"(\d)D", name)
    rank = int(match[1]) if match else 0 if name == "RepeatVector" else 2
    if name == "Permute":
        config["dims"] = [2, 3, 1]
    if name == "tf.squeeze":
        return config, [(6, 1, 5)]
    num_inputs = 2 if name in merging.LAYERS or BINARY.fullmatch(name) else 1
    return config, [(6, *SPATIAL[rank])] * num_inputs


def _network(name: str, sizes_known: bool = True):
    config, shapes = sample(name)
    if not sizes_known:
        shapes = [(shape[0], *(None for _ in shape[1:])) for shape in shapes]
    entries = [
        {"class_name": "InputLayer", "config": {"name": f"in{i}", "batch_shape": [None, *shape[1:], shape[0]]}}
        for i, shape in enumerate(shapes)
    ]
    calls = [[[entry["config"]["name"], 0, 0, {}] for entry in entries]]
    row = {"class_name": name, "config": {"name": "row", **config}, "inbound_nodes": calls}
    return build_network([*entries, row])


def _inputs(name: str) -> list[torch.Tensor]:
    return [torch.rand(3, *shape) + 0.5 for shape in sample(name)[1]]


@pytest.mark.parametrize("name", NAMES)
def test_the_declared_shape_is_the_shape_that_comes_out(name):
    for network in (_network(name), _network(name).train()):
        assert network(*_inputs(name)).shape[1:] == network.output_shapes[0]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"PReLU"}))  # its weights have the input's size
def test_inputs_of_any_size_give_what_inputs_of_a_declared_size_give(name):
    torch.manual_seed(0)
    declared = _network(name).eval()
    network = _network(name, sizes_known=False).eval()
    network.load_state_dict(declared.state_dict())
    xs = _inputs(name)
    assert torch.equal(network(*xs), declared(*xs))
    for size, known in zip(network.output_shapes[0], declared.output_shapes[0], strict=True):
        assert size in (None, known)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_inputs_and_every_weight(name):
    network = _network(name).train()
    xs = [x.requires_grad_() for x in _inputs(name)]
    network(*xs).square().sum().backward()
    for tensor in (*xs, *network.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_with_respect_to_inputs_can_be_differentiated_once_more(name):
    """As the penalty of a critic's gradients needs; against differences along one direction."""
    torch.manual_seed(0)
    network = _network(name).double().train()
    places = [to_input(x.double()) for x in _inputs(name)]
    weights = list(network.parameters())
    directions = [torch.randn_like(tensor) for tensor in (*places, *weights)]

    def penalty(step):
        """The squared length of the gradient at a place so far along the directions, and the gradient of that."""
        torch.manual_seed(1)  # the same dropout
        moved = [tensor.detach() + step * by for tensor, by in zip((*places, *weights), directions, strict=True)]
        xs = [x.requires_grad_() for x in moved[: len(places)]]
        values = {
            name: p.requires_grad_() for (name, _), p in zip(network.named_parameters(), moved[len(xs) :], strict=True)
        }
        y = torch.func.functional_call(network, values, tuple(xs))
        slopes = torch.autograd.grad(
            (y.square() * torch.linspace(0.3, 1.7, y.numel()).view_as(y)).sum(), xs, create_graph=True
        )
        length = sum(slope.square().sum() for slope in slopes)
        return length.item(), torch.autograd.grad(length, [*xs, *values.values()], allow_unused=True)

    expected = (penalty(1e-5)[0] - penalty(-1e-5)[0]) / 2e-5
    found = sum((own * by).sum().item() for own, by in zip(penalty(0)[1], directions, strict=True) if own is not None)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_the_way_into_keras_form_and_back(name, tmp_path):
    network, twin = _network(name).eval(), _network(name).eval()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    export_weights(network, tmp_path / "weights.h5")
    report = load_weights(twin, tmp_path / "weights.h5")
    assert not report.skipped and not report.initial
    xs = _inputs(name)
    assert torch.equal(network(*xs), twin(*xs))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), twin.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_can_be_pickled_copied_and_turned_to_double_precision(name):
    network = _network(name).eval()
    xs = _inputs(name)
    expected = network(*xs)
    for twin in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert torch.equal(twin(*xs), expected)
    torch.testing.assert_close(network.double()(*(x.double() for x in xs)), expected.double(), atol=1e-4, rtol=1e-4)


def test_the_description_has_a_line_for_every_row():
    chapters = list(layers.describe_chapters())
    names = [name for _, rows in chapters for names, _ in rows for name in names.split(", ")]
    assert sorted(names) == NAMES
    assert all(title and text.endswith(".") for title, rows in chapters for _, text in rows)


def test_a_name_is_found_without_regard_to_case():
    assert names.find(layers.TABLE, "conv2dtranspose", "") == "Conv2DTranspose"
