import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from rayrml.losses import LOSSES
from rayrml.networks.network import build_network
from rayrml.planning import memory_estimate
from tests import gan_data
from tests.losses import test_contract as losses
from tests.networks.layers import test_contract as layers

SHAPE = (1, 96, 96)
BATCH = 64

# What a worker does, in a process that has done nothing else. Such a process never returns memory, so its own memory at
# the end, without the pages of libraries, is its peak.
MEASURED = """
from pathlib import Path
import torch
from torch import nn
from rayrml.losses import LOSSES
from rayrml.memory import keep_freed_memory
from rayrml.optimizers import OPTIMIZERS
from rayrml.training.step import TrainingStep
from tests.planning.test_memory_estimate import BATCH, SHAPE, network
keep_freed_memory()
step = lambda net: TrainingStep(net, LOSSES["CrossEntropy"](), OPTIMIZERS["Adam"](net.parameters()))
small = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
step(small)(torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64), 2)  # loads what is only loaded at first use
trained = step(network())
lines = lambda: dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
own = lambda: 1024 * int(lines()["RssAnon"].split()[0])
before = own()
for _ in range(3):
    trained(torch.zeros(BATCH, *SHAPE, dtype=torch.uint8), torch.zeros(BATCH, dtype=torch.int64), BATCH)
print(own() - before)
"""


def network():
    first = [nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *first, nn.Conv2d(16, 16, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)
    )


def of_training(net, batch_size=BATCH):
    return memory_estimate.of_training(net, LOSSES["CrossEntropy"](), batch_size, inputs=SHAPE, targets=(), pixels=True)


@pytest.mark.skipif(sys.platform != "linux", reason="memory of one's own is not told apart")
def test_it_is_near_to_what_a_worker_takes():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    # In addition to tensors there are gaps between them, and the temporary memory of kernels.
    assert 0.8 < int(done.stdout) / of_training(network()) < 3.2


def test_it_grows_with_the_batch_and_shrinks_with_what_is_not_trained():
    net = network()
    whole = of_training(net)
    assert of_training(net, 2 * BATCH) == pytest.approx(2 * whole, rel=0.01)
    evaluated = memory_estimate.of_evaluation(net, BATCH, inputs=SHAPE, pixels=True)
    for parameter in net[:4].parameters():
        parameter.requires_grad_(False)
    assert evaluated <= of_training(net) < 0.7 * whole


def test_weights_and_their_gradients_do_not_count():
    net = nn.Sequential(nn.Flatten(), nn.Linear(96 * 96, 100), nn.Linear(100, 2))
    images, largest = 4 * 96 * 96 * (4 + 1), 4 * 96 * 96 * 100
    assert largest < of_training(net, 4) < largest + 2 * images  # one gradient after the other


@pytest.mark.parametrize("name", layers.NAMES)
def test_every_layer_can_be_followed(name):
    config, shapes = layers.sample(name)
    first = {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, *shapes[0][1:], shapes[0][0]]}}
    calls = [[["in", 0, 0, {}]] * len(shapes)]
    net = build_network([first, {"class_name": name, "config": {"name": "row", **config}, "inbound_nodes": calls}])
    assert memory_estimate.of_evaluation(net, 4, inputs=shapes[0], pixels=True) > 0
    if net.num_trainable_parameters:
        options = {"inputs": shapes[0], "targets": net.output_shapes[0], "pixels": False}
        assert memory_estimate.of_training(net, LOSSES["MSE"](), 4, **options) > 0


@losses.EVERY_LOSS
def test_every_loss_can_be_followed(case):
    for shape in case.shapes:
        net = nn.Sequential(nn.Flatten(), nn.Linear(9, torch.Size(shape[1:]).numel()), nn.Unflatten(1, shape[1:]))
        targets = tuple(case.targets(shape).shape[1:])
        assert memory_estimate.of_training(net, case.loss, 4, inputs=(1, 3, 3), targets=targets, pixels=True) > 0


def test_the_network_stays_as_it_is():
    net = network().eval()
    before = copy.deepcopy(net.state_dict())
    drawn = torch.get_rng_state()
    of_training(net)
    assert not net.training
    assert all(p.grad is None and p.device.type == "cpu" for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(drawn, torch.get_rng_state())


def test_a_step_of_a_critic_takes_more_with_the_gradient_of_a_gradient():
    dense = {"units": 28 * 28, "batch_input_shape": [None, 8], "name": "dense"}
    shape = {"target_shape": [28, 28, 1], "name": "shape"}
    small = [{"class_name": "Dense", "config": dense}, {"class_name": "Reshape", "config": shape}]
    both = [build_network(small), build_network(gan_data.critic())]
    with_penalty, clipped = LOSSES["Wasserstein"](), LOSSES["Wasserstein"](gradient_penalty=0.0, clip=0.01)
    small, large, less = (
        memory_estimate.of_adversarial_training(*both, loss, size, pixels=True)
        for loss, size in ((with_penalty, 8), (with_penalty, 80), (clipped, 8))
    )
    images = 8 * 28 * 28 * 4
    assert less > images
    assert small > less + images  # the mixed samples at least
    assert 9 * small < large < 11 * small
