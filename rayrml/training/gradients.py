"""The gradient of a global batch, which workers add up while backward is still running."""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from rayrml.training.wishes import NUM_WISHES
from rayrml.workers import Pending, Workers

Compression = Literal["none", "bf16"]
# Large enough for the links' full speed, small enough that most of the exchange takes place during backward.
# Source: arXiv 2006.15704, section 5.2.
BUCKET_BYTES = 25 * 2**20
_NUM_NOTES = 2 + NUM_WISHES  # numbers that are sent with the gradients: loss, weight, and the wishes


class SharedGradient:
    """All gradients, the loss, its weight and the workers' wishes in one tensor, which workers add up bucket by bucket.

    The buckets start with the last parameters, as backward does, and each is sent as soon as its gradients are ready.
    All workers send them in the same order, whichever is ready first, even a worker whose part of the batch is empty.

    Args:
        parameters: the parameters to share the gradients of; from now on their `grad` is a view of `gradient`.
        workers: the workers that share them.
        bucket_bytes: smallest size of a bucket, except the last one.
        compression: `bf16` sends gradients in 16 bits; the other numbers are sent in full.
        num_terms: of how many terms the loss consists.

    Attributes:
        gradient: all gradients, one after the other.
        loss: this worker's part of the loss, and the whole loss after `finish`; a scalar.
        weight: this worker's share of the batch, and the sum of all shares after `finish`; a scalar.
        terms: this worker's part of the terms of the loss, and the whole ones after `finish`.
        wishes: (NUM_WISHES,) 1 for each wish of this worker; after `finish`, above 0 for each of any worker.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        workers: Workers,
        *,
        bucket_bytes: int = BUCKET_BYTES,
        compression: Compression = "none",
        num_terms: int = 0,
    ):
        parameters = parameters[::-1]
        num_notes = _NUM_NOTES + num_terms
        counts = [p.numel() for p in parameters]
        first = parameters[0]
        self.everything = torch.zeros(sum(counts) + num_notes, dtype=first.dtype, device=first.device)
        self.gradient = self.everything[:-num_notes]
        self.loss, self.weight, *_ = notes = self.everything[-num_notes:]
        self.terms = notes[2:-NUM_WISHES]
        self.wishes = self.everything[-NUM_WISHES:]
        for parameter, piece in zip(parameters, self.gradient.split(counts), strict=True):
            # In the parameter's own memory order (kernels are in channels-last format): fused optimizers traverse
            # parameter and gradient together and ignore the strides.
            parameter.grad = piece.as_strided(parameter.size(), parameter.stride())
        self._parameters = parameters
        groups = _grouped([p.numel() * p.element_size() for p in parameters], bucket_bytes)
        sizes = [sum(counts[group.start : group.stop]) for group in groups]
        numbers = [len(group) for group in groups]
        sent_as = torch.bfloat16 if compression == "bf16" and workers.size > 1 else None
        if sent_as is None:
            sizes[-1] += num_notes
        else:
            # These stay exact, in a bucket of their own.
            sizes, numbers = [*sizes, num_notes], [*numbers, 0]
        self._buckets = [
            _Bucket(values, number, sent_as if number else None)
            for values, number in zip(self.everything.split(sizes), numbers, strict=True)
        ]
        self._workers = workers
        self._missing: list[int] = []
        self._started = 0
        self._open = False
        if workers.size > 1 and len(groups) > 1:
            self._listen([[parameters[i] for i in group] for group in groups])

    @property
    def gradients(self) -> list[torch.Tensor]:
        """All gradients."""
        return [self.gradient]

    def begin(self) -> None:
        """Set everything to zero."""
        self.everything.zero_()

    def send(self) -> None:
        """Send the gradients as they become complete in the next backward, which is the last of this batch."""
        self._missing = [bucket.num_parameters for bucket in self._buckets]
        self._started = 0
        self._open = True

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Discard the gradients of a backward in the block; they are sent as they were before, as if it added zero."""
        own = [parameter.grad for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        try:
            yield
        finally:
            for parameter, gradient in zip(self._parameters, own, strict=True):
                parameter.grad = gradient

    def finish(self) -> float:
        """Wait until everything is the sum over all workers; return the seconds that this took."""
        began = time.perf_counter()
        self._open = False
        # What backward has not reached: unused parameters, and all parameters where the part has no samples.
        self._start(len(self._buckets))
        for bucket in self._buckets:
            bucket.finish()
        return time.perf_counter() - began

    def normalize(self) -> None:
        """Divide everything by the sum of the shares, unless that is 0."""
        self.everything.div_(torch.where(self.weight > 0, self.weight, 1.0))

    def penalize(self, scale: torch.Tensor | float) -> None:
        """Nothing is left to be added: the workers' losses contain the penalties of weights."""

    def length(self) -> torch.Tensor:
        """The norm of the gradient, a scalar."""
        return self.gradient.norm()

    def _listen(self, groups: list[list[nn.Parameter]]) -> None:
        """Call `arrived` for each complete gradient, as long as this object lives."""
        # The parameters live longer; without the weak reference they would keep this object alive.
        this: weakref.ref[SharedGradient] = weakref.ref(self)
        handles = [
            parameter.register_post_accumulate_grad_hook(functools.partial(_tell, this, number))
            for number, group in enumerate(groups)
            for parameter in group
        ]
        weakref.finalize(self, _remove, handles).atexit = False

    def arrived(self, number: int) -> None:
        """Count one more complete gradient of bucket `number`."""
        if not self._open:
            return
        self._missing[number] -= 1
        ready = self._started
        while ready < len(self._missing) and self._missing[ready] <= 0:
            ready += 1
        self._start(ready)

    def _start(self, end: int) -> None:
        for bucket in self._buckets[self._started : end]:
            bucket.start(self._workers)
        self._started = end


class _Bucket:
    """Adjacent values that are sent together, converted to `dtype` if one is given."""

    def __init__(self, values: torch.Tensor, num_parameters: int, dtype: torch.dtype | None = None):
        self.num_parameters = num_parameters
        self._values = values
        self._sent = values if dtype is None else torch.empty_like(values, dtype=dtype)
        self._pending: Pending | None = None

    def start(self, workers: Workers) -> None:
        if self._sent is not self._values:
            self._sent.copy_(self._values)
        self._pending = workers.start_sum(self._sent)

    def finish(self) -> None:
        if self._pending is not None:
            self._pending.wait()
            self._pending = None
        if self._sent is not self._values:
            self._values.copy_(self._sent)


def _grouped(sizes: list[int], least: int) -> list[range]:
    """Groups of neighbours whose total size is at least `least`; the last group holds the remainder."""
    groups: list[range] = []
    start = total = 0
    for i, size in enumerate(sizes):
        total += size
        if total >= least or i == len(sizes) - 1:
            groups.append(range(start, i + 1))
            start, total = i + 1, 0
    return groups


def _tell(reference: weakref.ref[SharedGradient], number: int, _parameter: torch.Tensor) -> None:
    shared = reference()
    if shared is not None:
        shared.arrived(number)


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()
