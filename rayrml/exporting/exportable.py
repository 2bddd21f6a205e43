"""What is written to a file: a module, the names and shapes of its inputs and outputs, and what is known of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rayrml.config.tables import choose
from rayrml.losses import LOSSES, Loss
from rayrml.networks.network import Network, build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint

BATCH = "batch"
_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of what is exported.

    Attributes:
        name: as it is called in the file.
        shape: of one sample; a name stands for any size.
        dtype: float32, or uint8 for pixels.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype = torch.float32

    def draw(self, count: int, open_sizes: Sequence[int], generator: torch.Generator) -> torch.Tensor:
        """Random samples (count, *shape), with `open_sizes` in place of any sizes, in their order."""
        given = iter(open_sizes)
        shape = [count, *(next(given) if isinstance(size, str) else size for size in self.shape)]
        if self.dtype == torch.uint8:
            return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return torch.rand(shape, generator=generator)


@dataclasses.dataclass(frozen=True)
class Exportable:
    """What is written to a file.

    Attributes:
        network: the network, with its weights, in evaluation mode.
        module: takes one tensor for each input; the network itself, or with what comes before and after it.
        inputs: those of the module.
        outputs: the names of its outputs.
        metadata: what programs need to know of inputs and outputs, in JSON's types.
        gives_probabilities: whether the module makes probabilities of what the network gives.
    """

    network: Network
    module: nn.Module
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gives_probabilities: bool = False


class Positional(nn.Module):
    """The network as a function with one argument per input."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> Any:
        """The output, or a tuple of outputs."""
        return self.network(*inputs)


def load_network(checkpoint: str | Path) -> Network:
    """The network in a checkpoint, with its weights, in evaluation mode.

    Raises:
        ConfigError: the checkpoint has no network, or weights that do not fit it.
        DataError: the file cannot be read.
    """
    return network_of(checkpoints.load_complete(checkpoint), checkpoint, imposed=False)


def network_of(kept: Checkpoint, path: str | Path, *, imposed: bool) -> Network:
    """The same for a checkpoint that was read from `path`.

    If they are to be `imposed`, outputs have the values that the loss prescribes, as predictions have.

    Raises:
        ConfigError: the checkpoint has no network, or weights that do not fit it.
    """
    network = build_network(kept.layers, kept.input_shape)
    checkpoints.load_into(network, kept.network, path)
    loss = loss_of(kept) if imposed else None
    if loss is not None and loss.impose is not None:
        network.register_forward_hook(functools.partial(_imposed, loss=loss))
    return network.eval()


def loss_of(kept: Checkpoint) -> Loss | None:
    """The loss by which a checkpoint's network has learned, None if it does not say."""
    return choose(LOSSES, kept.loss, "neural_network.loss", "function").build() if kept.loss else None


def _imposed(module: torch.nn.Module, inputs: Any, output: Any, *, loss: Loss) -> torch.Tensor:
    """The output of a network, a module, with the values that a loss prescribes."""
    return loss.imposed(output)


def plain(network: Network) -> Exportable:
    """The network alone, with the names of its layers."""
    inputs = zip(input_names(network), network.input_shapes, strict=True)
    return Exportable(
        network,
        Positional(network),
        tuple(Input(name, name_sizes(shape)) for name, shape in inputs),
        tuple(output_names(network)),
    )


def input_names(network: Network) -> list[str]:
    """The names of the layers that are the network's inputs."""
    return _names(network, network.graph.inputs, ())


def output_names(network: Network) -> list[str]:
    """The names of the layers whose outputs are the network's, different from those of its inputs."""
    return _names(network, network.graph.outputs, input_names(network))


def _names(network: Network, nodes: Sequence[int], taken: Sequence[str]) -> list[str]:
    used = list(taken)
    for node in nodes:
        name = network.graph.layers[network.graph.nodes[node].layer].name
        number, unique = 1, name
        while unique in used:
            number, unique = number + 1, f"{name}_{number}"
        used.append(unique)
    return used[len(taken) :]


def name_sizes(shape: Sequence[int | None]) -> tuple[int | str, ...]:
    """(C, *spatial) with names for open sizes, such as `height`."""
    names = ("channels", *_AXES.get(len(shape) - 1, [f"axis_{i}" for i in range(1, len(shape))]))
    return tuple(name if size is None else size for name, size in zip(names, shape, strict=True))
