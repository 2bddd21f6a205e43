"""What each worker keeps of weights, gradients and the optimizer's state: everything, unless a subclass divides it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rayrml.training.gradients import BUCKET_BYTES, Compression, SharedGradient
from rayrml.training.sharding.scattered_gradient import ScatteredGradient
from rayrml.workers import Workers

# What adds up the gradient of a global batch.
Exchange = SharedGradient | ScatteredGradient


class Sharding:
    """Each worker keeps everything.

    Args:
        network: on its device.
        workers: the workers that train it.
        compression: how workers compress the gradients that they exchange.

    Attributes:
        in_lockstep: whether forward and backward of a batch need all workers, also those without a sample in it.
        in_place: whether weights must stay where they are in memory.
    """

    in_lockstep = False
    in_place = False

    def __init__(self, network: nn.Module, workers: Workers, *, compression: Compression = "none"):
        self._network = network
        self._workers = workers
        self._compression: Compression = compression

    def own(self, parameter: nn.Parameter) -> nn.Parameter:
        """What this worker's optimizer updates of a parameter, always the same tensor."""
        return parameter

    def names(self) -> dict[torch.Tensor, str]:
        """The parameters' names by what `own` returns of them."""
        return {self.own(parameter): name for name, parameter in self._network.named_parameters()}

    def part(self, own: torch.Tensor, whole: Any) -> Any:
        """What belongs to `own`, a tensor of this worker's network or optimizer, of what belongs to the whole one."""
        return whole

    def exchange(
        self, parameters: list[nn.Parameter], *, needed: bool, bucket_bytes: int = BUCKET_BYTES, num_terms: int = 0
    ) -> Exchange | None:
        """What adds up the gradients of these parameters over workers; None for one worker that does not need it."""
        if self._workers.size == 1 and not needed:
            return None
        how = {"bucket_bytes": bucket_bytes, "num_terms": num_terms}
        return SharedGradient(parameters, self._workers, compression=self._compression, **how)

    def penalty(self) -> torch.Tensor | None:
        """What the network's regularizers add to the loss of a worker's samples; None without any."""
        penalty = getattr(self._network, "penalty", None)
        return None if penalty is None else penalty()

    def updating(self, parameters: Sequence[nn.Parameter]) -> contextlib.AbstractContextManager[None]:
        """A block in which the optimizer updates the network's `parameters`."""
        return contextlib.nullcontext()

    def adapt(self, optimizer: torch.optim.Optimizer) -> None:
        """Prepare an optimizer that was just built or has got its state from a checkpoint."""

    def gather_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The optimizer's state as one worker would have it, in the first one. All must call it."""
        return optimizer.state_dict()

    def gather(self, parts: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The whole tensors of parameters, by name, of which each worker has `parts`, in the first worker.

        All must call it.
        """
        return parts

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """A block in which each worker has all weights and computes at its own pace, without training; all enter it."""
        yield
