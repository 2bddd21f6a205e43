"""Weights, gradients and the optimizer's state divided among workers: each keeps a piece of every parameter.

A layer's weights are gathered when it computes, in forward and once more in backward, and its gradient is added up over
the workers piece by piece as soon as it is known. Source: arXiv 1910.02054, stage 3; arXiv 2304.11277.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from rayrml.networks.gathering import LARGE, list_large_layers
from rayrml.networks.network import Network
from rayrml.optimizers.layerwise import Layerwise
from rayrml.training.gradients import BUCKET_BYTES, Compression
from rayrml.training.sharding.scattered_gradient import ScatteredGradient
from rayrml.training.sharding.sharding import Exchange, Sharding
from rayrml.workers import Workers


class FullSharding(Sharding):
    """Each worker keeps a piece of every parameter, along its first axis, and all that belongs to it.

    The optimizer updates the pieces as if they were all there is. The network holds them as `DTensor`s, except while a
    layer computes, so nothing but this class and the layers themselves may use its parameters.

    Args:
        network: its parameters are divided from now on.
        workers: the workers that train it.
        compression: how workers compress the gradients that they exchange.
        least: the number of weights from which a layer's are gathered alone; those of all others stay together, and
            are whole during a step.
    """

    in_lockstep = True
    in_place = True

    def __init__(self, network: Network, workers: Workers, *, compression: Compression = "none", least: int = LARGE):
        super().__init__(network, workers, compression=compression)
        self._network: Network = network
        # Pieces are cut from memory that is in the order of the axes.
        network.to(memory_format=torch.contiguous_format)
        device = next(network.parameters()).device
        self._mesh = DeviceMesh.from_group(torch.distributed.group.WORLD, device.type)  # pyright: ignore[reportArgumentType]
        sent_as = MixedPrecisionPolicy(reduce_dtype=torch.bfloat16 if compression == "bf16" else None)
        self._alone = [_divided(layer, self._mesh, sent_as) for layer in list_large_layers(network, least)]
        self._modules = [*self._alone, _divided(network, self._mesh, sent_as)]
        self._pieces = {p: nn.Parameter(_piece(p).detach()) for p in network.parameters()}
        self._wholes = {piece: p for p, piece in self._pieces.items()}

    def own(self, parameter: nn.Parameter) -> nn.Parameter:
        """This worker's piece of a parameter, always the same tensor; it may be empty."""
        return self._pieces[parameter]

    def part(self, own: torch.Tensor, whole: Any) -> Any:
        """What belongs to `own`, a piece or a divided parameter, of what belongs to the whole one."""
        parameter = own if isinstance(own, DTensor) else self._wholes.get(cast(nn.Parameter, own))
        if parameter is None or not isinstance(whole, torch.Tensor) or whole.shape != parameter.shape:
            return whole
        rows = -(-len(whole) // self._workers.size)  # as torch's `chunk` divides an axis
        begin = min(rows * self._workers.rank, len(whole))
        piece = whole[begin : begin + rows].contiguous()
        return self._joined(piece.to(own.device), parameter) if parameter is own else piece

    def exchange(
        self, parameters: list[nn.Parameter], *, needed: bool, bucket_bytes: int = BUCKET_BYTES, num_terms: int = 0
    ) -> Exchange | None:
        """What adds up the gradients of these parameters over workers; here each of them gets its pieces of it."""
        pairs = [(parameter, self._pieces[parameter]) for parameter in parameters]
        penalties = [(self._pieces[weight], penalty) for weight, penalty in self._network.penalized_weights()]
        how = {"modules": self._modules, "penalties": penalties, "num_terms": num_terms}
        return ScatteredGradient(pairs, self._workers, **how)

    def penalty(self) -> torch.Tensor | None:
        """What the regularizers of outputs add to the loss; those of weights are added piece by piece."""
        return self._network.penalty(of_weights=False)

    def adapt(self, optimizer: torch.optim.Optimizer) -> None:
        """Let an optimizer that uses the norms of tensors take those of whole ones."""
        if isinstance(optimizer, Layerwise):
            optimizer.length = self._length

    def gather_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimizer's state as one worker would have it, in the first one; {} in others. All must call it."""
        states: dict[int, dict[str, Any]] = {}
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for number, piece in enumerate(parameters):
            if piece in optimizer.state:
                own: dict[str, Any] = optimizer.state[piece]
                states[number] = {key: self._gathered(value, piece) for key, value in own.items()}
        return {} if self._workers.rank else {**optimizer.state_dict(), "state": states}

    def gather(self, parts: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The whole tensors of parameters, by name, in the first worker's CPU memory; {} in others."""
        own = {name: self._pieces[parameter] for name, parameter in self._network.named_parameters()}
        whole = {name: self._gathered(part, own[name]) for name, part in parts.items()}
        return {} if self._workers.rank else whole

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """A block in which each worker has all weights, and computes at its own pace; no gradients."""
        for module in self._alone:
            module.set_reshard_after_forward(False, recurse=False)
        for module in self._modules:
            module.unshard()
        try:
            yield
        finally:
            for module in self._modules:
                module.reshard()
            for module in self._alone:
                module.set_reshard_after_forward(True, recurse=False)

    def _gathered(self, value: Any, piece: torch.Tensor) -> Any:
        """The whole of what belongs to a piece, on the CPU, in the first worker; one after the other for memory."""
        if not isinstance(value, torch.Tensor) or value.ndim == 0 or value.shape != piece.shape:
            return value
        whole = self._joined(value.detach(), self._wholes[cast(nn.Parameter, piece)]).full_tensor()
        return whole.cpu() if self._workers.rank == 0 else None

    def _joined(self, piece: torch.Tensor, parameter: torch.Tensor) -> DTensor:
        """The divided tensor of a parameter's shape of which this worker has `piece`."""
        stride = torch.empty(parameter.shape, device="meta").stride()
        places = {"device_mesh": self._mesh, "placements": [Shard(0)]}
        return DTensor.from_local(piece, **places, run_check=False, shape=parameter.shape, stride=stride)

    def _length(self, piece: torch.Tensor) -> torch.Tensor:
        """The norm of the whole tensor of which this worker has a piece."""
        squares = torch.linalg.vector_norm(piece, dtype=torch.float64).square()
        return self._workers.sum(squares).sqrt().to(piece.dtype)


def _divided(module: nn.Module, mesh: DeviceMesh, policy: MixedPrecisionPolicy) -> FSDPModule:
    """The module with its parameters, as far as they are whole, divided; its gradients are sums over workers."""
    divided = cast(FSDPModule, fully_shard(module, mesh=mesh, mp_policy=policy))
    divided.set_gradient_divide_factor(1.0)
    divided.set_force_sum_reduction_for_comms(True)
    module.register_forward_pre_hook(_give_usual_strides)
    return divided


class _UsualStrides(torch.autograd.Function):
    """A batch of one sample, whose first stride is the size of a sample."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.as_strided(x.size(), (x.numel(), *x.stride()[1:]))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient


def _give_usual_strides(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a layer as the layer before returned them.

    Torch's FSDP hands on views, in which a single sample has a stride of its own choice. Torch's batch normalization
    computes a wrong gradient from that on CPUs, without an error.
    """

    def usual(x: Any) -> Any:
        if isinstance(x, list | tuple):
            return type(x)(map(usual, x))
        changed = isinstance(x, torch.Tensor) and x.ndim > 2 and len(x) == 1 and x.stride(0) != x.numel()
        return _UsualStrides.apply(x) if changed else x

    return tuple(map(usual, inputs))


def _piece(parameter: torch.Tensor) -> torch.Tensor:
    """This worker's piece of a divided tensor, in the same memory."""
    return cast(DTensor, parameter.detach()).to_local()
