"""What happens to one batch: the training step and the evaluation step, on tensors alone."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable

import torch
from torch import nn

from rayrml.inference.evaluation import _autocast
from rayrml.losses import Loss
from rayrml.optimizers import needs_closure, refuse_clipping
from rayrml.tensors import to_input
from rayrml.training.cuda_graphs import Graphed
from rayrml.training.gradients import BUCKET_BYTES, Compression, SharedGradient
from rayrml.workers import Workers

_STEPS_BEFORE_LOOKING = 3


@dataclasses.dataclass
class Trained:
    """What a training step leaves to be logged.

    Attributes:
        loss: mean over the global batch, regularization included, before the update; a scalar on the device.
        lengths: (P,) of the global batch's gradient before clipping, in each of the parameters; on the device.
        compute_seconds: time in forward, backward and update.
        reduce_seconds: time spent waiting for the gradients of other workers.
        stop: whether all workers end after this step, because one was asked to.
    """

    loss: torch.Tensor
    lengths: torch.Tensor
    compute_seconds: float
    reduce_seconds: float
    stop: bool = False

    @property
    def gradient_norm(self) -> torch.Tensor:
        """Length of the whole gradient, a scalar on the device."""
        return torch.linalg.vector_norm(self.lengths)


class TrainingStep:
    """One update of the network from one global batch, of which this worker holds a part.

    The gradient is that of the global batch's mean loss, for any number of workers and any split: each worker's mean
    counts by its share. All gradients of a worker lie in one tensor, so that one norm, one fill and an exchange for
    each bucket of them do the work of one for each parameter; most of the exchange takes place during backward.

    On a GPU that would wait for the CPU, the step of one worker up to its gradients becomes a CUDA graph, if `graphs`
    may be used; it computes the same.

    An optimizer that needs a closure computes loss and gradient of the batch as often as it likes. Workers exchange
    both each time, so that all of them take the same decisions.

    Raises:
        ConfigError: a gradient that is clipped is of no use to an optimizer that needs a closure.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        *,
        workers: Workers = Workers(),  # noqa: B008 (frozen)
        autocast: torch.dtype | None = None,
        gradient_clip: float | None = None,
        compression: Compression = "none",
        bucket_bytes: int = BUCKET_BYTES,
        graphs: bool = True,
    ):
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.workers = workers
        self.autocast = autocast
        self.gradient_clip = gradient_clip
        self.by_closure = needs_closure(optimizer)
        if self.by_closure:
            # Such an optimizer takes all gradients as one row of numbers, which kernels with their channels together
            # in memory are not.
            network.to(memory_format=torch.contiguous_format)
        if gradient_clip is not None:
            refuse_clipping(optimizer)
        self.penalty: Callable[[], torch.Tensor | None] = getattr(network, "penalty", lambda: None)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        shared = workers.size > 1 or self.by_closure
        self.shared = (
            SharedGradient(self.parameters, workers, bucket_bytes=bucket_bytes, compression=compression)
            if shared
            else None
        )
        self.graphed = Graphed(self.parameters) if graphs else None
        self._asked = False
        self._wishes: collections.deque[torch.Tensor] = collections.deque(maxlen=_STEPS_BEFORE_LOOKING)

    def __call__(self, batch: torch.Tensor, target: torch.Tensor, num_samples: int, *, stop: bool = False) -> Trained:
        """Update the network from this worker's part of a global batch of `num_samples`; the part may be empty.

        If one of the workers is asked to `stop`, all of them are told so after the same step.
        """
        started = time.perf_counter()
        self._asked = stop
        if self.by_closure:
            loss, lengths, exchanged = self._search(batch, target, num_samples)
        else:
            loss, lengths, exchanged = self._differentiate(batch, target, num_samples)
            if self.gradient_clip is not None:
                norm = torch.linalg.vector_norm(lengths)
                torch.nn.utils.clip_grads_with_norm_(self.parameters, self.gradient_clip, norm)
            self.optimizer.step()
        return Trained(loss, lengths, time.perf_counter() - started - exchanged, exchanged, self._all_stop())

    def _all_stop(self) -> bool:
        if self.shared is None or self.workers.size == 1:
            return self._asked
        if self.shared.stop.device.type == "cpu":
            return self.shared.stop.item() > 0
        # A number of the GPU is looked at some steps later, so that the CPU need not wait for it.
        due = self._wishes[0].item() > 0 if len(self._wishes) == _STEPS_BEFORE_LOOKING else False
        self._wishes.append(self.shared.stop.clone())
        return due

    def _search(
        self, batch: torch.Tensor, target: torch.Tensor, num_samples: int
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Let the optimizer minimize the batch; loss and lengths before the first step, and seconds of exchange."""
        looks: list[tuple[torch.Tensor, torch.Tensor, float]] = []
        draws = _Draws(batch.device)

        def closure() -> float:
            # The same dropout each time: a line search needs one function, not a new one at every look.
            draws.repeat()
            looks.append(self._differentiate(batch, target, num_samples))
            return looks[-1][0].item()

        self.optimizer.step(closure)
        loss, lengths, _ = looks[0]
        return loss, lengths, sum(seconds for _, _, seconds in looks)

    def _differentiate(
        self, batch: torch.Tensor, target: torch.Tensor, num_samples: int
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Set the gradient of the global batch; its loss, the gradient's lengths, and seconds of exchange."""
        if self.shared is None:
            if self.graphed is None or not batch.is_cuda:
                loss, lengths = self._alone(batch, target)
            else:
                loss, lengths = self.graphed(self._alone, batch, target)
            return loss, lengths, 0.0
        loss, exchanged = self._together(self.shared, batch, target, num_samples)
        return loss, self.shared.gradient.norm()[None], exchanged

    def _alone(self, batch: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of a batch, and the lengths of its gradient, which is set."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch, target)
        loss.backward()
        return loss.detach(), _lengths([p.grad for p in self.parameters if p.grad is not None])

    def _together(
        self, shared: SharedGradient, batch: torch.Tensor, target: torch.Tensor, num_samples: int
    ) -> tuple[torch.Tensor, float]:
        shared.begin()
        if self._asked:
            shared.stop.fill_(1.0)
        if len(batch):
            loss = self._loss(batch, target)
            # A number of the CPU stays there: moving it to the GPU would make the CPU wait.
            share: torch.Tensor | float = len(batch) / num_samples
            if self.loss.weight:
                share = (self.loss.weight(target) / num_samples).to(loss.dtype)
            shared.loss.copy_(loss.detach() * share)
            shared.weight.fill_(share)
            (loss * share).backward()
        waited = shared.finish()
        if self.loss.weight:
            # The shares add up to one only where every sample counts the same; to nothing if all are ignored.
            shared.everything.div_(torch.where(shared.weight > 0, shared.weight, 1.0))
        return shared.loss.clone(), waited

    def _loss(self, batch: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        with _autocast(batch, self.autocast):
            output = self.network(to_input(batch))
        loss = self.loss(output.float(), target)
        penalty = self.penalty()
        return loss if penalty is None else loss + penalty


class _Draws:
    """The state of the random numbers at one moment, to draw the same ones again."""

    def __init__(self, device: torch.device):
        self._device = device
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def repeat(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)


def _lengths(gradients: list[torch.Tensor]) -> torch.Tensor:
    """(P,) the length of each gradient; in half the time of torch's own norm, which sorts them by device first."""
    return torch.stack(torch._foreach_norm(gradients))  # pyright: ignore[reportPrivateImportUsage]
