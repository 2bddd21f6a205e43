"""The memory that a batch takes in the forward and backward pass, determined without computing anything."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rayrml.losses import Loss
from rayrml.losses.adversarial import AdversarialLoss, constant_weights, critic_loss, generator_loss
from rayrml.networks.layers.layer import smallest
from rayrml.networks.network import Network
from rayrml.planning.result_shapes import find_results
from rayrml.tensors import to_input

_META = torch.device("meta")  # tensors with a shape but no numbers


def of_training(
    network: nn.Module, loss: Loss, batch_size: int, *, inputs: Sequence[int], targets: Sequence[int], pixels: bool
) -> int:
    """The peak bytes of a training step, apart from weights, all their gradients and optimizer state.

    Args:
        network: as it is trained, on any device; not changed.
        loss: of the network's output.
        batch_size: samples of the batch.
        inputs: shape (C, *spatial) of a sample.
        targets: shape of its target, () for a label.
        pixels: whether samples are stored as bytes.

    Raises:
        Exception: a layer or the loss does something that needs numbers.
    """
    without = _without_numbers(network).train()
    for parameter in without.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_forget)  # the gradients are counted elsewhere

    def step() -> None:
        target = torch.empty(batch_size, *targets, device=_META)
        target = target.long() if loss.targets == "labels" else target
        loss(without(to_input(_batch(batch_size, inputs, pixels=pixels))).float(), target).backward()

    return _peak(without, step)


def of_adversarial_training(
    generator: Network, critic: Network, loss: AdversarialLoss, batch_size: int, *, pixels: bool
) -> int:
    """The peak bytes of a step of a critic or, if that takes more, of its generator; weights are counted elsewhere.

    Arguments and errors are those of `of_training`.
    """
    makes, judges = (_without_numbers(network).train() for network in (generator, critic))
    for parameter in (*makes.parameters(), *judges.parameters()):
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_forget)
    noise, samples = generator.input_shapes[0], critic.input_shapes[0]

    def step() -> None:
        inputs = to_input(_batch(batch_size, smallest(noise), pixels=False))
        real = to_input(_batch(batch_size, smallest(samples), pixels=pixels))
        with torch.no_grad():
            made = makes(inputs)
        mix = torch.empty(batch_size, device=_META)
        critic_loss(judges, real, made, mix=mix, gradient_penalty=loss.gradient_penalty).total.backward()
        with constant_weights(judges):
            generator_loss(judges, makes(inputs)).backward()

    return _peak(nn.ModuleList([makes, judges]), step)


def of_evaluation(network: nn.Module, batch_size: int, *, inputs: Sequence[int], pixels: bool) -> int:
    """The peak bytes of a network, apart from weights, while it computes its output for a batch.

    Arguments and errors are those of `of_training`.
    """
    without = _without_numbers(network).eval()

    def step() -> None:
        with torch.no_grad():
            without(to_input(_batch(batch_size, inputs, pixels=pixels)))

    return _peak(without, step)


def _batch(size: int, shape: Sequence[int], *, pixels: bool) -> torch.Tensor:
    return torch.empty(size, *shape, device=_META, dtype=torch.uint8 if pixels else torch.float32)


def _forget(parameter: torch.Tensor) -> None:
    parameter.grad = None


def _without_numbers(network: nn.Module) -> nn.Module:
    """A copy of the network whose weights have only shapes and take no memory."""
    known: dict[int, Any] = {}
    for tensor in itertools.chain(network.parameters(), network.buffers()):
        shape = torch.empty_like(tensor, device=_META)
        known[id(tensor)] = nn.Parameter(shape, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else shape
    return copy.deepcopy(network, known)


def _peak(network: nn.Module, step: Callable[[], None]) -> int:
    """The peak bytes of tensors during a step, without those that existed before."""
    before = [tensor.untyped_storage() for tensor in itertools.chain(network.parameters(), network.buffers())]
    with _Living(before) as living:
        step()
    return living.peak


class _Living(TorchDispatchMode):
    """Tracks the memory of tensors, from the operation that creates it until it is no longer needed.

    Attributes:
        peak: the most bytes at once.
    """

    def __init__(self, known: Sequence[torch.UntypedStorage]):
        super().__init__()
        self.peak = 0
        self._sizes = {storage._cdata: 0 for storage in known}
        self._now = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler to keep it away from this class

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = find_results(func, args, kwargs or {})
        if made is None:
            made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor):
                self._meet(value.untyped_storage())
        return made

    def _meet(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self._now += self._sizes[key]
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._part, key)

    def _part(self, key: int) -> None:
        self._now -= self._sizes.pop(key)
