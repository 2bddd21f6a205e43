"""Activation checkpointing: parts of a network whose inner tensors are not kept for backward but computed once more.

Source: arXiv 1604.06174.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any, NamedTuple

from torch.utils.checkpoint import checkpoint

from rayrml.networks.execution import Step
from rayrml.networks.layers.layout import Shape
from rayrml.networks.layers.recomputation import recomputing

_SIZES_TO_TRY = 24


class Segment(NamedTuple):
    """Consecutive calls.

    Attributes:
        start: number of the first call.
        stop: number of the one after the last.
        inputs: slots of the tensors from before that the calls take.
        outputs: slots of their tensors that are needed afterwards.
        recomputed: whether only the inputs are kept for backward.
    """

    start: int
    stop: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    recomputed: bool


def find_segments(steps: Sequence[Step], results: Sequence[int], shapes: Sequence[Shape]) -> tuple[Segment, ...]:
    """The segments that make the network's activations take least memory, all of them recomputed.

    Args:
        steps: the network's calls.
        results: slots of the network's outputs.
        shapes: of the tensor in each slot; unknown sizes count as 1.
    """
    sizes = [math.prod(size or 1 for size in shape) for shape in shapes]
    kept = _kept_after(steps, results, sizes)
    tried = (_cut(steps, sizes, kept, limit) for limit in _limits(steps, sizes))
    best = min(tried, key=lambda ends: _cost(steps, sizes, kept, ends))
    return tuple(
        _segment(steps, results, start, stop, recomputed=True) for start, stop in itertools.pairwise([0, *best])
    )


def choose_segments(steps: Sequence[Step], results: Sequence[int], modules: Set[str]) -> tuple[Segment, ...]:
    """The segments of these modules: consecutive calls of them are recomputed together, all others are not."""
    segments: list[Segment] = []
    start = 0
    for chosen, calls in itertools.groupby(steps, key=lambda step: step.module in modules):
        stop = start + len(list(calls))
        segments.append(_segment(steps, results, start, stop, recomputed=chosen))
        start = stop
    return tuple(segments)


def compute_segments(
    segments: Sequence[Segment], steps: Sequence[Step], values: list[Any], compute: Callable[[list[Any], Any], None]
) -> None:
    """Do the calls of a network for training.

    Args:
        segments: of its calls, in order.
        steps: its calls.
        values: a tensor for each slot; those of the network's inputs are there, and those of its outputs in the end.
        compute: does some of the calls, with the tensors in a list like `values`.
    """
    for segment in segments:
        own = steps[segment.start : segment.stop]
        if not segment.recomputed:
            compute(values, own)
            continue
        again = functools.partial(_compute_apart, segment, own, len(values), compute)
        made = checkpoint(again, *(values[i] for i in segment.inputs), use_reentrant=False, context_fn=_contexts)
        for slot in itertools.chain.from_iterable(step.free for step in own):
            values[slot] = None
        for slot, value in zip(segment.outputs, made, strict=True):
            values[slot] = value


def _compute_apart(
    segment: Segment, steps: Sequence[Step], num_slots: int, compute: Callable[[list[Any], Any], None], *given: Any
) -> tuple[Any, ...]:
    """The outputs of a segment, given its inputs; tensors inside of it are found nowhere else."""
    values: list[Any] = [None] * num_slots
    for slot, value in zip(segment.inputs, given, strict=True):
        values[slot] = value
    compute(values, steps)
    return tuple(values[slot] for slot in segment.outputs)


def _contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """What surrounds the computation of a segment, and its repetition."""
    return contextlib.nullcontext(), recomputing()


def _segment(steps: Sequence[Step], results: Sequence[int], start: int, stop: int, *, recomputed: bool) -> Segment:
    made = {step.output for step in steps[start:stop]}
    taken = dict.fromkeys(slot for step in steps[start:stop] for slot in step.inputs)
    later = {slot for step in steps[stop:] for slot in step.inputs} | set(results)
    outputs = tuple(step.output for step in steps[start:stop] if step.output in later)
    return Segment(start, stop, tuple(slot for slot in taken if slot not in made), outputs, recomputed)


def _kept_after(steps: Sequence[Step], results: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """How many numbers are needed after each call by later ones, without the network's inputs."""
    last = {slot: number for number, step in enumerate(steps) for slot in step.inputs}
    last |= dict.fromkeys(results, len(steps))
    kept, now = [], 0
    ends: dict[int, list[int]] = {}
    for number, step in enumerate(steps):
        if last.get(step.output, -1) > number:
            now += sizes[step.output]
            ends.setdefault(last[step.output], []).append(step.output)
        now -= sum(sizes[slot] for slot in ends.pop(number, ()))
        kept.append(now)
    return kept


def _limits(steps: Sequence[Step], sizes: Sequence[int]) -> Iterator[float]:
    """Sizes of segments to try, from that of a single call to that of all."""
    total = sum(sizes[step.output] for step in steps)
    least = max(sizes[step.output] for step in steps)
    for number in range(_SIZES_TO_TRY + 1):
        yield least * (total / least) ** (number / _SIZES_TO_TRY)


def _cut(steps: Sequence[Step], sizes: Sequence[int], kept: Sequence[int], limit: float) -> list[int]:
    """Ends of segments of at most `limit` numbers each, where the fewest are kept."""
    ends: list[int] = []
    start = 0
    while start < len(steps):
        stop, inside = start, 0
        while stop < len(steps) and (stop == start or inside + sizes[steps[stop].output] <= limit):
            inside += sizes[steps[stop].output]
            stop += 1
        if stop < len(steps):
            # In the second half, so that segments do not become many.
            stop = min(range(start + (stop - start + 1) // 2, stop + 1), key=lambda end: (kept[end - 1], -end))
        ends.append(stop)
        start = stop
    return ends


def _cost(steps: Sequence[Step], sizes: Sequence[int], kept: Sequence[int], ends: Sequence[int]) -> int:
    """The most numbers at once: what is kept between segments, and what one of them computes once more."""
    inner = [sum(sizes[step.output] for step in steps[a:b]) for a, b in itertools.pairwise([0, *ends])]
    return sum(kept[end - 1] for end in ends[:-1]) + max(inner)
