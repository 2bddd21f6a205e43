"""A checkpoint's network in a file for other programs, which is read again and compared before it gets its name."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from rayrml import storage
from rayrml.errors import ConfigError, DataError, Problem, explaining
from rayrml.exporting import metadata
from rayrml.exporting.exportable import Exportable, network_of, plain
from rayrml.exporting.file_check import Compared, FileCheck
from rayrml.exporting.formats import FORMATS, Outputs, compare, draw_inputs
from rayrml.exporting.from_pixels import with_preprocessing
from rayrml.exporting.options import CHECK, Options
from rayrml.exporting.preprocessing import find_preprocessing
from rayrml.exporting.quantization import Quantized, plan_quantization
from rayrml.saving import checkpoints
from rayrml.saving.checkpoint_folder import find_model
from rayrml.saving.checkpoints import Checkpoint
from rayrml.saving.keras_weights import KERAS_3_ENDING


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the file.
        difference: the largest one of its outputs, before they are quantized, from the network's, for random inputs.
        images: what was compared from image files to answers, before it is quantized.
        quantized: what quantization has changed, None without it.
    """

    path: str
    difference: float
    images: Compared
    quantized: Quantized | None = None


def export(
    checkpoint: str | Path,
    file: str | Path,
    *,
    preprocessing: bool = False,
    check: str | Path | None = None,
    opset: int | None = None,
    quantize: str | None = None,
    test: str | Path | None = None,
    calibrate: str | Path | None = None,
    max_loss: float | None = None,
) -> Exported:
    """Write a checkpoint's network in the format of the file's ending.

    The file is read again, and its outputs for random inputs are compared with the network's. If inputs are images, so
    are the answers for some images with predictions, from the image file on, by a short program of its own that knows
    only the file. Inputs are (N, C, *spatial) floats for any N, as they reach the network: after the transforms, with
    pixels from 0 to 1. Outputs are those of predictions: standardized numbers have their unit again, except in files of
    weights. `.pt2` is the format of `torch.export`, `.onnx` that of ONNX, and `.h5` contains only weights, for Keras;
    `.weights.h5` has them in the format of Keras 3.

    Args:
        checkpoint: a file, or a run's folder, which means its best model.
        file: to be written; an earlier one is replaced.
        preprocessing: inputs are pixels (N, H, W, C) uint8 as decoders give them, and outputs probabilities.
        check: an image or a folder of images to compare; default: the run's own, if they are there.
        opset: the version of ONNX, None for torch's own choice.
        quantize: `int8` for weights and activations of 8 bits, None for floats.
        test: folder of classes by which the loss of accuracy is measured; default: the run's test samples.
        calibrate: samples that show the range of each activation; default: those that the run has learned from.
        max_loss: points of accuracy that quantization may lose, None for 1.

    Raises:
        ConfigError: the ending is unknown, the checkpoint has no network, the format lacks its operations, a package
            is missing, or an option does not suit the network or the format.
        DataError: files cannot be read or written, outputs differ, or too much accuracy is lost; then no file is left.
    """
    given = {"check": check, "test": test, "calibrate": calibrate}
    paths = {name: None if path is None else str(path) for name, path in given.items()}
    options = Options(preprocessing=preprocessing, opset=opset, quantize=quantize, max_loss=max_loss, **paths)
    ending = _check_file(str(checkpoint), str(file))
    options.refuse_others(ending, has_operations=FORMATS[ending].has_operations)
    return _export(str(checkpoint), str(file), ending, options)


def _export(checkpoint: str, file: str, ending: str, options: Options) -> Exported:
    kept = checkpoints.load_complete(checkpoint)
    exported = _make(kept, checkpoint, ending, preprocessing=options.preprocessing)
    checks = FileCheck(checkpoint, kept, exported)
    plan = checks.plan(options.check) if FORMATS[ending].has_operations else Compared()
    quantize = plan_quantization(checkpoint, kept, exported, options) if options.quantize else None
    with _written(exported, file, ending, options.opset) as (path, function):
        worst = compare(exported, function, file)
        images = plan if isinstance(plan, Compared) else checks(function, plan, file)
        if options.check is not None and images.reason:
            raise DataError(Problem(f"{CHECK} {options.check}", images.reason))
        best, quantized = (path, None) if quantize is None else quantize(path, file)
        with explaining(file, "cannot be written"):
            storage.write(file, best.read_bytes())
    return Exported(file, worst, images, quantized)


def _check_file(checkpoint: str, file: str) -> str:
    """The ending of the file.

    Raises:
        ConfigError: the ending is unknown, or the file cannot be replaced.
        DataError: there is no such checkpoint.
    """
    ending = storage.suffix(file)
    if ending not in FORMATS:
        raise ConfigError(Problem(file, f"unknown ending '{ending}'. Expected one of {', '.join(FORMATS)}"))
    with explaining(file, "cannot be accessed"):
        is_folder = storage.is_folder(file)
    if is_folder:
        raise ConfigError(Problem(file, "is a folder. Expected the name of a file"))
    if storage.absolute(file) == storage.absolute(find_model(checkpoint)):
        raise ConfigError(Problem(file, "is the checkpoint itself. Expected another name"))
    return ending


def _make(kept: Checkpoint, path: str, ending: str, *, preprocessing: bool) -> Exportable:
    network = network_of(kept, path, imposed=FORMATS[ending].has_operations)
    if not FORMATS[ending].has_operations:
        return plain(network)
    known = None if kept.generates else find_preprocessing(kept.data)
    exported = with_preprocessing(network, kept, known, path) if preprocessing else plain(network)
    described = metadata.describe(exported, kept, known, from_pixels=preprocessing)
    return dataclasses.replace(exported, metadata=described)


@contextmanager
def _written(exported: Exportable, file: str, ending: str, opset: int | None) -> Iterator[tuple[Path, Outputs]]:
    """A file in a temporary folder, and the function in it."""
    with tempfile.TemporaryDirectory(prefix="rayrml-") as folder:
        path = Path(folder) / f"network{KERAS_3_ENDING if file.endswith(KERAS_3_ENDING) else ending}"
        with torch.inference_mode(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own warnings
            FORMATS[ending].write(exported, draw_inputs(exported, 0), path, opset)
            yield path, FORMATS[ending].read(path, exported.network)
