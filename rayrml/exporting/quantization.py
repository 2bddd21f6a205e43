"""Weights and activations of 8 bits in an ONNX file, and the accuracy that this costs, measured before it is written.

ONNX Runtime's static quantization is used: its files run on phones and on CPUs with the same runtime as all others, and
convolutions get faster, too. PyTorch's own has moved to another package, whose files need PyTorch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rayrml import storage
from rayrml.config.reading import Document
from rayrml.data.decode_tasks import decode_now
from rayrml.data.sampling import Picks
from rayrml.data.shards import to_numbers
from rayrml.errors import ConfigError, DataError, Problem, describe
from rayrml.exporting import onnx_files, plain_reading
from rayrml.exporting.exportable import Exportable
from rayrml.exporting.file_check import plan_predictions, read_run
from rayrml.exporting.metadata import output_kind
from rayrml.exporting.options import CALIBRATE, INT8, MAX_LOSS, QUANTIZE, TEST, Options, naming
from rayrml.inference.class_table import Classifier
from rayrml.planning.plan import Plan
from rayrml.planning.preparation import prepare
from rayrml.reporting.file_names import DATA
from rayrml.runs.evaluate import find_configuration
from rayrml.saving.checkpoints import Checkpoint
from rayrml.tensors import to_input

_MOST_CALIBRATED = 128  # samples
_BATCH = 64
# What phones compute in integers; other operations stay in floats.
_OPERATIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool")


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What quantization has changed.

    Attributes:
        num_samples: how many test samples there were.
        before: accuracy of the file with floats, from 0 to 1.
        after: that of the quantized one.
        bytes_before: size of the file with floats.
        bytes_after: that of the quantized one.
    """

    num_samples: int
    before: float
    after: float
    bytes_before: int
    bytes_after: int

    @property
    def lost(self) -> float:
        """Points of accuracy that are lost, in percent of the samples."""
        return 100 * (self.before - self.after)


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How a file is quantized.

    Attributes:
        checkpoint: its path.
        kept: what it holds.
        exported: what was written.
        test: samples with classes by which accuracy is measured.
        calibration: samples that show the range of each activation.
        max_loss: points of accuracy that may be lost.
    """

    checkpoint: str
    kept: Checkpoint
    exported: Exportable
    test: Plan
    calibration: Plan
    max_loss: float

    def __call__(self, path: Path, place: str) -> tuple[Path, Quantized]:
        """Quantize the file at `path`; return the new file and what has changed.

        Raises:
            ConfigError: the runtime cannot quantize the network.
            DataError: too much accuracy is lost, or no sample can be read.
        """
        new = path.with_name(f"{INT8}{path.suffix}")
        inputs = self._calibration_inputs()
        first = next(inputs, None)
        if first is None:
            raise DataError(Problem(CALIBRATE, "none of the samples can be read"))
        try:
            _quantize(path, new, itertools.chain([first], inputs))
        except Exception as error:  # the runtime raises errors of many classes
            raise ConfigError(
                Problem(QUANTIZE, f"ONNX Runtime cannot quantize the network. {describe(error)}")
            ) from None
        before, count = self._accuracy(path)
        after, _ = self._accuracy(new)
        found = Quantized(count, before, after, path.stat().st_size, new.stat().st_size)
        self._describe(new, found)
        if not found.lost <= self.max_loss:
            accuracy = f"accuracy would fall from {before:.1%} to {after:.1%} on {count} samples"
            cure = f"`{MAX_LOSS} {np.ceil(found.lost):.0f}` writes it all the same"
            raise DataError(Problem(place, f"was not written: {accuracy}. {cure}"))
        return new, found

    def _describe(self, path: Path, found: Quantized) -> None:
        onnx: Any = importlib.import_module("onnx")
        model = onnx.load(path)
        numbers = {"num_samples": found.num_samples, "accuracy_before": found.before, "accuracy": found.after}
        onnx_files.add_metadata(model, {**self.exported.metadata, "quantization": {"type": INT8, **numbers}})
        onnx.save(model, path)

    def _calibration_inputs(self) -> Iterator[np.ndarray]:
        count = len(_samples(self.calibration))
        picked = np.unique(np.linspace(0, count - 1, min(count, _MOST_CALIBRATED)).round().astype(int))
        for _, inputs in self._inputs(self.calibration, picked):
            yield inputs

    def _accuracy(self, path: Path) -> tuple[float, int]:
        """The share of the test samples whose class is the most probable one, and their number. Raises DataError."""
        run, labels = onnx_files.read(path), _samples(self.test).labels
        if labels is None:
            raise RuntimeError("test samples have classes")
        right = total = 0
        for indices, inputs in self._inputs(self.test, np.arange(len(labels))):
            (output,) = run(torch.from_numpy(inputs))
            right += int((self._classes(output.numpy()) == labels[indices]).sum())
            total += len(indices)
        if not total:
            raise DataError(Problem(TEST, "none of the test samples can be read"))
        return right / total, total

    def _classes(self, outputs: np.ndarray) -> np.ndarray:
        """(n,) the most probable class of each output (n, K)."""
        table, _ = output_kind(self.kept)
        if self._from_pixels or not isinstance(table, Classifier):
            return outputs.argmax(1)
        return np.array([table.probabilities(output).argmax() for output in outputs])

    @property
    def _from_pixels(self) -> bool:
        return bool(self.exported.metadata["preprocessing"]["in_file"])

    def _inputs(self, plan: Plan, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Samples (n,) and what the file takes for them, a part at a time, without those that cannot be read."""
        for part in np.split(indices, range(_BATCH, len(indices), _BATCH)):
            yield from self._read(plan, part) if self._from_pixels else _decode(plan, part)

    def _read(self, plan: Plan, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index in indices:
            with contextlib.suppress(Exception):  # Pillow raises anything
                pixels = plain_reading.read_pixels(
                    storage.read(_samples(plan).path(int(index))), self.exported.metadata
                )
                if pixels is not None:
                    yield np.array([index]), pixels[None]


def _samples(plan: Plan) -> Any:
    if plan.test is None:
        raise RuntimeError("the plan has samples")
    return plan.test.samples


def _decode(plan: Plan, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if plan.test is None:
        return
    decoded = decode_now(plan.test, Picks.once(indices))
    good = [i for i in range(len(indices)) if not decoded.errors[i]]
    if good:
        numbers = to_numbers(torch.from_numpy(decoded.inputs[good]), pixels=plan.test.input.pixels)
        inputs, _ = plan.datasets.transforms.batched.evaluation()(numbers, None)
        yield indices[good], to_input(inputs).contiguous().numpy()


def plan_quantization(checkpoint: str, kept: Checkpoint, exported: Exportable, options: Options) -> Quantization:
    """What quantizes the file of a checkpoint's network.

    Raises:
        ConfigError: accuracy cannot be measured, or there are no samples.
        DataError: samples cannot be read.
    """
    table, _ = output_kind(kept)
    described = exported.metadata["preprocessing"]
    if not isinstance(table, Classifier) or not table.certain or len(exported.network.output_shapes[0]) != 1:
        message = "is for networks that tell classes apart: accuracy is measured before and after"
        raise ConfigError(Problem(QUANTIZE, message))
    if not described or described["sliced"] or len(exported.inputs) > 1:
        raise ConfigError(Problem(QUANTIZE, "the checkpoint does not say how one input of the network is read"))
    run = read_run(checkpoint).get("neural_network", {})
    own = run.get("data", {})
    tested = _plan_own_test(checkpoint, kept, run) if options.test is None else _plan_test(checkpoint, options.test)
    if tested.test is None or tested.test.samples.labels is None:
        raise ConfigError(Problem(TEST, "samples have no classes. Expected a folder for each class"))
    paths = [options.calibrate] if options.calibrate is not None else _listed(own.get("input_path"))
    if not paths or (options.calibrate is None and not all(map(storage.exists, paths))):
        raise ConfigError(Problem(CALIBRATE, "the run's training samples are not there. Expected some samples"))
    return Quantization(
        checkpoint, kept, exported, tested, plan_predictions(checkpoint, paths, CALIBRATE), options.most_lost
    )


def _plan_test(checkpoint: str, test: str) -> Plan:
    """The plan of the evaluation of a folder of classes. Raises ConfigError and DataError."""
    with naming(TEST, test):
        return prepare(find_configuration(checkpoint, {"test_input_path": test}, {"data.target_type": "labels"}))


def _plan_own_test(checkpoint: str, kept: Checkpoint, run: Mapping[str, Any]) -> Plan:
    """A plan with the run's own test samples.

    Args:
        checkpoint: the path of the checkpoint.
        kept: what it holds.
        run: the section `neural_network` of the run's configuration.

    Raises:
        ConfigError: the run has none, or they are not there any more.
        DataError: they cannot be read.
    """
    own = run.get("data", {})
    named = {key: own[key] for key in ("test_input_path", "test_target_path") if own.get(key)}
    divided = {key: own[key] for key in ("input_path", "target_path") if own.get(key)}
    paths = named or (divided if own.get("test_share") or own.get("split_column") else {})
    if not paths or not all(storage.exists(path) for value in paths.values() for path in _listed(value)):
        message = "the run's test samples are not there, so accuracy cannot be measured. Expected a folder of classes"
        raise ConfigError(Problem(TEST, message))
    if named:
        return prepare(find_configuration(checkpoint, named, {}))
    plan = prepare(Document({"neural_network": {**run, "layers": kept.layers, "checkpoints": {}}}))
    recorded = read_run(checkpoint, DATA)
    for part, source in (("training", plan.training), ("test", plan.test)):
        count = recorded.get(part, {}).get("samples")
        if source is None or count not in (None, len(source.samples)):
            message = "the run's samples are others now, so those of its test are unknown. Expected a folder of classes"
            raise ConfigError(Problem(TEST, message))
    return plan


def _listed(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _quantize(path: Path, new: Path, inputs: Iterable[np.ndarray]) -> None:
    """Write a quantized file: integers of 8 bits, weights with a scale for each channel."""
    onnx: Any = importlib.import_module("onnx")
    quantization: Any = importlib.import_module("onnxruntime.quantization")
    shapes: Any = importlib.import_module("onnxruntime.quantization.shape_inference")
    prepared = path.with_name(f"prepared{path.suffix}")
    with _without_warnings():
        shapes.quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        known = {value.name for value in graph.initializer}
        quantization.quantize_static(
            str(prepared),
            str(new),
            _Feed(graph.input[0].name, inputs),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATIONS),
            # Products of two activations, such as those of the preprocessing, lose most and have no weights to save.
            nodes_to_exclude=[n.name for n in graph.node if n.op_type == "MatMul" and not known & set(n.input)],
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )


class _Feed:
    """Gives the runtime one batch after the other, and then None."""

    def __init__(self, name: str, inputs: Iterable[np.ndarray]):
        self._name = name
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch by the input's name."""
        batch = next(self._inputs, None)
        return None if batch is None else {self._name: batch}


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Without the runtime's advice in the log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
