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
from rayrml.networks.layers.layer import smallest
from rayrml.networks.layers.layout import Shape
from rayrml.networks.layers.recomputation import Recomputing

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


def find_segments(
    steps: Sequence[Step], results: Sequence[int], shapes: Sequence[Shape], modules: Set[str] | None = None
) -> tuple[Segment, ...]:
    """The segments that make the network's activations take least memory, all of them recomputed.

    Args:
        steps: the network's calls.
        results: slots of the network's outputs.
        shapes: of the tensor in each slot; unknown sizes count as 1.
        modules: names of the modules that may be recomputed, None for all; calls of others are segments that are not.
    """
    sizes = [math.prod(smallest(shape)) for shape in shapes]
    kept = _kept_after(steps, results, sizes)
    segments: list[Segment] = []
    start = 0
    for chosen, calls in itertools.groupby(steps, key=lambda step: modules is None or step.module in modules):
        own = list(calls)
        ends = (
            _find_ends([sizes[step.output] for step in own], kept[start : start + len(own)]) if chosen else [len(own)]
        )
        for a, b in itertools.pairwise([0, *ends]):
            segments.append(_segment(steps, results, start + a, start + b, recomputed=chosen))
        start += len(own)
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
    return contextlib.nullcontext(), Recomputing()


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


def _find_ends(sizes: Sequence[int], kept: Sequence[int]) -> list[int]:
    """Where to cut calls with results of these `sizes`, after which `kept` numbers are needed, for least memory."""
    tried = (_cut(sizes, kept, limit) for limit in _limits(sizes))
    return min(tried, key=lambda ends: (_cost(sizes, kept, ends), len(ends)))


def _limits(sizes: Sequence[int]) -> Iterator[float]:
    """Sizes of segments to try, from that of a single call to that of all."""
    total, least = sum(sizes), max(sizes)
    for number in range(_SIZES_TO_TRY + 1):
        yield least * (total / least) ** (number / _SIZES_TO_TRY)


def _cut(sizes: Sequence[int], kept: Sequence[int], limit: float) -> list[int]:
    """Ends of segments of at most `limit` numbers each, where the fewest are kept."""
    ends: list[int] = []
    start = 0
    while start < len(sizes):
        stop, inside = start, 0
        while stop < len(sizes) and (stop == start or inside + sizes[stop] <= limit):
            inside += sizes[stop]
            stop += 1
        if stop < len(sizes):
            # In the second half, so that segments do not become many.
            stop = min(range(start + (stop - start + 1) // 2, stop + 1), key=lambda end: (kept[end - 1], -end))
        ends.append(stop)
        start = stop
    return ends


def _cost(sizes: Sequence[int], kept: Sequence[int], ends: Sequence[int]) -> int:
    """The most numbers at once: what is kept between segments, and what one of them computes once more."""
    inner = [sum(sizes[a:b]) for a, b in itertools.pairwise([0, *ends])]
    return sum(kept[end - 1] for end in ends[:-1]) + max(inner)
