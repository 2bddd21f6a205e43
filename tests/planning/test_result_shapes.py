import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from rayrml.networks.network import build_network
from rayrml.planning.result_shapes import find_results
from rayrml.tensors import to_input
from tests.losses import test_contract as losses
from tests.networks.layers import test_contract as layers


class Compared(TorchDispatchMode):
    """Compares what is found for each operation with what it computes from numbers."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        computed = func(*args, **kwargs)
        found = find_results(func, *tree_map_only(torch.Tensor, without_numbers, (args, kwargs)))
        if found is not None:
            self.names.add(func._schema.name.removeprefix("aten::"))
            assert describe(found) == describe(computed), func
        return computed


def without_numbers(tensor):
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def describe(results):
    """Shape, type and order of axes of each tensor; an axis of size 1 can be anywhere in that order."""
    return [
        (tuple(t.shape), t.dtype, [stride for stride, size in zip(t.stride(), t.shape, strict=True) if size > 1])
        for t in tree_leaves(results)
        if isinstance(t, torch.Tensor)
    ]


@pytest.mark.parametrize("name", layers.NAMES)
def test_results_in_every_layer_are_those_of_numbers(name):
    config, shapes = layers.sample(name)
    first = {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, *shapes[0][1:], shapes[0][0]]}}
    calls = [[["in", 0, 0, {}]] * len(shapes)]
    net = build_network([first, {"class_name": name, "config": {"name": "row", **config}, "inbound_nodes": calls}])
    with Compared():
        output = net.train()(to_input(torch.rand(4, *shapes[0]).requires_grad_()))
        output.mean().backward()


@losses.EVERY_LOSS
def test_results_in_every_loss_are_those_of_numbers(case):
    for shape in case.shapes:
        output = case.output(losses.probabilities(shape)).float().requires_grad_()
        with Compared():
            case.loss(output, case.targets(shape)).backward()


def test_operations_that_are_not_known_are_left_to_torch():
    x = torch.empty(3, device="meta")
    assert find_results(torch.ops.aten.nonzero.default, (x,), {}) is None
    assert find_results(torch.ops.aten.add_.Tensor, (x, x), {}) is None  # changes its argument
    assert find_results(torch.ops.aten.add.Tensor, (x, torch.empty(2, device="meta")), {}) is None
    assert find_results(torch.ops.aten.add.Tensor, (torch.ones(3), torch.ones(3)), {}) is None  # has numbers


WITHOUT_THE_COMPILER = """
import sys
from torch import nn
from rayrml.losses import LOSSES
from rayrml.planning import memory_estimate
from rayrml.networks import network  # with all layers
net = nn.Sequential(
    *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.GroupNorm(2, 8), nn.GELU()),
    nn.Dropout(0.5),
    *(nn.ConvTranspose2d(8, 4, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(3), nn.ELU()),
    *(nn.Flatten(), nn.Linear(36, 5), nn.Softmax(1)),
)
of = {"inputs": (3, 20, 20), "pixels": True}
for name in ("CrossEntropy", "Dice", "MSE"):
    loss = LOSSES[name]()
    assert memory_estimate.of_training(net, loss, 4, targets=() if loss.targets == "labels" else (5,), **of) > 0
assert memory_estimate.of_evaluation(net, 4, **of) > 0
print("torch._dynamo" in sys.modules)
"""


def test_usual_networks_are_followed_without_torchs_compiler():
    command = [sys.executable, "-c", WITHOUT_THE_COMPILER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
