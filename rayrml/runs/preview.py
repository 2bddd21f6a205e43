"""A batch of training as the network gets it, and what the values of some hundreds of samples are; Ray is not needed.

The samples, their order, their random numbers and their transforms are those of the first epoch of training with one
worker. Without training samples, it is the first batch of the evaluation.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import torch

from rayrml.boxes.batch import Boxes
from rayrml.data.decode_tasks import decode_now
from rayrml.data.draws import Draws
from rayrml.data.sampling import Picks
from rayrml.data.shards import boxes_of, to_numbers
from rayrml.data.sources import Source
from rayrml.data.transforms import BatchTransforms
from rayrml.data.transforms.steps import Step
from rayrml.data.transforms.values import Normalize
from rayrml.errors import DataError, Problem
from rayrml.inference.evaluation import as_target
from rayrml.planning.plan import Plan
from rayrml.runs.channel_statistics import ChannelStatistics
from rayrml.training.sample_order import list_batches, transforms_seed
from rayrml.workers import global_batch_sizes

_EPOCH = 1
_MOST_SAMPLES = 300  # whose values are looked at, besides the rest of their batch
_MOST_BYTES = 2**30  # of decoded samples of a batch
_SECONDS = 20.0  # after which no further batch is begun


@dataclasses.dataclass(frozen=True)
class Preview:
    """A batch, and the values of the samples that were looked at.

    Attributes:
        source: where the samples are from.
        names: of the samples of the batch.
        inputs: (n, C, *spatial) as the network gets them.
        targets: as the loss gets them; None if there are none, or if they are boxes.
        boxes: the true boxes in pixels of the inputs; None if targets are no boxes.
        size: how many samples the batch has in training; more than n if they are too large to be looked at together.
        normalized: the steps of inputs that normalize, in their order.
        before: the inputs of all samples that were looked at, before the first of these steps, or else after all.
        after: the inputs of the same samples as the network gets them.
        skipped: what is wrong with samples that were left out.
    """

    source: Source
    names: tuple[str, ...]
    inputs: torch.Tensor
    targets: torch.Tensor | None
    boxes: Boxes | None
    size: int
    normalized: tuple[Step, ...]
    before: ChannelStatistics
    after: ChannelStatistics
    skipped: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Batch:
    """A batch before the transforms on the device."""

    names: tuple[str, ...]
    input: torch.Tensor
    target: torch.Tensor | Boxes | None
    draws: Draws | None
    size: int


def preview(plan: Plan) -> Preview:
    """The first batch of a plan, and the values of some hundreds of samples.

    Raises:
        DataError: a sample cannot be used, and such samples are not to be skipped; or the plan has no samples.
    """
    source = plan.training or plan.test
    if source is None:
        raise DataError("there are no samples to look at")
    transforms = plan.datasets.transforms.batched
    transforms = transforms if plan.training is not None else transforms.evaluation()
    normalized = tuple(step for step in transforms.steps if is_normalization(step, "input"))
    early = _before(transforms, normalized[0]) if normalized else transforms
    before, after, skipped = ChannelStatistics(), ChannelStatistics(), []
    first: tuple[_Batch, torch.Tensor, torch.Tensor | Boxes | None] | None = None
    end = time.monotonic() + _SECONDS
    for batch in _batches(plan, source, skipped):
        if batch.input.shape[1] == (len(after.mean) or batch.input.shape[1]):
            inputs, targets = transforms(batch.input, batch.target, batch.draws)
            first = first or (batch, inputs, targets)
            after.add(inputs)
            before.add(early(batch.input, batch.target, batch.draws)[0] if normalized else inputs)
        if after.num_samples >= _MOST_SAMPLES or time.monotonic() > end:
            break
    if first is None:
        raise DataError(*(Problem("", reason) for reason in skipped[:1]), Problem("", "no sample can be used"))
    batch, inputs, targets = first
    boxes = targets if isinstance(targets, Boxes) else None
    loss = None if plan.loss is None else plan.loss.build()
    shown = None if isinstance(targets, Boxes) else targets
    shown = shown if shown is None or loss is None else as_target(shown, loss)
    return Preview(source, batch.names, inputs, shown, boxes, batch.size, normalized, before, after, tuple(skipped))


def is_normalization(step: Step, part: str) -> bool:
    """Whether a step normalizes the inputs (`input`) or the targets (`target`)."""
    return isinstance(step.transform, Normalize) and step.part in (part, "both")


def _before(transforms: BatchTransforms, step: Step) -> BatchTransforms:
    """Only the steps before this one."""
    return dataclasses.replace(transforms, steps=transforms.steps[: transforms.steps.index(step)])


def _batches(plan: Plan, source: Source, skipped: list[str]) -> Iterator[_Batch]:
    """The batches of the first epoch; the reasons why samples are left out are added to `skipped`."""
    nn, trains = plan.config.neural_network, plan.training is not None
    picked = list_batches(nn, source, _EPOCH) if trains else _in_order(source, nn.data.test_batch_size)
    seed = transforms_seed(nn.seed, _EPOCH) if trains else None
    for group, picks in picked:
        most = max(_MOST_BYTES // group.bytes_per_sample, 1)
        decoded = decode_now(group, picks.at(slice(most)), seed)
        good = decoded.errors == ""
        reasons = [str(reason) for reason in decoded.errors[~good]]
        if reasons and not nn.data.skips:
            raise DataError(reasons[0])
        skipped += reasons
        if not good.any():
            continue
        kept = picks.at(slice(most)).at(good)
        samples, labels = source.samples, source.samples.targets
        read = None if decoded.targets is None else torch.from_numpy(decoded.targets[good])
        target = torch.from_numpy(labels[kept.samples]) if read is None and labels is not None else read
        if target is not None and samples.labels is None:
            target = to_numbers(target, pixels=source.target is not None and source.target.pixels)
        draws = None if seed is None else Draws(seed, kept.uses)
        if samples.boxes is not None:
            original = boxes_of(samples.boxes, kept.samples)
            target = plan.datasets.transforms.decoded_boxes(original.boxes, original.sizes, draws)
        yield _Batch(
            tuple(samples.name(index) for index in kept.samples),
            to_numbers(torch.from_numpy(decoded.inputs[good]), pixels=source.input.pixels),
            target,
            draws,
            len(picks.samples),
        )


def _in_order(source: Source, batch_size: int) -> Iterator[tuple[Source, Picks]]:
    """The batches of an evaluation."""
    for group in source.groups():
        ends = np.cumsum(global_batch_sizes(len(group.indices), batch_size))[:-1]
        yield from ((group.source, Picks.once(part)) for part in np.split(group.indices, ends))
