"""The gradient of a global batch, of which each worker gets the pieces of its own pieces of the weights."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from rayrml.training.wishes import NUM_WISHES
from rayrml.workers import Workers

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Penalty = Callable[[torch.Tensor], torch.Tensor]


class ScatteredGradient:
    """What `SharedGradient` is for whole gradients: torch's FSDP adds these up in backward, micro-batch by micro-batch.

    Args:
        pairs: the trained parameters as the network holds them, and this worker's piece of each.
        workers: the workers that share the gradient.
        modules: the divided modules, which gather their weights when they are called.
        penalties: the pieces of regularized weights, and what each adds to the loss, as a sum over numbers.
        num_terms: of how many terms the loss consists.

    Attributes:
        loss: this worker's part of the loss, and the whole loss after `finish`; a scalar.
        weight: this worker's share of the batch, and the sum of all shares after `finish`; a scalar.
        terms: this worker's part of the terms of the loss, and the whole ones after `finish`.
        wishes: (NUM_WISHES,) 1 for each wish of this worker; after `finish`, above 0 for each of any worker.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[nn.Parameter, nn.Parameter]],
        workers: Workers,
        *,
        modules: Sequence[Any],
        penalties: Sequence[tuple[nn.Parameter, Penalty]],
        num_terms: int = 0,
    ):
        self._pairs = pairs
        self._workers = workers
        self._modules = modules
        self._penalties = penalties
        first = pairs[0][1]
        self._dtype = first.dtype
        self._notes = torch.zeros(3 + num_terms + NUM_WISHES, dtype=torch.float64, device=first.device)
        self.loss, self.weight, self._penalty = self._notes[:3]
        self.terms, self.wishes = self._notes[3:-NUM_WISHES], self._notes[-NUM_WISHES:]

    @property
    def gradients(self) -> list[torch.Tensor]:
        """This worker's pieces, after `finish`."""
        return [piece.grad for _, piece in self._pairs if piece.grad is not None]

    def begin(self) -> None:
        """Set everything to zero."""
        self._notes.zero_()
        for pair in self._pairs:
            for tensor in pair:
                tensor.grad = None

    def send(self) -> None:
        """Nothing is left to be sent: each backward sends its own part."""

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Send zeros in place of the gradients of a forward and backward in the block."""
        from torch.distributed.tensor import DTensor  # takes half a second

        with contextlib.ExitStack() as stack:

            def watch(module: nn.Module, _: Any) -> None:
                for parameter in module.parameters():
                    if parameter.requires_grad and not isinstance(parameter, DTensor):  # it is whole now
                        _until_end(stack, parameter.register_post_accumulate_grad_hook(_to_zero))

            for module in self._modules:
                _until_end(stack, module.register_forward_pre_hook(watch))
            yield

    def finish(self) -> float:
        """Add up the rest over all workers; return the seconds that this took."""
        began = time.perf_counter()
        for parameter, piece in self._pairs:
            if parameter.grad is not None:
                piece.grad, parameter.grad = cast("DTensor", parameter.grad).to_local(), None
        for piece, penalty in self._penalties:
            self._penalty.add_(penalty(piece.detach()))
        self._workers.sum(self._notes)
        return time.perf_counter() - began

    def normalize(self) -> None:
        """Divide loss and gradient by the sum of the shares, unless that is 0."""
        divisor = torch.where(self.weight > 0, self.weight, 1.0)
        self.loss.div_(divisor)
        torch._foreach_div_(self.gradients, divisor.to(self._dtype))  # pyright: ignore[reportPrivateImportUsage]

    def penalize(self, scale: torch.Tensor | float = 1.0) -> None:
        """Add the penalties of weights to the loss, and their gradient times `scale` to the gradient."""
        self.loss.add_(self._penalty)
        for piece, penalty in self._penalties:
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(penalty(piece), piece)
            piece.grad = gradient * scale if piece.grad is None else piece.grad.add_(gradient * scale)

    def length(self) -> torch.Tensor:
        """The norm of the gradient, a scalar."""
        norms = torch._foreach_norm(self.gradients)  # pyright: ignore[reportPrivateImportUsage]
        squares = torch.stack(norms).double().square().sum()
        return self._workers.sum(squares).sqrt().to(self._dtype)


def _until_end(stack: contextlib.ExitStack, handle: RemovableHandle) -> None:
    stack.callback(handle.remove)


def _to_zero(parameter: torch.Tensor) -> None:
    if parameter.grad is not None:
        parameter.grad.zero_()
