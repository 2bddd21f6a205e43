"""The samples that a run's plots show, with what the network makes of them; computed on the CPU in little time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from rayrml import storage
from rayrml.data.decode_tasks import decode_now
from rayrml.data.readers.images import read_shown
from rayrml.data.sampling import Picks
from rayrml.data.shards import Batch, boxes_of, to_numbers
from rayrml.data.sources import Source
from rayrml.endings import probabilities
from rayrml.inference.box_pictures import BoxDrawing
from rayrml.inference.detection_step import DetectionStep, make_finder
from rayrml.inference.evaluation import EvaluationStep, as_target
from rayrml.inference.flips import flips_of
from rayrml.losses import Loss
from rayrml.metrics import predicted_classes
from rayrml.planning.plan import Plan

if TYPE_CHECKING:
    from rayrml.reporting.column_plots import ColumnSamples
    from rayrml.reporting.detection_plots import DetectionSample
    from rayrml.reporting.plots import ClassSample, ImageSample

_MOST_SAMPLES, _MOST_ROWS = 25, 4  # class samples, and images with their targets
_MOST_IMAGES, _MOST_WITHOUT_BOXES = 12, 0.25  # with their boxes, and share of those that have none
_MOST_POINTS = 2000  # samples in a plot of columns
_MOST_BYTES = 2**26  # of decoded samples
_SECONDS = 2.0  # time limit for predicting samples: for a large network, fewer are shown
_SECONDS_OF_BOXES = 20.0  # the same for detections, of which a few say less


class Mistakes(NamedTuple):
    """Samples with another class than the predicted one.

    Attributes:
        worst: those whose true class had the least probability, the least first.
        found: how many mistakes there were.
        seen: samples that were predicted.
        total: samples that there are.
    """

    worst: list[ClassSample]
    found: int
    seen: int
    total: int


def samples(plan: Plan, network: torch.nn.Module) -> list[ClassSample] | list[ImageSample]:
    """Some test samples with the network's predictions, made on the CPU; none if they are not images with targets."""
    source, loss = plan.test, None if plan.loss is None else plan.loss.build()
    if source is None or loss is None or not plan.datasets.test_targets or len(source.shape) < 3:
        return []
    labels, pairs = source.samples.labels, source.target is not None
    if not (pairs or labels is not None):
        return []
    count = min(_MOST_ROWS if pairs else _MOST_SAMPLES, max(_MOST_BYTES // source.bytes_per_sample, 1))
    # Some of each class, even if there is no time for all samples, which are sorted by name.
    indices = source.samples.spread(count)
    np.random.default_rng(0).shuffle(indices)
    step = _step(plan, network, loss)
    found: dict[int, Any] = {}
    end = time.monotonic() + _SECONDS
    for index, arrays in _decoded(source, indices):
        if found and time.monotonic() > end:
            break
        inputs, target = _batch(plan, source, arrays)
        output = step(inputs, None)
        scores = loss.scores(output)
        if pairs:
            if (sample := _image_sample(arrays["input"], as_target(target, loss), scores, loss)) is not None:
                found[index] = sample
        elif labels is not None and output.ndim == 2:
            found[index] = _class_sample(plan, arrays["input"], int(labels[index]), int(predicted_classes(scores)))
    return [found[index] for index in sorted(found)]


def examples(plan: Plan) -> list[ClassSample]:
    """Some training samples with their classes, as they are decoded; none if they are no images with classes."""
    source = plan.training
    if source is None or source.samples.labels is None or len(source.shape) < 3:
        return []
    labels = source.samples.labels
    indices = source.samples.spread(min(_MOST_SAMPLES, max(_MOST_BYTES // source.bytes_per_sample, 1)))
    return [
        _class_sample(plan, arrays["input"], int(labels[index]), int(labels[index]))
        for index, arrays in _decoded(source, indices)
    ]


def mistakes(plan: Plan, network: torch.nn.Module, seconds: float) -> Mistakes | None:
    """The worst mistakes: the test samples whose class has the least probability, of those that there is time for.

    None without mistakes, and if samples are no images with classes, or outputs no probabilities.
    """
    source, loss = plan.test, None if plan.loss is None else plan.loss.build()
    if source is None or loss is None or loss.takes is None or not plan.datasets.test_targets or len(source.shape) < 3:
        return None
    labels = source.samples.labels
    if labels is None or source.target is not None:
        return None
    step, end = _step(plan, network, loss), time.monotonic() + seconds
    worst: list[tuple[float, int, ClassSample]] = []
    seen = wrong = 0
    for index, arrays in _decoded(source, np.random.default_rng(0).permutation(len(labels))):
        inputs, _ = _batch(plan, source, arrays)
        output = step(inputs, None)
        if output.ndim != 2:
            return None
        seen += 1
        true, predicted = int(labels[index]), int(predicted_classes(loss.scores(output)))
        if true != predicted:
            wrong += 1
            sure = _probability(output, loss, predicted)
            sample = _class_sample(plan, arrays["input"], true, predicted, probability=sure)
            worst = sorted([*worst, (_probability(output, loss, true), index, sample)], key=lambda one: one[:2])
            worst = worst[:_MOST_SAMPLES]
        if time.monotonic() > end:
            break
    return Mistakes([sample for *_, sample in worst], wrong, seen, len(labels)) if worst else None


def _probability(output: torch.Tensor, loss: Loss, index: int) -> float:
    """Of a class, by an output (1, C); a single number is the probability of class 1."""
    found = probabilities(output, loss.takes or "logits")[0]
    if len(found) == 1:
        found = torch.cat([1 - found, found])
    return float(found[index])


def column_samples(plan: Plan, network: torch.nn.Module) -> ColumnSamples | None:
    """Some test samples with the network's predictions for the columns of a table, made on the CPU; None without any.

    The samples are chosen at random, and are as many as can be predicted within a time limit.
    """
    from rayrml.reporting.column_plots import ColumnSamples

    source, loss = plan.test, None if plan.loss is None else plan.loss.build()
    if source is None or loss is None or source.samples.values is None:
        return None
    samples, values = source.samples, source.samples.values
    indices = np.random.default_rng(0).permutation(len(samples))[:_MOST_POINTS]
    step = _step(plan, network, loss)
    found: dict[int, np.ndarray] = {}
    end = time.monotonic() + _SECONDS
    for index, arrays in _decoded(source, indices):
        inputs, _ = _batch(plan, source, arrays)
        scores = loss.scores(step(inputs, None))
        if scores.shape != (1, values.shape[1]):
            return None
        found[index] = scores[0].numpy()
        if time.monotonic() > end:
            break
    if not found:
        return None
    names = samples.value_names or samples.classes
    return ColumnSamples(names, np.stack(list(found.values())), values[list(found)], len(samples))


def detection_samples(plan: Plan, network: torch.nn.Module) -> list[DetectionSample]:
    """Some test images with their true boxes and the network's detections, made on the CPU; none without such boxes.

    Most of them have boxes, also if most of all images have none.
    """
    from rayrml.reporting.detection_plots import PICTURE, DetectionSample

    source, loss = plan.test, None if plan.loss is None else plan.loss.build()
    if source is None or loss is None or source.samples.boxes is None or not plan.datasets.test_targets:
        return []
    samples, table, keys = source.samples, source.samples.boxes, plan.config.neural_network.detection
    finder = make_finder(loss, plan.datasets.transforms, keys, compares=False)
    step = DetectionStep(network.eval(), loss, None, finder=finder, samples=samples)
    drawing = BoxDrawing(plan.classes, keys.score_threshold)
    found: dict[int, DetectionSample] = {}
    end = time.monotonic() + _SECONDS_OF_BOXES
    for index, arrays in _decoded(source, _choose_images(table.counts)):
        inputs, _ = _batch(plan, source, arrays)
        place = np.array([index])
        (rows,) = step(inputs, None, Batch(inputs, boxes_of(table, place), place, place))
        truths = table.select(place)
        image = read_shown(samples.path(index)).transpose(1, 2, 0)
        picture = np.asarray(drawing.picture(image, rows, truths, length=PICTURE))
        name = storage.split(samples.names[index])[1] or samples.names[index]
        found[index] = DetectionSample(picture, name, int((~truths.ignored).sum()), len(rows))
        if time.monotonic() > end:
            break
    return [found[index] for index in sorted(found)]


def _choose_images(counts: np.ndarray) -> np.ndarray:
    """Numbers of some images with so many boxes each (N,): evenly spread, and a quarter without boxes at most."""
    some, none = np.flatnonzero(counts), np.flatnonzero(counts == 0)
    share = min(len(none) / max(len(counts), 1), _MOST_WITHOUT_BOXES) if len(some) else 1.0
    num_without = min(len(none), int(np.ceil(share * _MOST_IMAGES)))
    chosen = np.concatenate([_spread(some, _MOST_IMAGES - num_without), _spread(none, num_without)])
    return np.random.default_rng(0).permutation(chosen)


def _spread(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the numbers, evenly spread."""
    return numbers[np.unique(np.linspace(0, len(numbers) - 1, min(len(numbers), most)).astype(int))]


def _step(plan: Plan, network: torch.nn.Module, loss: Loss) -> EvaluationStep:
    """Computes outputs as the evaluation does."""
    flips = flips_of(plan.config.neural_network.data.test_transforms, loss, plan.network.graph)
    return EvaluationStep(network.eval(), loss, None, flips=flips)


def _decoded(source: Source, indices: np.ndarray) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The arrays (1, C, *spatial) of inputs and targets of the readable samples, one sample at a time."""
    groups = source.groups()
    for index in indices.tolist():
        of_shape = next(group.source for group in groups if index in group.indices)
        decoded = decode_now(of_shape, Picks.once(np.array([index])))
        if not decoded.errors[0]:
            targets = {} if decoded.targets is None else {"target": decoded.targets}
            yield index, {"input": decoded.inputs, **targets}


def _batch(plan: Plan, source: Source, arrays: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and target as evaluation takes them; an empty tensor for targets that are labels."""
    tensors = [to_numbers(torch.from_numpy(arrays[name]), pixels=side.pixels) for name, side in source.sides.items()]
    inputs, target = plan.datasets.transforms.batched.evaluation()(tensors[0], tensors[1] if tensors[1:] else None)
    return inputs, torch.empty(0) if target is None else target


def _class_sample(
    plan: Plan, array: np.ndarray, true: int, predicted: int, *, probability: float | None = None
) -> ClassSample:
    from rayrml.reporting.plots import ClassSample

    names = dict(enumerate(plan.classes))
    return ClassSample(_shown(array), names.get(true, str(true)), names.get(predicted, str(predicted)), probability)


def _image_sample(array: np.ndarray, target: torch.Tensor, scores: torch.Tensor, loss: Loss) -> ImageSample | None:
    """The sample as three images, None if its target or its prediction is not an image."""
    from rayrml.reporting.plots import ImageSample

    labels = loss.targets == "labels" or not target.is_floating_point()
    if scores.ndim < 4 or target.ndim != scores.ndim - labels:
        return None
    if not labels:
        return ImageSample(_shown(array), _plane(target[0].numpy()), _plane(scores[0].numpy()))
    true, predicted = (_plane(part.numpy()) for part in (target, predicted_classes(scores)))
    return ImageSample(_shown(array), true, predicted, loss.classes_of(scores.shape[1]))


def _shown(array: np.ndarray) -> np.ndarray:
    """A decoded sample (1, C, *spatial) as an image in [0, 1]; for values that are not pixels, the minimum is black."""
    image = _plane(array[0])
    if image.dtype == np.uint8:
        return image / 255
    image = np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return (image - image.min()) / max(float(np.ptp(image)), np.finfo(np.float32).tiny)


def _plane(array: np.ndarray) -> np.ndarray:
    """(H, W, 3) for (3, H, W), otherwise (H, W): the first channel, and the middle slice of a volume."""
    if array.ndim == 4:
        array = array[:, array.shape[1] // 2]
    return array.transpose(1, 2, 0) if len(array) == 3 else array[0]
