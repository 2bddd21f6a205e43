"""One replica's network: uploads become samples, samples outputs, and outputs answers, as `rayrml predict` does it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import io
import platform
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from rayrml import storage
from rayrml.config.reading import Document
from rayrml.data.decode_tasks import decode_now
from rayrml.data.discovery import Samples
from rayrml.data.sampling import Picks
from rayrml.errors import ConfigError, DataError, Problem, RayrmlError
from rayrml.inference.batch_job import Forward, InferenceJob
from rayrml.inference.class_table import tabulator
from rayrml.inference.pictures import Drawing
from rayrml.inference.prediction_files import Destination
from rayrml.networks.layers.layer import smallest
from rayrml.planning.plan import InferencePlan
from rayrml.planning.repeated import RepeatedPreparation
from rayrml.runs.predict import Found, find_configuration
from rayrml.serving.answers import Answering, list_kinds, to_json
from rayrml.serving.batch_sizes import divide, find_sizes
from rayrml.serving.files import INPUT_TYPES, Stored, UploadFiles, explain
from rayrml.serving.uploads import Upload
from rayrml.version import __version__

_KEPT_PLANS = 64
_MOST_BYTES = 2**28  # of decoded samples at a time
_MOST_SAMPLES = 1024  # in one array that holds many
_SIDES = (64, 256, 512, 1024)  # of images that are tried at first, if the network's own size does not do
_DATA = "neural_network.data"

Result = dict[str, Any]  # `name`, and `error` or what was predicted


class _Planned(NamedTuple):
    """What is computed for files of one kind."""

    plan: InferencePlan
    forward: Forward
    answering: Answering


class _Row(NamedTuple):
    """A decoded sample of an upload."""

    upload: int
    planned: _Planned
    samples: Samples
    place: int
    array: np.ndarray


class Model:
    """A network that answers uploads.

    Args:
        checkpoint: a file, or a run's folder.
        overrides: values for dotted keys of the configuration.
        device: that computes, `cpu` or `cuda`.
        max_pixels: of an image, or values of an array.
        exact: whether outputs are those of each sample alone, to the last bit.
        weights: what `identify` says of the weights that are expected, None for any.

    Raises:
        ConfigError: the network cannot be served.
        DataError: there is no such checkpoint, or it has other weights.
    """

    def __init__(
        self,
        checkpoint: str,
        overrides: Mapping[str, Any],
        *,
        device: str = "cpu",
        max_pixels: int = 50_000_000,
        exact: bool = True,
        weights: str | None = None,
    ):
        self._found, self._preparation = find_servable(checkpoint, overrides)
        self.weights = identify(self._preparation)
        if weights is not None and self.weights != weights:
            message = "has other weights than when the server was started. Start the server again"
            raise DataError(Problem(checkpoint, message))
        data = self._preparation.config.neural_network.data
        self.input_type = data.inputs or ""
        self.max_batch = data.test_batch_size
        self._files = UploadFiles(self.input_type, max_pixels)
        self._device = device
        self._plans: collections.OrderedDict[Hashable, _Planned] = collections.OrderedDict()
        self.sizes: tuple[int, ...] = (1,)
        self._exact = exact
        self._kinds: Sequence[str] = ()
        self._probed: Hashable = None
        self._warning: str | None = None
        self._warm_up()

    def predict(self, uploads: Sequence[Upload], wanting: Collection[int] = ()) -> list[Result]:
        """The answer to each upload: `name`, and what was predicted, or an `error` that says what is wrong with it.

        A file of several samples has a list of them as `samples`. Uploads whose numbers are in `wanting` also have
        their outputs, as `output`.
        """
        results: list[Result] = [{"name": upload.name} for upload in uploads]
        number = 0
        while number < len(uploads):
            with contextlib.ExitStack() as stack:
                rows: list[_Row] = []
                held = 0
                while number < len(uploads) and len(rows) < self.max_batch and held < _MOST_BYTES:
                    decoded = self._receive(uploads[number], number, results[number], stack)
                    held += sum(row.array.nbytes for row in decoded)
                    rows += decoded
                    number += 1
                self._answer(rows, results, wanting)
        return results

    def _receive(self, upload: Upload, number: int, result: Result, stack: contextlib.ExitStack) -> list[_Row]:
        """The samples of an upload, whose file is there until the stack is closed; none if the result is an error."""
        try:
            return self._decode(number, stack.enter_context(self._files.stored(upload, number)))
        except RayrmlError as error:
            result["error"] = explain(error, self._files.path_of(number))
        return []

    def _answer(self, rows: Sequence[_Row], results: list[Result], wanting: Collection[int]) -> None:
        """Add to the results what is predicted for samples."""
        answers: dict[int, list[Result]] = collections.defaultdict(list)
        for row, output in self._compute(rows):
            answer = row.planned.answering(row.samples.path(row.place), output)
            answers[row.upload].append({**answer, **({"output": to_json(output)} if row.upload in wanting else {})})
        for number, found in answers.items():
            results[number] |= found[0] if len(found) == 1 else {"samples": found}

    def describe(self) -> dict[str, Any]:
        """What is known of the network, for those who send requests."""
        kept = self._preparation.checkpoint
        nn = self._preparation.config.neural_network
        shape = None if kept is None or not kept.input_shape else list(kept.input_shape)
        return {
            "classes": [] if kept is None else list(kept.classes),
            "input": {"type": self.input_type, "shape": shape, "transforms": nn.data.input_transforms},
            "answers": list(self._kinds),
            "epoch": None if kept is None else kept.epoch,
            "weights": self.weights,
            "warning": self._warning,
            "precision": nn.precision,
            "device": self._device,
            "batch_sizes": list(self.sizes) if self._exact else "any",
            "exact": self._exact,
            "versions": {"rayrml": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }

    def close(self) -> None:
        """Remove what was written."""
        self._files.close()

    def _decode(self, number: int, stored: Stored) -> list[_Row]:
        """The samples of a file. Raises ConfigError or DataError."""
        planned, samples = self._plan(stored)
        if len(samples) > _MOST_SAMPLES:
            raise ConfigError(Problem("", f"holds {len(samples)} samples. Expected at most {_MOST_SAMPLES}"))
        side = dataclasses.replace(planned.plan.test.input, samples=samples)
        source = dataclasses.replace(planned.plan.test, input=side)
        decoded = decode_now(source, Picks.once(np.arange(len(samples))))
        if any(decoded.errors):
            raise ConfigError(*(Problem("", error) for error in dict.fromkeys(filter(None, decoded.errors))))
        return [_Row(number, planned, samples, place, array) for place, array in enumerate(decoded.inputs)]

    def _plan(self, stored: Stored) -> tuple[_Planned, Samples]:
        """What is computed for a file, and its samples. Raises ConfigError or DataError."""
        planned = self._plans.get(stored.kind) if stored.kind is not None else None
        if planned is None:
            planned = self._make_plan(stored.path)
            if stored.kind is not None:
                self._plans[stored.kind] = planned
                if len(self._plans) > _KEPT_PLANS:
                    self._plans.popitem(last=False)
            return planned, planned.plan.test.samples
        self._plans.move_to_end(stored.kind)
        return planned, _moved(planned.plan.test.samples, stored.path)

    def _make_plan(self, path: str) -> _Planned:
        plan = self._preparation.plan([path])
        nn, drawing = plan.config.neural_network, plan.pictures.drawing
        return _Planned(
            plan,
            self._find_forward(plan),
            Answering(
                tabulator(plan.layers, nn.loss, plan.classes, self._found.targets),
                plan.classes,
                nn.detection if nn.app == "obj" else None,
                drawing if isinstance(drawing, Drawing) else None,
            ),
        )

    def _find_forward(self, plan: InferencePlan) -> Forward:
        """What computes outputs: that of an earlier plan which differs in nothing that counts, or a new one."""
        for earlier in reversed(self._plans.values()):
            if _compute_alike(earlier.plan, plan):
                return earlier.forward
        job = InferenceJob(
            config=plan.config.neural_network,
            network=plan.network,
            source=plan.test,
            transforms=plan.datasets.transforms,
            loss=plan.loss,
            destination=Destination((), None),
        )
        return Forward(job, self.max_batch, self._device)

    def _compute(self, rows: Sequence[_Row]) -> Iterator[tuple[_Row, np.ndarray]]:
        """The output of each sample; those of one upload come in their order."""
        alike: dict[Hashable, list[_Row]] = collections.defaultdict(list)
        for row in rows:
            alike[id(row.planned.forward), row.array.shape, row.array.dtype.str].append(row)
        for group in alike.values():
            start = 0
            for size in divide(len(group), self._sizes_of(group[0])):
                part = group[start : start + size]
                start += size
                yield from zip(part, self._forward(part), strict=True)

    def _sizes_of(self, row: _Row) -> Sequence[int]:
        if not self._exact:
            return range(1, self.max_batch + 1)
        return self.sizes if (id(row.planned.forward), row.array.shape) == self._probed else (1,)

    def _forward(self, rows: Sequence[_Row]) -> Any:
        """The outputs of samples in one batch."""
        planned = rows[0].planned
        planned.plan.network.accept(*planned.plan.datasets.shapes)
        return planned.forward(np.stack([row.array for row in rows]), np.array([row.place for row in rows]))

    def _warm_up(self) -> None:
        """Answer made-up uploads, so that the first request is not slow, and find the batch sizes that agree."""
        for upload in _make_up(self._preparation, self.input_type):
            (result,) = self.predict([upload])
            if "error" in result:
                self._warning = f"no made-up input was accepted: {result['error']}"
                continue
            self._warning = None
            self._kinds = list_kinds(result)
            with self._files.stored(upload, 0) as stored:
                rows = self._decode(0, stored)
            if len(rows) == 1 and self._exact:
                self._probe(rows[0])
            return

    def _probe(self, row: _Row) -> None:
        """Find the batch sizes for samples like this one."""
        generator = np.random.default_rng(0)

        def forward(batch: np.ndarray) -> Any:
            return self._forward([row._replace(array=array) for array in batch])

        def samples(count: int) -> np.ndarray:
            drawn = generator.random((count, *row.array.shape), np.float32)
            return (drawn * 255).astype(row.array.dtype) if row.array.dtype.kind in "iu" else drawn

        self.sizes = find_sizes(forward, samples, self.max_batch)
        self._probed = (id(row.planned.forward), row.array.shape)


def find_servable(checkpoint: str, overrides: Mapping[str, Any]) -> tuple[Found, RepeatedPreparation]:
    """What a checkpoint says of a network that can be served, and what plans its predictions.

    Raises:
        ConfigError: the network cannot be served, or an override is invalid.
        DataError: there is no such checkpoint.
    """
    found = _without_files(find_configuration(checkpoint, ["input"], "predictions", overrides))
    data = found.document.checked().neural_network.data
    if data.inputs not in INPUT_TYPES:
        raise ConfigError(Problem(f"{_DATA}.input_type", f"{data.inputs} cannot be sent. {_EXPECTED_TYPES}"))
    if data.slicers:
        raise ConfigError(Problem(f"{_DATA}.slicers", "are for whole files. `rayrml predict` puts slices together"))
    preparation = RepeatedPreparation(found.document)
    preparation.check_network()
    return found, preparation


def identify(preparation: RepeatedPreparation) -> str:
    """A short text that differs for other weights: of a checkpoint that a training goes on to replace, for example."""
    digest = hashlib.sha256()
    for name, tensor in _list_weights(preparation):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _list_weights(preparation: RepeatedPreparation) -> list[tuple[str, torch.Tensor]]:
    kept = preparation.checkpoint
    return [] if kept is None else sorted(kept.network.items(), key=lambda pair: pair[0])


def _without_files(found: Found) -> Found:
    """The same without the files that a prediction writes; pictures are drawn if the outputs are some."""
    values = found.document.values
    data = values["neural_network"]["data"]
    for key in ("test_output_path", "hdf5_outfile"):
        data.pop(key, None)
    if data.get("test_output_images") == "boxes":
        del data["test_output_images"]
    return dataclasses.replace(found, document=Document(values))


def _compute_alike(one: InferencePlan, other: InferencePlan) -> bool:
    """Whether samples of two plans can be in one batch; detections depend on the size of each image."""
    if one.test.samples.boxes is not None or one.network is not other.network:
        return False
    pixels = one.test.input.pixels == other.test.input.pixels
    return pixels and one.datasets.transforms == other.datasets.transforms and one.loss == other.loss


def _moved(samples: Samples, path: str) -> Samples:
    """The samples of a file that is like theirs, at another path."""
    if samples.places is not None:
        return dataclasses.replace(samples, places=[place._replace(path=path) for place in samples.places])
    folder, name = storage.split(path)
    return dataclasses.replace(samples, root=folder, names=[name])


def _make_up(preparation: RepeatedPreparation, input_type: str) -> Iterator[Upload]:
    """Uploads that the network may take, from the most to the least probable."""
    kept = preparation.checkpoint
    shape = () if kept is None else smallest(kept.input_shape or ())
    generator = np.random.default_rng(0)
    if input_type != "images":
        if shape:
            for made in (shape, shape[1:]):
                file = io.BytesIO()
                np.save(file, generator.random(made, np.float32), allow_pickle=False)
                yield Upload("made up", file.getvalue())
        return
    own = [tuple(shape[1:])] if len(shape) == 3 else []
    for size in (*own, *((side, side) for side in _SIDES)):
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (*size, 3), np.uint8)).save(file, "PNG", compress_level=1)
        yield Upload("made up", file.getvalue())


_EXPECTED_TYPES = (
    f"Expected {', '.join(INPUT_TYPES[:-1])} or {INPUT_TYPES[-1]}: `--set data.input_type=images` reads image files "
    "instead"
)
