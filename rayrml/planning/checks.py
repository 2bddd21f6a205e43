"""What `rayrml check` shows beyond the plan: class balance, image sizes, and the memory that is needed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rayrml import storage
from rayrml.data import kept_arrays
from rayrml.data.decoding import RESIZE_HINT
from rayrml.data.image_ops import ImageOperations
from rayrml.data.readers.images import read_header
from rayrml.data.sources import Side, Source
from rayrml.errors import MOST_NAMED, DataError
from rayrml.formatting import format_bytes, format_table
from rayrml.losses.adversarial import AdversarialLoss
from rayrml.memory import available_memory
from rayrml.networks.gathering import count_gathered
from rayrml.networks.layers.layer import BYTES_OF_FLOAT, smallest
from rayrml.optimizers import count_state
from rayrml.planning import box_check, memory_estimate
from rayrml.planning.plan import Plan
from rayrml.reporting.wrapping import fit
from rayrml.workers import Workers

_MOST_FILES = 100
# Memory in use per byte of tensors, including gaps that the C library leaves between them: measured, 1.5 to 2.3.
_GAPS = 1.8
_SHORT_SHARE = 0.75  # of the memory with float32, in which some layers still compute
_AND_GRADIENTS = 2  # times the outputs, if nothing better is known


def classes(plan: Plan, width: int | None = None) -> Iterator[str]:
    """Lines with the samples of each class in training and test, and warnings about missing ones.

    Long names are shortened if the table would be wider than `width`.
    """
    if plan.datasets.counts_boxes:
        yield from format_table(box_check.count_boxes(plan.datasets), box_check.HEADINGS)
        if (sizes := box_check.describe_sizes(plan.datasets)) is not None:
            yield f"Training boxes: {sizes}"
    counts: dict[str, list[int]] = {}
    for source in plan.sources:
        if (labels := source.samples.labels) is not None:
            counts[source.name] = np.bincount(labels, minlength=len(plan.classes)).tolist()
    if not counts:
        return
    rows, headings = zip(plan.classes, *counts.values(), strict=True), ("Class", *(f"Samples ({n})" for n in counts))
    yield from format_table(rows if width is None else fit(rows, headings, width), headings)
    for name, numbers in counts.items():
        if missing := [label for label, number in zip(plan.classes, numbers, strict=True) if not number]:
            more = ", ..." if len(missing) > MOST_NAMED else ""
            yield f"Warning: no {name} samples of: {', '.join(missing[:MOST_NAMED])}{more}"


def image_sizes(plan: Plan) -> Iterator[str]:
    """Lines with the sizes of evenly sampled image files, and what they are resized to; none for object stores."""
    transforms = plan.datasets.transforms
    rows: list[tuple[str, ...]] = []
    warnings: list[str] = []
    for source in plan.sources:
        for kind, side in source.sides.items():
            name = f"{source.name} {kind}s"
            sizes = _sizes(side)
            if len(sizes):
                changed = sizes.min(0).tolist() != sizes.max(0).tolist() or tuple(sizes[0]) != side.shape[1:]
                rows.append((name, *_extremes(sizes), str(len(sizes)), times(side.shape[1:]) if changed else "no"))
                if not _fits(side, sizes, transforms.input if kind == "input" else transforms.target):
                    warnings.append(f"Warning: {name} have different sizes. {RESIZE_HINT}")
    if rows:
        yield from format_table(rows, ("Images (height x width)", "Smallest", "Largest", "Sampled", "Resized to"))
        yield from warnings


def _sizes(side: Side) -> np.ndarray:
    """(n, 2): heights and widths of readable image files on this machine."""
    samples = side.samples
    if side.decoding.reader.name != "images" or storage.is_uri(samples.root):
        return np.empty((0, 2), int)
    found: list[tuple[int, int]] = []
    for index in samples.spread(_MOST_FILES):
        try:
            found.append(read_header(samples.path(index)).size)
        except DataError:
            continue  # reported when the file is needed
    return np.array(found, int).reshape(-1, 2)


def _fits(side: Side, sizes: np.ndarray, operations: ImageOperations) -> bool:
    """Whether images of all these sizes become samples of one shape."""
    return all(operations.shape((side.shape[0], *size)) == side.shape for size in np.unique(sizes, axis=0).tolist())


def _extremes(sizes: np.ndarray) -> tuple[str, str]:
    return times(sizes.min(0).tolist()), times(sizes.max(0).tolist())


def times(size: Sequence[int | str]) -> str:
    """Sizes as people write them: `28 x 28`."""
    return " x ".join(map(str, size))


def memory(plan: Plan, num_workers: int) -> list[str]:
    """Lines with an estimate of the memory that a worker needs, on top of what Python, PyTorch and Ray use.

    This machine's available memory is shown for comparison; workers may run on others.
    """
    parts = {name: size for name, size in memory_parts(plan, num_workers).items() if size}
    total = sum(parts.values())
    rows = [*parts.items(), ("Total", total)]
    rows += [(f"Total of {num_workers} workers", num_workers * total)] if num_workers > 1 else []
    rows.append(("Available on this machine", available_memory()))
    lines = format_table([(name, format_bytes(size)) for name, size in rows], ("Memory of a worker (estimate)", "Size"))
    return [*lines, *_savings(plan, Workers(0, num_workers))]


def _savings(plan: Plan, worker: Workers) -> Iterator[str]:
    """Lines on what the keys save that make a training step need less memory."""
    whole = dataclasses.replace(plan, options=plan.options.model_copy(update={"accumulate": 1}))
    keeping = dataclasses.replace(plan, network=plan.network.keeping_activations())
    used = {
        "accumulate": (plan.options.accumulate > 1, whole),
        "activation_checkpointing": (plan.config.neural_network.activation_checkpointing is not False, keeping),
    }
    if plan.config.ray.sharding != "none" and plan.training is not None:
        ray = plan.config.ray.model_copy(update={"sharding": "none"})
        apart = dataclasses.replace(plan, config=plan.config.model_copy(update={"ray": ray}))
        saved = sum(memory_parts(apart, worker.size).values()) - sum(memory_parts(plan, worker.size).values())
        size = f"saves {format_bytes(max(saved, 0))} of each worker" if worker.size > 1 else "saves nothing: one worker"
        yield f"sharding {size}"
    for key, (is_used, without) in used.items():
        if is_used and plan.training is not None:
            saved = max(_batch(without, worker) - _batch(plan, worker), 0)
            yield f"{key} saves {format_bytes(saved)} of a batch in the network"


def memory_parts(plan: Plan, num_workers: int) -> dict[str, int]:
    """Bytes that a worker will need, by purpose."""
    network, worker = plan.network, Workers(0, num_workers)
    weights = network.num_parameters
    trained = BYTES_OF_FLOAT * network.num_trainable_parameters if plan.training else 0
    of_critic = _critic_parts(plan)
    sharding = plan.config.ray.sharding if plan.training else "none"
    num_states, num_shares = (num_workers if sharding in ways else 1 for ways in (("zero1", "fsdp"), ("fsdp",)))
    state = count_state(plan.optimizer.name, plan.optimizer.settings) if plan.optimizer and plan.training else 0
    averaged = weights - network.num_running_statistics if plan.training and plan.config.neural_network.ema else 0
    sources = [source for source in (plan.training, plan.test) if source is not None and not source.random]
    kept = sources if plan.config.neural_network.data.preload and not plan.is_inference else []
    return {
        "Weights": BYTES_OF_FLOAT * weights // num_shares + of_critic.weights,
        "Gathered weights": BYTES_OF_FLOAT * _gathered(plan) if num_shares > 1 else 0,
        "Gradients": trained // num_shares + of_critic.gradients,
        "Optimizer state": trained * state // num_states + of_critic.state,
        "Weight average": BYTES_OF_FLOAT * averaged // num_shares,
        "Preloaded samples": sum(_preloaded_bytes(source, worker) for source in kept),
        "One batch in the network": _batch(plan, worker),
    }


class _CriticParts(NamedTuple):
    """Bytes of a critic besides its activations."""

    weights: int = 0
    gradients: int = 0
    state: int = 0


def _critic_parts(plan: Plan) -> _CriticParts:
    if plan.critic is None:
        return _CriticParts()
    network, optimizer = plan.critic.network, plan.critic.updates.optimizer
    weights = BYTES_OF_FLOAT * network.num_parameters
    if optimizer is None:
        return _CriticParts(weights)
    trained = BYTES_OF_FLOAT * network.num_trainable_parameters
    return _CriticParts(weights, trained, trained * count_state(optimizer.name, optimizer.settings))


def _gathered(plan: Plan) -> int:
    """The most numbers that a worker gets from others at a time: weights, and gradients before they are divided."""
    in_steps = 2 * count_gathered(plan.network)
    tested = plan.test is not None or plan.datasets.final_test is not None
    return max(in_steps, plan.network.num_parameters) if tested else in_steps


def _preloaded_bytes(source: Source, worker: Workers) -> int:
    """What a worker keeps of a source's samples; arrays that a machine's workers share count for its first worker."""
    arrays = kept_arrays.count_bytes(source)
    return arrays or sum(group.source.bytes_per_sample * worker.share(len(group.indices)) for group in source.groups())


def step_memory(plan: Plan, num_workers: int) -> int:
    """Bytes that a step of a worker is expected to take, besides the weights and the samples."""
    parts = memory_parts(plan, num_workers)
    others = ("Weights", "Preloaded samples")
    return sum(size for name, size in parts.items() if name not in others)


def _batch(plan: Plan, worker: Workers) -> int:
    """Peak bytes of a batch: in training with everything that backward needs, otherwise layer by layer."""
    data = plan.config.neural_network.data
    sizes: list[int] = []
    for source, batch_size, size in (
        (plan.training, data.batch_size, _training_batch),
        (plan.test, data.test_batch_size, _test_batch),
    ):
        for number, group in enumerate(() if source is None else source.groups()):
            count = min(worker.share(batch_size), len(group.indices))
            if source is plan.training:
                count = math.ceil(count / plan.options.accumulate)
            sizes.append(size(plan, number, count))
    shorter = _SHORT_SHARE if plan.config.neural_network.precision in ("bf16", "fp16") else 1
    return round(_GAPS * shorter * max(sizes, default=0))


def _training_batch(plan: Plan, number: int, batch_size: int) -> int:
    """Peak bytes for samples of the shape with this number."""
    source, target = plan.training, plan.datasets.target_shapes[number]
    if source is None or plan.loss is None:
        return 0
    loss = plan.loss.build()
    if loss.targets == "labels" and target and target[0] == 1:
        target = target[1:]  # class indices
    inputs = plan.datasets.shapes[number]
    shapes = {"inputs": inputs, "targets": inputs if target is None else target}
    pixels = source.input.dtype == np.uint8
    try:
        if plan.critic is not None and isinstance(loss, AdversarialLoss):
            both = (plan.network, plan.critic.network)
            return memory_estimate.of_adversarial_training(*both, loss, batch_size, pixels=pixels)
        return memory_estimate.of_training(plan.network, loss, batch_size, **shapes, pixels=pixels)
    except Exception:  # some layers and losses need actual numbers
        return _AND_GRADIENTS * BYTES_OF_FLOAT * batch_size * sum(_sizes_of_outputs(plan, number))


def _test_batch(plan: Plan, number: int, batch_size: int) -> int:
    """Peak bytes for samples of the shape with this number."""
    pixels = plan.test is not None and plan.test.input.dtype == np.uint8
    inputs = plan.datasets.shapes[number]
    if plan.critic is not None:
        pixels, inputs = False, _shape_of_noise(plan)
    try:
        return memory_estimate.of_evaluation(plan.network, batch_size, inputs=inputs, pixels=pixels)
    except Exception:
        sizes, nodes = _sizes_of_outputs(plan, number), plan.network.graph.nodes
        largest = max(size + sum(sizes[i] for i in node.inputs) for size, node in zip(sizes, nodes, strict=True))
        return BYTES_OF_FLOAT * batch_size * largest


def _sizes_of_outputs(plan: Plan, number: int) -> list[int]:
    """How many numbers each layer outputs for a sample of the shape with this number."""
    inputs = plan.datasets.shapes[number] if plan.critic is None else _shape_of_noise(plan)
    return [math.prod(smallest(shape)) for shape in plan.network.shapes_of(inputs)]


def _shape_of_noise(plan: Plan) -> tuple[int, ...]:
    """The shape of the random numbers that a generator takes."""
    return smallest(plan.network.input_shapes[0])
