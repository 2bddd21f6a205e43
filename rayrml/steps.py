"""What happens to one batch: the training step and the evaluation step, on tensors alone."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from rayrml.cuda_graphs import Graphed
from rayrml.errors import ConfigError, Problem
from rayrml.floats import to_input
from rayrml.gradients import BUCKET_BYTES, Compression, SharedGradient
from rayrml.losses import Loss
from rayrml.metrics import METRICS, Metric, Pairs
from rayrml.optimizers import needs_closure
from rayrml.workers import Workers

_STEPS_BEFORE_LOOKING = 3


def as_target(target: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Targets as the loss takes them: arrays (N, 1, *spatial) of class numbers become indices (N, *spatial) int64.

    Shares of the classes (N, C) stay as they are.
    """
    shares = loss.accepts_shares and target.ndim == 2 and target.shape[1] > 1
    if loss.targets == "labels" and target.is_floating_point() and not shares:
        target = target.squeeze(1) if target.ndim > 1 and target.shape[1] == 1 else target
        return target.round().long()
    return target


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type that `precision` (`float32`, `bf16`, `auto`) makes of float32 on this device, None to keep it."""
    if precision == "bf16":
        return torch.bfloat16
    if precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return None


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


def metric_of(loss: Loss, wanted: str | None = None) -> Metric | None:
    """The metric that evaluation reports beside the loss: the wanted one, or else the loss's own, None for none."""
    name = wanted or loss.metric
    return None if name is None else METRICS[name](ignore_index=loss.ignore_index)


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
        if self.by_closure and gradient_clip is not None:
            message = "cannot be used with this optimizer, whose line search needs the loss's own gradient"
            raise ConfigError(Problem("neural_network.gradient_clip", message))
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


class EvaluationStep:
    """Loss and metric of batches, added up over an epoch and over workers.

    Attributes:
        totals: the metric's sums over all workers, for its `value` and `report`; set by `result`.
        confusion: (classes, classes) how often each true class was taken for which by all workers; set by `result`,
            and None where samples have not one label each.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss | None,
        metric: Metric | None,
        *,
        workers: Workers = Workers(),  # noqa: B008 (frozen)
        autocast: torch.dtype | None = None,
    ):
        self.network = network
        self.loss = loss
        self.metric = metric
        self.workers = workers
        self.autocast = autocast
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._loss: torch.Tensor | float = 0.0
        self._weight: torch.Tensor | float = 0.0
        self._sums: torch.Tensor | None = None
        self._pairs = Pairs(None if self.loss is None else self.loss.ignore_index)
        self.totals: torch.Tensor | None = None
        self.confusion: torch.Tensor | None = None

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor, target: torch.Tensor | None) -> torch.Tensor:
        """The network's output (N, ...) for a batch, whose loss and metric are added to what there is.

        It has the values that the loss's problem prescribes, also where there is no target.
        """
        with _autocast(batch, self.autocast):
            output = self.network(to_input(batch)).float()
        if self.loss is not None:
            output = self.loss.imposed(output)
        if target is not None and self.loss is not None:
            self._add(self.loss, output, target)
        return output

    def _add(self, loss: Loss, output: torch.Tensor, target: torch.Tensor) -> None:
        weight = loss.weight(target) if loss.weight else len(output)
        self._loss = self._loss + loss(output, target).double() * weight
        self._weight = self._weight + weight
        if self.metric is not None:
            scores = output if loss.probabilities is None else loss.probabilities(output)
            sums = self.metric.sums(scores, target)
            self._sums = sums if self._sums is None else self._sums + sums
            self._pairs.add(scores, target)

    def result(self, device: torch.device) -> tuple[float, float | None]:
        """Mean loss and metric (None without one) over all samples of all workers; every worker must call it."""
        mean = torch.as_tensor([self._loss, self._weight], dtype=torch.float64, device=device)
        own = [mean, self._sums, self._pairs.counts]
        # Of workers without samples nobody knows how many sums they would have.
        sizes = [max(each) for each in zip(*self.workers.gather([_numel(part) for part in own]), strict=True)]
        all_sums = self.workers.sum(torch.cat([_filled(*part, device) for part in zip(own, sizes, strict=True)]))
        mean, self.totals, pairs = all_sums.split(sizes)
        loss, weight = mean.tolist()
        if sizes[-1]:
            self.confusion = pairs.view(math.isqrt(sizes[-1]), -1)
        return loss / (weight or 1.0), None if self.metric is None else self.metric.value(self.totals)


def _numel(sums: torch.Tensor | None) -> int:
    return 0 if sums is None else sums.numel()


def _filled(sums: torch.Tensor | None, size: int, device: torch.device) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.float64, device=device) if sums is None else sums


def _lengths(gradients: list[torch.Tensor]) -> torch.Tensor:
    """(P,) the length of each gradient; in half the time of torch's own norm, which sorts them by device first."""
    return torch.stack(torch._foreach_norm(gradients))  # pyright: ignore[reportPrivateImportUsage]


def _autocast(batch: torch.Tensor, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if dtype is None else torch.autocast(batch.device.type, dtype=dtype)
