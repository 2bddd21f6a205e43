"""Exported files are compared with predictions of images, from the image file to the answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rayrml import storage
from rayrml.config.reading import Document
from rayrml.data.decode_tasks import decode_now
from rayrml.data.sampling import Picks
from rayrml.data.shards import to_numbers
from rayrml.errors import ConfigError, DataError, Problem, RayrmlError
from rayrml.exporting import plain_reading
from rayrml.exporting.exportable import Exportable
from rayrml.exporting.formats import Outputs, compute, listed
from rayrml.exporting.metadata import output_kind
from rayrml.exporting.options import CHECK, naming
from rayrml.inference.class_table import Classifier
from rayrml.inference.evaluation import EvaluationStep
from rayrml.inference.flips import flips_of
from rayrml.inference.value_table import Labeller
from rayrml.planning.plan import InferencePlan
from rayrml.planning.repeated import RepeatedPreparation
from rayrml.reporting.file_names import CONFIG
from rayrml.runs.predict import find_configuration
from rayrml.saving.checkpoint_folder import find_model
from rayrml.saving.checkpoints import Checkpoint
from rayrml.tensors import to_input

MOST_IMAGES = 16
TOLERANCE = 0.05  # of probabilities; of other outputs, relative to the largest one of a sample if that is above 1
_PATHS = ("test_input_path", "final_test_input_path", "input_path")


@dataclasses.dataclass(frozen=True)
class Compared:
    """What was compared.

    Attributes:
        count: number of images.
        difference: the largest one of outputs.
        reason: why nothing was compared, "" if something was, or if no images of any kind can be.
    """

    count: int = 0
    difference: float = 0.0
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class FileCheck:
    """Compares a file with predictions.

    Attributes:
        checkpoint: the path of the checkpoint.
        kept: what it holds.
        exported: what was written to the file.
    """

    checkpoint: str
    kept: Checkpoint
    exported: Exportable

    @property
    def applies(self) -> bool:
        """Whether files of images can be compared."""
        known = self.exported.metadata["preprocessing"]
        if not known or known["input_type"] != "images" or known["sliced"] or len(self.exported.inputs) > 1:
            return False
        prepared = known["in_file"] or plain_reading.can_prepare(self.exported.metadata)
        return prepared and not {"scale", "pages"} & known.keys()

    def plan(self, wanted: str | None) -> InferencePlan | Compared:
        """The plan of the predictions of wanted images, or else of the run's own; or why nothing can be compared.

        Raises:
            ConfigError, DataError: the wanted images do not suit the network.
        """
        if wanted is not None:
            if not self.applies:
                raise ConfigError(
                    Problem(CHECK, "the network's inputs are not images of 8 bits that are read as they are")
                )
            return plan_predictions(self.checkpoint, [wanted], CHECK)
        if not self.applies:
            return Compared()
        paths = find_images(self.checkpoint)
        if not paths:
            return Compared(reason="the run's images are not there")
        try:
            return plan_predictions(self.checkpoint, paths, CHECK)
        except RayrmlError as error:  # which the run's folder may have become since
            return Compared(reason=str(error.problems[0]))

    def __call__(self, computed: Outputs, plan: InferencePlan, place: str) -> Compared:
        """Compare a file's function with predictions of some of a plan's images.

        Raises:
            DataError: outputs differ.
        """
        count = len(plan.test.samples)
        indices = np.unique(np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(int))
        decoded = decode_now(plan.test, Picks.once(indices))
        good = [i for i in range(len(indices)) if not decoded.errors[i]]
        expected = self._predict(plan, decoded.inputs[good]) if good else []
        worst, done = 0.0, 0  # images one by one: they may have different sizes
        for place_of_output, i in enumerate(good):
            given = self._read(plan.test.samples.path(int(indices[i])))
            if given is None:
                continue
            outputs = compute(computed, [torch.from_numpy(given)], place)
            mine = [output[place_of_output] for output in expected]
            worst = max(worst, *(_differ(one, other[0]) for one, other in zip(mine, outputs, strict=True)))
            done += 1
        if not done:
            return Compared(reason="no image of 8 bits can be read")
        if not worst <= TOLERANCE:
            message = f"was not written: for {done} images, its outputs differ by {worst:.2g} from those of"
            raise DataError(Problem(place, f"{message} `rayrml predict`, more than {TOLERANCE:g}"))
        return Compared(done, worst)

    def _read(self, path: str) -> np.ndarray | None:
        """What the file takes for an image, None if the image cannot be read plainly."""
        try:
            pixels = plain_reading.read_pixels(storage.read(path), self.exported.metadata)
        except Exception:  # Pillow raises anything
            return None
        if pixels is None:
            return None
        in_file = self.exported.metadata["preprocessing"]["in_file"]
        return pixels[None] if in_file else plain_reading.to_input(pixels, self.exported.metadata)

    @torch.inference_mode()
    def _predict(self, plan: InferencePlan, arrays: np.ndarray) -> Sequence[torch.Tensor]:
        """The outputs of predictions, as the file gives them."""
        samples = to_numbers(torch.from_numpy(arrays), pixels=plan.test.input.pixels)
        inputs, _ = plan.datasets.transforms.batched.evaluation()(samples, None)
        network, nn = plan.network.eval(), plan.config.neural_network
        table, kind = output_kind(self.kept)
        if kind == "grids" or len(network.output_shapes) > 1:
            return listed(network(to_input(inputs)))
        in_file = self.exported.metadata["preprocessing"]["in_file"]
        loss = None if plan.loss is None else plan.loss.build()
        flips = flips_of(nn.data.test_transforms, loss, network.graph) if in_file else None
        output = EvaluationStep(network, loss, None, flips=flips)(inputs, None)
        if not self.exported.gives_probabilities:
            return [output]
        if isinstance(table, Labeller):
            rows = [table.row("", one).probabilities for one in output.numpy()]
        elif isinstance(table, Classifier):
            rows = [table.probabilities(one) for one in output.numpy()]
        else:
            raise TypeError(f"{type(table).__name__} makes no probabilities")
        return [torch.from_numpy(np.asarray(rows, np.float32))]


def plan_predictions(checkpoint: str, paths: Sequence[str], option: str) -> InferencePlan:
    """The plan of predictions of files that an option names. Raises ConfigError and DataError."""
    found = find_configuration(checkpoint, paths, "predictions", {})
    values = found.document.values
    for key in ("test_output_path", "hdf5_outfile", "test_output_images"):
        values["neural_network"]["data"].pop(key, None)
    with naming(option, paths[0]):
        return RepeatedPreparation(Document(values)).plan(paths)


def find_images(checkpoint: str) -> list[str]:
    """The folders of the run's own test images, or else of those it was trained on; [] if they are not there."""
    values = read_run(checkpoint)
    data = values.get("neural_network", {}).get("data", {})
    for key in _PATHS:
        paths = data.get(key)
        paths = [paths] if isinstance(paths, str) else [path for path in paths or [] if isinstance(path, str)]
        if paths and all(_exists(path) for path in paths):
            return paths
    return []


def read_run(checkpoint: str, name: str = CONFIG) -> Mapping[str, Any]:
    """The configuration in the folder of a run, or another JSON file there; {} if there is none."""
    path = storage.join(storage.parent(find_model(checkpoint)), name)
    try:
        found = json.loads(storage.read(path))
    except (OSError, ValueError, RayrmlError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _exists(path: str) -> bool:
    try:
        return storage.exists(path)
    except (OSError, ConfigError, DataError):
        return False


def _differ(expected: torch.Tensor, computed: torch.Tensor) -> float:
    """The largest difference of a sample's outputs, relative to the largest output above 1."""
    if expected.shape != computed.shape:
        return float("inf")
    largest = max(1.0, float(expected.abs().max()) if expected.numel() else 1.0)
    return float((expected.float() - computed.float()).abs().nan_to_num(nan=np.inf).max()) / largest
