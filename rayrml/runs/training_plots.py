"""The plots of a run, in the folder `plots` next to its checkpoints or predictions; they never make a run fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rayrml import storage
from rayrml.data.decode_tasks import decode_now
from rayrml.data.readers.images import read_shown
from rayrml.data.sampling import Picks
from rayrml.data.shards import Batch, boxes_of, to_numbers
from rayrml.data.sources import Source
from rayrml.inference.applications import application_of
from rayrml.inference.box_pictures import BoxDrawing
from rayrml.inference.detection_step import DetectionStep, make_finder
from rayrml.inference.evaluation import EvaluationStep, as_target
from rayrml.inference.flips import flips_of
from rayrml.inference.generation_step import find_sample_range, generate_first
from rayrml.inference.sample_grid import NUM_SAMPLES, can_draw, render_grid
from rayrml.losses import Loss
from rayrml.metrics import name_classes, predicted_classes
from rayrml.networks.network import Network, build_network
from rayrml.planning.plan import Plan
from rayrml.reporting.file_names import (
    CONFIG,
    CONFUSION_MATRIX,
    CURVES,
    PLOTS,
    PLOTS_FOLDER,
    PRECISION_RECALL,
    PREDICTIONS,
    SAMPLES,
    SCATTER,
)
from rayrml.reporting.run_files import Record, write_file
from rayrml.saving import checkpoint_folder, checkpoints

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rayrml.reporting.column_plots import ColumnSamples
    from rayrml.reporting.detection_plots import DetectionSample
    from rayrml.reporting.plots import ClassSample, ImageSample

_MOST_SAMPLES, _MOST_ROWS = 25, 4  # class samples, and images with their targets
_MOST_IMAGES, _MOST_WITHOUT_BOXES = 12, 0.25  # with their boxes, and share of those that have none
_MOST_POINTS = 2000  # samples in a plot of columns
_MOST_BYTES = 2**26  # of decoded samples
_SECONDS = 2.0  # time limit for predicting samples: for a large network, fewer are shown
_SECONDS_OF_BOXES = 20.0  # the same for detections, of which a few say less


def make(plan: Plan, record: Record, say: Callable[[str], None]) -> bool:
    """Draw a run's plots and report in a line what could not be drawn; return whether any was made."""
    made, problems = False, []
    for path, draw in _pictures(plan, record):
        # Whatever fails here: the network is trained, and its results are on disk.
        try:
            made |= _save(draw(), storage.join(record.folder or "", *path.split("/")), problems)
        except Exception as error:
            problems.append(str(error).partition("\n")[0] or type(error).__name__)
    for problem in dict.fromkeys(problems):
        say(f"Some plots could not be drawn: {problem}")
    return made


def files(record: Record) -> list[str]:
    """The paths of a run's configuration and of its existing plots."""
    if record.folder is None:
        return []
    plots = storage.join(record.folder, PLOTS_FOLDER)
    return [storage.join(record.folder, CONFIG), *(storage.join(plots, name) for name in sorted(storage.files(plots)))]


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


def _pictures(plan: Plan, record: Record) -> Iterator[tuple[str, Callable[[], Figure | bytes | None]]]:
    """Each plot's path in the run's folder, and the function that draws it, or makes its file."""

    def curve(name: str) -> Callable[[], Figure | None]:
        def draw() -> Figure | None:
            # Importing matplotlib takes half a second, so only runs that draw plots do it.
            from rayrml.reporting import plots

            return getattr(plots, f"draw_{name}")(record.history)

        return draw

    if plan.training is not None:
        yield from ((PLOTS[name], curve(name)) for name in CURVES)
    if application_of(plan.config.neural_network).generates:
        yield PLOTS[SAMPLES], lambda: _samples(plan, record)
        return
    yield PLOTS[CONFUSION_MATRIX], lambda: _confusion_matrix(plan, record)
    yield PLOTS[PREDICTIONS], lambda: _predictions(plan, record)
    if record.average_precisions is not None:
        yield PLOTS[PRECISION_RECALL], lambda: _box_curves(plan, record)
    if plan.test is not None and plan.test.samples.columns is not None:
        name = SCATTER if plan.test.samples.columns == "number" else PRECISION_RECALL
        yield PLOTS[name], lambda: _columns(plan, record, name)


def _save(figure: Figure | bytes | None, path: str, problems: list[str]) -> bool:
    if figure is None:
        return False
    if isinstance(figure, bytes):
        write_file(path, figure)
        return True
    from rayrml.reporting.plots import render

    content, complete = render(figure)
    if not complete:
        problems.append("no font on this machine contains all characters of the names")
    write_file(path, content)
    return True


def _samples(plan: Plan, record: Record) -> bytes | None:
    """A picture of the samples that pictures show during training, at its end; None if they are no images."""
    network, source = _trained(plan, record, last=True), plan.training or plan.test
    if network is None or source is None or not can_draw(network.output_shapes[0]):
        return None
    samples = generate_first(network, plan.config.neural_network.seed, NUM_SAMPLES)
    return render_grid(samples, find_sample_range(source, plan.datasets.transforms, network))


def _confusion_matrix(plan: Plan, record: Record) -> Figure | None:
    from rayrml.reporting import plots

    counts = record.confusion
    if counts is None or not counts.sum():
        return None
    return plots.draw_confusion_matrix(counts, name_classes(plan.classes, len(counts)))


def _box_curves(plan: Plan, record: Record) -> Figure | None:
    from rayrml.reporting.detection_plots import draw_detection_curves

    found = record.average_precisions
    if found is None:
        return None
    names = name_classes(plan.classes, len(found.curves))
    return draw_detection_curves(found, names, plan.config.neural_network.detection.score_threshold)


def _predictions(plan: Plan, record: Record) -> Figure | None:
    from rayrml.reporting import detection_plots, plots

    network = _trained(plan, record)
    if network is not None and plan.test is not None and plan.test.samples.boxes is not None:
        found = detection_samples(plan, network)
        threshold = plan.config.neural_network.detection.score_threshold
        return detection_plots.draw_detection_samples(found, len(plan.test.samples), threshold) if found else None
    shown = [] if network is None else samples(plan, network)
    if not shown or plan.test is None:
        return None
    draw: Any = plots.draw_class_samples if isinstance(shown[0], plots.ClassSample) else plots.draw_image_samples
    return draw(shown, len(plan.test.samples))


def _columns(plan: Plan, record: Record, name: str) -> Figure | None:
    from rayrml.reporting import column_plots

    network = _trained(plan, record)
    shown = None if network is None else column_samples(plan, network)
    return None if shown is None else getattr(column_plots, f"draw_{name}")(shown)


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


def _trained(plan: Plan, record: Record, *, last: bool = False) -> Network | None:
    """The network from the best or else the last epoch's checkpoint: the trained one may be on another machine.

    From the last epoch's, if that is there, with `last`.
    """
    if plan.training is None:
        return plan.network
    if record.folder is None or not record.history:
        return None
    paths = [checkpoint_folder.best_path(record.folder)]
    paths.insert(0 if last else 1, checkpoint_folder.checkpoint_path(record.folder, int(record.history[-1]["epoch"])))
    there = checkpoint_folder.list_times(record.folder)
    path = next((path for path in paths if path in there), None)
    if path is None:
        return None
    checkpoint = checkpoints.load_if_exists(path)
    if checkpoint is None:
        return None
    network = build_network(plan.layers, checkpoint.input_shape)
    if not any(network.check_input(shape) for shape in plan.datasets.shapes):  # a generator takes no images
        network.accept(*plan.datasets.shapes)
    checkpoints.load_into(network, checkpoint.network, path)
    return network


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


def _class_sample(plan: Plan, array: np.ndarray, true: int, predicted: int) -> ClassSample:
    from rayrml.reporting.plots import ClassSample

    names = dict(enumerate(plan.classes))
    return ClassSample(_shown(array), names.get(true, str(true)), names.get(predicted, str(predicted)))


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
