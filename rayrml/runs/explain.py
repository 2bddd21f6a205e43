"""Pictures of the regions of images that speak for the class which a checkpoint's network sees in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from rayrml import storage
from rayrml.config.names import suggest
from rayrml.data.decode_tasks import decode_now
from rayrml.data.decoding import read_sample
from rayrml.data.image_ops import ConvertColor, Resize
from rayrml.data.readers import Reader
from rayrml.data.sampling import Picks
from rayrml.data.shards import to_numbers
from rayrml.data.sources import Group, Source
from rayrml.data.transforms import Transforms
from rayrml.data.transforms.values import Normalize
from rayrml.endings import probabilities
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.inference.class_activation import ClassActivation
from rayrml.inference.class_table import Classifier, tabulator
from rayrml.inference.evaluation import EvaluationStep
from rayrml.inference.flips import flips_of
from rayrml.inference.picture_files import name_pictures
from rayrml.inference.value_table import Labeller
from rayrml.planning.plan import Plan
from rayrml.planning.preparation import prepare
from rayrml.runs.predict import find_configuration
from rayrml.saving import checkpoints

OUTPUT = "explanations"  # default folder for the pictures
_IMAGE_AXES = 3
_OF_PATHS = ("..", ".", "")


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A picture that was drawn.

    Attributes:
        path: the name of the image.
        name: of the class that is explained.
        probability: of this class.
        picture: path of the picture.
        is_empty: whether no region speaks for the class.
    """

    path: str
    name: str
    probability: float
    picture: str
    is_empty: bool


@dataclasses.dataclass(frozen=True)
class Explainer:
    """Explains the images of a plan.

    Attributes:
        plan: reads the images as in a prediction, and has the trained network.
        classifier: turns outputs into probabilities.
        activation: makes the maps.
        number: the class to explain, None for the most probable one of each image.
        several: whether an image may have several classes.
    """

    plan: Plan
    classifier: Classifier
    activation: ClassActivation
    number: int | None
    several: bool

    def explain(self, folder: str) -> Iterator[Explanation]:
        """Draw a picture for each image into a folder. Raises DataError for files."""
        source = _source(self.plan)
        pictures = name_pictures([_safe(source.samples.name(i)) for i in range(len(source.samples))], ".png")
        for group in source.groups():
            for index in group.indices.tolist():
                yield self._explain_one(group, index, storage.join(folder, *pictures[index].split("/")))

    def _probabilities(self, output: torch.Tensor) -> np.ndarray:
        """Of each class, for an output (1, K)."""
        if self.several:
            return probabilities(output, self.classifier.ending)[0].numpy()
        return self.classifier.probabilities(output[0].numpy())

    def _explain_one(self, group: Group, index: int, picture: str) -> Explanation:
        from rayrml.reporting import heat_plots, plots

        source, transforms = group.source, self.plan.datasets.transforms
        decoded = decode_now(source, Picks.once(np.array([index])))
        if decoded.errors[0]:
            raise DataError(decoded.errors[0])
        samples = to_numbers(torch.from_numpy(decoded.inputs), pixels=source.input.pixels)
        images, _ = transforms.batched.evaluation()(samples, None)
        loss = None if self.plan.loss is None else self.plan.loss.build()
        flips = flips_of(self.plan.config.neural_network.data.test_transforms, loss, self.plan.network.graph)
        output = EvaluationStep(self.plan.network.eval(), loss, None, flips=flips)(images, None)
        shares = self._probabilities(output)
        number = int(shares.argmax()) if self.number is None else self.number
        # A single output is that of class 1 of two, or of the only one of several classes that a sample may have.
        heat = self.activation(images, torch.tensor([number + (len(shares) == 1)]))
        shown = _read_original(source, index) if _keeps_place(transforms) else decoded.inputs[0]
        if shown.shape[1:] != heat.shape[1:]:
            heat = F.interpolate(heat[None], shown.shape[1:], mode="bilinear", align_corners=False)[0]
        name = _name_class(self.classifier.names, number)
        title = f"{name}: {shares[number]:.1%}"
        figure = heat_plots.draw_heat(_to_shades(shown), heat[0].numpy(), title, f"layer {self.activation.layer}")
        with explaining(picture, "cannot be written"):
            storage.write(picture, plots.render(figure)[0])
        return Explanation(source.samples.name(index), name, float(shares[number]), picture, not heat.any())


def prepare_explanation(
    path: str,
    inputs: Sequence[str],
    *,
    name: str | None = None,
    layer: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Explainer:
    """What explains images by the network of a checkpoint, read and transformed as in a prediction.

    Args:
        path: a checkpoint, or a run's folder.
        inputs: files or folders.
        name: the class to explain, by its name or number; None for the most probable one of each image.
        layer: the layer whose features are looked at; None for the last one that has a height and a width.
        overrides: values for dotted keys of the configuration.

    Raises:
        ConfigError: the network is no classifier of images, or there is no such class or layer.
        DataError: files cannot be read.
    """
    kept = checkpoints.load_complete(path)
    found = find_configuration(path, inputs, storage.absolute(OUTPUT), overrides or {})
    plan = prepare(found.document)
    table = tabulator(kept.layers, kept.loss, kept.classes, found.targets)
    several = isinstance(table, Labeller)
    classify = Classifier(table.names, table.ending, certain=True) if several else table
    shape = plan.network.output_shapes[0]
    is_image = len(plan.datasets.shape) == _IMAGE_AXES and len(plan.network.input_shapes) == 1
    if not (is_image and isinstance(classify, Classifier) and len(shape) == 1 and table.applies(_known(shape))):
        raise ConfigError(Problem(path, "is no classifier of images: only those can be explained"))
    number = (
        None if name is None else _find_class(classify.names, name, 2 if shape[0] == 1 and not several else shape[0])
    )
    return Explainer(plan, classify, ClassActivation(plan.network, plan.datasets.shape, layer), number, several)


def _source(plan: Plan) -> Source:
    if plan.test is None:
        raise DataError("there are no images to explain")
    return plan.test


def _known(shape: Sequence[int | None]) -> list[int]:
    return [1 if size is None else size for size in shape]


def _find_class(names: Sequence[str], name: str, count: int | None) -> int:
    """The number of a class that is given by its name, or by its number. Raises ConfigError if there is none."""
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < (count or 0):
        return int(name)
    known = names or [str(number) for number in range(count or 0)]
    raise ConfigError(Problem("--class", f"there is no class '{name}'. {suggest(name, known)}"))


def _name_class(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)


def _keeps_place(transforms: Transforms) -> bool:
    """Whether each region of what the network gets is the same region of the image as it was read."""
    on_images, on_batches = transforms.input, transforms.batched.evaluation().steps
    return (
        on_images.varying is None
        and all(isinstance(step, Resize | ConvertColor) for _, step in on_images.steps)
        and all(isinstance(step.transform, Normalize) for step in on_batches)
    )


def _read_original(source: Source, index: int) -> np.ndarray:
    """The image (C, H, W) as it was read."""
    decoding, place = source.input.decoding, source.samples.place(index)
    reader: Reader = decoding.reader.build()
    with reader.open(place.path) as read:
        return read_sample(read, place, dataclasses.replace(decoding, prepare=_keep, vary=None))


def _keep(array: np.ndarray) -> np.ndarray:
    return array  # an operation, so that the size of the sample is not compared with the first one's


def _to_shades(image: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) in [0, 1] for an image (C, H, W) of pixels, or of other numbers from black to white."""
    values = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0 or high > 1:
        values = (values - low) / ((high - low) or 1.0)
    return values.transpose(1, 2, 0) if len(values) == _IMAGE_AXES else values[0]


def _safe(name: str) -> str:
    """A sample's name as a path that stays in its folder."""
    return "/".join(part for part in name.split("/") if part not in _OF_PATHS) or "image"
