"""One training step, on tensors alone."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from rayrml.inference import arithmetic
from rayrml.losses import Loss
from rayrml.networks.layers.normalization import share_statistics
from rayrml.optimizers import needs_closure, refuse_clipping
from rayrml.tensors import to_input
from rayrml.training.cuda_graphs import Graphed
from rayrml.training.gradients import BUCKET_BYTES
from rayrml.training.loss_scaling import LossScaler
from rayrml.training.micro_batches import micro_batches
from rayrml.training.running_statistics import unchanged_statistics
from rayrml.training.sharding import Exchange, Sharding
from rayrml.training.wishes import Wishes
from rayrml.workers import Workers

_STEPS_BEFORE_LOOKING = 3


@dataclasses.dataclass
class Trained:
    """A training step's figures for the log.

    Attributes:
        loss: mean over the global batch, including regularization, before the update; a scalar on the device.
        lengths: (P,) norm of each parameter's gradient over the global batch, before clipping; on the device.
        compute_seconds: time in forward, backward and update.
        reduce_seconds: time spent waiting for other workers' gradients.
        weight: what the global batch's mean loss divides by, a scalar on the device; None if that is its samples.
        wishes: what all workers do after this step because one of them was asked to, or asks for it.
        skipped: 1 if loss scaling has skipped the update, else 0, a scalar on the device; None without loss scaling.
        terms: (T,) the terms of the loss, means over the global batch, on the device; None if it is of one piece.
    """

    loss: torch.Tensor
    lengths: torch.Tensor
    compute_seconds: float
    reduce_seconds: float
    weight: torch.Tensor | None = None
    wishes: Wishes = dataclasses.field(default_factory=Wishes)
    skipped: torch.Tensor | None = None
    terms: torch.Tensor | None = None

    @property
    def gradient_norm(self) -> torch.Tensor:
        """The norm of the whole gradient, a scalar on the device."""
        return torch.linalg.vector_norm(self.lengths)


class Step(Protocol):
    """What trains with one global batch, of which this worker holds a part."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Updates the network; its learning rate is the one that is reported."""
        ...

    def __call__(
        self,
        batch: torch.Tensor,
        target: Any,
        num_samples: int,
        *,
        begin: int = 0,
        wishes: Wishes = Wishes(),  # noqa: B008 (immutable)
    ) -> Trained:
        """Train with this worker's part of a global batch of `num_samples`; see `TrainingStep`."""
        ...


class TrainingStep:
    """One update of the network from one global batch, of which this worker holds a part.

    The gradient is that of the global batch's mean loss, for any number of workers and any split: each worker's mean
    is weighted by its share, and batch normalization is by the global batch. All gradients of a worker are in one
    tensor, so one norm, one fill and one exchange per bucket replace one per parameter; most of the exchange takes
    place during backward.

    If `graphs` is set and the GPU would wait for the CPU, a single worker's step up to its gradients is captured as a
    CUDA graph; the results are the same.

    With `accumulate`, a batch is computed in so many micro-batches one after the other; their gradients add up to the
    batch's, but batch normalization sees one (global) micro-batch at a time. With a `scaler`, the loss is scaled in
    backward, and steps whose losses or gradients are not finite are skipped.

    An optimizer that needs a closure computes the batch's loss and gradient as often as it likes. Workers exchange
    both each time, so they all make the same decisions.

    Raises:
        ConfigError: gradient clipping is not possible with an optimizer that needs a closure.
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
        bucket_bytes: int = BUCKET_BYTES,
        graphs: bool = True,
        accumulate: int = 1,
        global_batch_norm: bool = True,
        sample_shape: Sequence[int] = (),
        sharding: Sharding | None = None,
        before_update: Callable[[], None] = lambda: None,
        scaler: LossScaler | None = None,
    ):
        self.network, self.computing = network, [network]  # the second: all networks that compute in a step
        self.loss = loss
        self.optimizer = optimizer
        self.workers = workers
        self.autocast = autocast
        self.gradient_clip = gradient_clip
        self.accumulate = accumulate
        self.sample_shape = tuple(sample_shape)
        self.sharding = Sharding(network, workers) if sharding is None else sharding
        self.before_update = before_update
        self.statistics = share_statistics(network, workers, everywhere=global_batch_norm)
        self.scaler = scaler
        self.by_closure = needs_closure(optimizer)
        if self.by_closure:
            # Such an optimizer views all gradients as one flat vector, which is not possible for kernels in
            # channels-last format.
            network.to(memory_format=torch.contiguous_format)
        if gradient_clip is not None:
            refuse_clipping(optimizer)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.dtype = self.parameters[0].dtype
        self.own = [self.sharding.own(parameter) for parameter in self.parameters]
        needed = self.by_closure or accumulate > 1
        num_terms = len(loss.term_names)
        how = {"needed": needed, "bucket_bytes": bucket_bytes, "num_terms": num_terms}
        self.shared = self.sharding.exchange(self.parameters, **how)
        self._terms: torch.Tensor | None = None  # of the loss that was computed last
        # A graph needs targets of one shape, which boxes do not have.
        self.graphed = Graphed(self.parameters) if graphs and loss.targets != "boxes" else None
        self._counted: torch.Tensor | None = None  # what the last global batch's loss divided by
        self._asked = Wishes()
        self._wishes: collections.deque[torch.Tensor] = collections.deque(maxlen=_STEPS_BEFORE_LOOKING)

    def __call__(
        self,
        batch: torch.Tensor,
        target: Any,
        num_samples: int,
        *,
        begin: int = 0,
        wishes: Wishes = Wishes(),  # noqa: B008 (immutable)
    ) -> Trained:
        """Update the network from this worker's part of a global batch of `num_samples`; the part may be empty.

        Samples are dealt out in turn, and `begin` of them were dealt out before this batch. If one worker has `wishes`,
        all workers learn of them after the same step.
        """
        started = time.perf_counter()
        self._asked = wishes
        self._slices = micro_batches(num_samples, self.accumulate, len(batch), workers=self.workers, begin=begin)
        if self.by_closure:
            self.before_update()
            loss, lengths, exchanged = self._search(batch, target, num_samples)
        else:
            if self.scaler is not None:
                self.scaler.begin()
            loss, lengths, exchanged = self._differentiate(batch, target, num_samples)
            if self.scaler is not None:
                lengths = self.scaler.unscale(self._gradients(), lengths, loss)
            if self.gradient_clip is not None:
                norm = torch.linalg.vector_norm(lengths)
                torch.nn.utils.clip_grads_with_norm_(self.own, self.gradient_clip, norm)
            self.before_update()
            with self.sharding.updating(self.parameters):
                if self.scaler is None:
                    self.optimizer.step()
                else:
                    self.scaler.step(self.optimizer)
        seconds = time.perf_counter() - started - exchanged
        skipped = None if self.scaler is None else self.scaler.overflow
        return Trained(
            loss, lengths, seconds, exchanged, self._weight(target), self._common_wishes(), skipped, self._terms
        )

    def _weight(self, target: torch.Tensor) -> torch.Tensor | None:
        """What the mean loss of the global batch divides by, if the loss does not count samples."""
        if self.loss.weight is None:
            return None
        return self.loss.weight(target) if self.shared is None else self._counted

    def _common_wishes(self) -> Wishes:
        if self.shared is None or self.workers.size == 1:
            return self._asked
        wishes = self.shared.wishes
        if wishes.device.type == "cpu":
            return _granted(wishes)
        # Values on the GPU are read some steps later, so the CPU need not wait for them.
        due = _granted(self._wishes[0]) if len(self._wishes) == _STEPS_BEFORE_LOOKING else Wishes()
        if due.save:
            self._wishes.clear()  # in the steps since then the wish was the same
        self._wishes.append(wishes.clone())
        return due

    def _search(
        self, batch: torch.Tensor, target: torch.Tensor, num_samples: int
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Let the optimizer minimize the batch's loss; loss and lengths before the first step, and exchange seconds."""
        looks: list[tuple[torch.Tensor, torch.Tensor, float]] = []
        draws = _Draws(batch.device)

        def closure() -> float:
            # The same dropout each time: a line search needs the same function in every evaluation.
            draws.repeat()
            looks.append(self._differentiate(batch, target, num_samples))
            terms.append(self._terms)
            return looks[-1][0].item()

        terms: list[torch.Tensor | None] = []
        self.optimizer.step(closure)
        loss, lengths, _ = looks[0]
        self._terms = terms[0]
        return loss, lengths, sum(seconds for _, _, seconds in looks)

    def _differentiate(
        self, batch: torch.Tensor, target: torch.Tensor, num_samples: int
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Set the global batch's gradient; return its loss, the gradient's lengths, and exchange seconds."""
        if self.shared is None:
            if self.graphed is None or not batch.is_cuda:
                loss, lengths = self._alone(batch, target)
            else:
                loss, lengths = self.graphed(self._alone, batch, target)
            return loss, lengths, 0.0
        loss, exchanged = self._together(self.shared, batch, target, num_samples)
        return loss, self.shared.length()[None], exchanged

    def _alone(self, batch: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Set a batch's gradient; return its loss and the gradient's lengths."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch, target)
        self._backward(loss)
        return loss.detach(), _lengths([p.grad for p in self.parameters if p.grad is not None])

    def _together(
        self, shared: Exchange, batch: torch.Tensor, target: torch.Tensor, num_samples: int
    ) -> tuple[torch.Tensor, float]:
        shared.begin()
        if any(self._asked):
            shared.wishes.copy_(torch.tensor(self._asked))
        for number, part in enumerate(self._slices, 1):
            if number == len(self._slices):
                shared.send()
            if part.start < part.stop:
                self._add(shared, batch[part], target[part], num_samples)
            elif self.sharding.in_lockstep or self.statistics is not None:
                self._go_along(shared, batch)
        waited = shared.finish()
        if self.loss.weight:
            self._counted = shared.weight.to(self.dtype) * num_samples
            # The shares add up to one only if every sample has the same weight, and to zero if all are ignored.
            shared.normalize()
        shared.penalize(1.0 if self.scaler is None else self.scaler.scale)
        self._terms = shared.terms.to(self.dtype, copy=True) if self.loss.term_names else None
        return shared.loss.to(self.dtype, copy=True), waited

    def _add(self, shared: Exchange, batch: torch.Tensor, target: torch.Tensor, num_samples: int) -> None:
        """Add what a micro-batch contributes to the global batch's loss, weight and gradient."""
        with contextlib.nullcontext() if self.statistics is None else self.statistics.step(counts=True):
            loss = self._loss(batch, target)
            # A number on the CPU stays there: moving it to the GPU would make the CPU wait.
            share: torch.Tensor | float = len(batch) / num_samples
            if self.loss.weight:
                share = (self.loss.weight(target) / num_samples).to(loss.dtype)
            shared.loss.add_(loss.detach() * share)
            if self._terms is not None:
                shared.terms.add_(self._terms * share)
            shared.weight.add_(share)
            self._backward(loss * share)

    def _go_along(self, shared: Exchange, batch: torch.Tensor) -> None:
        """Do the exchanges of the other workers, who have samples in this micro-batch, and contribute nothing."""
        shape = self.sample_shape or batch.shape[1:]
        sample = torch.zeros(1, *shape, dtype=self.dtype, device=batch.device)
        statistics = self.statistics
        with contextlib.ExitStack() as stack:
            if statistics is not None:
                stack.enter_context(statistics.step(counts=False))
            for network in self.computing:
                stack.enter_context(unchanged_statistics(network))
            stack.enter_context(shared.aside())
            self._compute_in_vain(sample)

    def _compute_in_vain(self, sample: torch.Tensor) -> None:
        """Do forward and backward of a sample (1, C, *spatial) whose gradients are discarded."""
        with arithmetic.autocast(sample, self.autocast):
            output = self.loss.of_network(self.network(to_input(sample)))
        output.backward(torch.zeros_like(output))

    def _backward(self, loss: torch.Tensor) -> None:
        (loss if self.scaler is None else loss * self.scaler.scale).backward()

    def _gradients(self) -> list[torch.Tensor]:
        if self.shared is not None:
            return self.shared.gradients
        return [p.grad for p in self.parameters if p.grad is not None]

    def _loss(self, batch: torch.Tensor, target: Any) -> torch.Tensor:
        with arithmetic.autocast(batch, self.autocast):
            output = self.network(to_input(batch))
        output = self.loss.of_network(output)
        if self.loss.parts is None:
            loss = self.loss(output, target)
        else:
            loss, terms = self.loss.parts(output, target)
            self._terms = terms.detach()
        penalty = self.sharding.penalty()
        return loss if penalty is None else loss + penalty


def _granted(wishes: torch.Tensor) -> Wishes:
    return Wishes(*(value > 0 for value in wishes.tolist()))


class _Draws:
    """A snapshot of the random number generators, for drawing the same numbers again."""

    def __init__(self, device: torch.device):
        self._device = device
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def repeat(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)


def _lengths(gradients: list[torch.Tensor]) -> torch.Tensor:
    """(P,) the norm of each gradient; takes half the time of torch's own norm, which first sorts them by device."""
    return torch.stack(torch._foreach_norm(gradients))  # pyright: ignore[reportPrivateImportUsage]
