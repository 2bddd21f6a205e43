"""Exports of a checkpoint's network in other programs' formats; each file is checked after it is written."""

from __future__ import annotations

import copy
import functools
import importlib
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rayrml import extras, storage
from rayrml.config.tables import choose
from rayrml.errors import ConfigError, DataError, Problem, describe, explaining
from rayrml.losses import LOSSES, Loss
from rayrml.networks.network import Network, build_network
from rayrml.saving import checkpoints
from rayrml.saving.keras_weights import KERAS_3_ENDING, export_weights, load_weights

TOLERANCE = 1e-4  # for each number in an output, absolute and relative
_BATCHES = (2, 3)  # batch sizes for checking the file; the network is traced with the first
_ANY_SIZE = 32  # used for spatial sizes that the network leaves open
_OUTPUTS = Callable[..., Any]


class Format(NamedTuple):
    """How a network is written to a file and read back as a function.

    Attributes:
        write: (network, inputs for tracing it, path).
        read: (path, network) -> the function in the file.
        has_operations: whether the file has the network's operations, not its weights alone.
    """

    write: Callable[[Network, tuple[torch.Tensor, ...], Path], None]
    read: Callable[[Path, Network], _OUTPUTS]
    has_operations: bool = True


def export(checkpoint: str | Path, file: str | Path) -> float:
    """Write a checkpoint's network in the format of the file's ending; return the largest difference of outputs.

    The file is read again, and its outputs for random inputs are compared with the network's. Inputs are
    (N, C, *spatial) floats for any N, as they reach the network: after the transforms, with pixels from 0 to 1. Outputs
    are those of predictions: standardized numbers have their unit again, except in files of weights.
    `.pt2` is the format of `torch.export`, `.onnx` that of ONNX, and `.h5` contains only weights, for Keras;
    `.weights.h5` has them in the format of Keras 3.

    Raises:
        ConfigError: the ending is unknown, the checkpoint has no network, the format lacks its operations, or a package
            is missing.
        DataError: files cannot be read or written, or outputs differ; in that case no file is left.
    """
    ending = storage.suffix(str(file))
    if ending not in FORMATS:
        raise ConfigError(Problem(str(file), f"unknown ending '{ending}'. Expected one of {', '.join(FORMATS)}"))
    network = load_network(checkpoint, imposed=FORMATS[ending].has_operations)
    with tempfile.TemporaryDirectory(prefix="rayrml-") as folder:
        path = Path(folder) / f"network{KERAS_3_ENDING if str(file).endswith(KERAS_3_ENDING) else ending}"
        with torch.inference_mode(False), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own warnings
            FORMATS[ending].write(network, _inputs(network, _BATCHES[0]), path)
            worst = _compare(network, FORMATS[ending].read(path, network), str(file))
        with explaining(file, "cannot be written"):
            storage.write(str(file), path.read_bytes())
    return worst


def load_network(checkpoint: str | Path, *, imposed: bool = False) -> Network:
    """The network in a checkpoint, with its weights, in evaluation mode.

    If they are to be `imposed`, outputs have the values that the loss prescribes, as predictions have.

    Raises:
        ConfigError: the checkpoint has no network, or weights that do not fit it.
        DataError: the file cannot be read.
    """
    kept = checkpoints.load_complete(checkpoint)
    network = build_network(kept.layers, kept.input_shape)
    checkpoints.load_into(network, kept.network, checkpoint)
    if imposed and kept.loss:
        loss: Loss = choose(LOSSES, kept.loss, "neural_network.loss", "function").build()
        if loss.impose is not None:
            network.register_forward_hook(functools.partial(_imposed, loss=loss))
    return network.eval()


def _imposed(module: torch.nn.Module, inputs: Any, output: Any, *, loss: Loss) -> torch.Tensor:
    """The output of a network, a module, with the values that a loss prescribes."""
    return loss.imposed(output)


class _Positional(torch.nn.Module):
    """The network as a function with one argument per input."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.network(*inputs)


def _inputs(network: Network, count: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random tensors (count, C, *spatial), one for each of the network's inputs."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [[_ANY_SIZE if size is None else size for size in shape] for shape in network.input_shapes]
    return tuple(torch.rand((count, *shape), generator=generator) for shape in shapes)


def _compare(network: Network, other: _OUTPUTS, place: str) -> float:
    """The largest difference between the outputs of both. Raises DataError if it is too large."""
    worst = 0.0
    for count in _BATCHES:
        inputs = _inputs(network, count, seed=count)
        with torch.no_grad():
            pairs = zip(_listed(network(*inputs)), _listed(other(*inputs)), strict=True)
        for expected, computed in pairs:
            if expected.shape != computed.shape:
                shapes = f"{tuple(computed.shape)}, but the network's has {tuple(expected.shape)}"
                raise DataError(Problem(place, f"was not written: an output has shape {shapes}"))
            worst = max(worst, _difference(expected, computed))
    if not worst <= TOLERANCE:
        message = f"was not written: its outputs differ by {worst:.2g} from the network's, more than {TOLERANCE:g}"
        raise DataError(Problem(place, message))
    return worst


def _difference(expected: torch.Tensor, computed: torch.Tensor) -> float:
    """The largest difference of two numbers, relative for numbers beyond 1; infinite if only one is NaN."""
    same = (expected == computed) | (expected.isnan() & computed.isnan())
    differences = ((expected - computed).abs() / expected.abs().clamp(min=1))[~same].nan_to_num(nan=torch.inf)
    return differences.max().item() if differences.numel() else 0.0


def _listed(output: Any) -> Sequence[torch.Tensor]:
    return output if isinstance(output, tuple | list) else [output]


def _program(network: Network, inputs: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """The network's operations, for any batch size and, where the network leaves them open, any spatial sizes.

    Raises:
        ConfigError: torch cannot follow the network.
    """
    axes = [
        {0: torch.export.Dim("batch"), **{i: torch.export.Dim.AUTO for i, size in enumerate(shape, 1) if size is None}}
        for shape in network.input_shapes
    ]
    try:
        return torch.export.export(_Positional(network), inputs, dynamic_shapes={"inputs": tuple(axes)})
    except Exception as error:  # every part of torch raises errors of its own class
        raise ConfigError(Problem("", f"torch cannot export the network. {describe(error)}")) from None


def _write_pt2(network: Network, inputs: tuple[torch.Tensor, ...], path: Path) -> None:
    torch.export.save(_program(network, inputs), path)


def _read_pt2(path: Path, network: Network) -> _OUTPUTS:
    return torch.export.load(path).module()


def _write_onnx(network: Network, inputs: tuple[torch.Tensor, ...], path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        _required(name)
    count = len(network.output_shapes)
    names = [f"input_{i}" for i in range(len(inputs))], [f"output_{i}" for i in range(count)]
    program = _program(network, inputs)
    try:
        torch.onnx.export(
            program,
            (),
            path,
            input_names=names[0] if len(inputs) > 1 else ["input"],
            output_names=names[1] if count > 1 else ["output"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as error:
        raise ConfigError(Problem("", f"ONNX cannot represent the network. {describe(error)}")) from None


def _read_onnx(path: Path, network: Network) -> _OUTPUTS:
    session = _required("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def outputs(*inputs: torch.Tensor) -> list[torch.Tensor]:
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, given)]

    return outputs


def _write_keras(network: Network, inputs: tuple[torch.Tensor, ...], path: Path) -> None:
    export_weights(network, path)


def _read_keras(path: Path, network: Network) -> _OUTPUTS:
    other = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)  # weights that the file lacks show up in the outputs
    load_weights(other, path)
    return other


def _required(name: str) -> Any:
    """The module of that name. Raises ConfigError if the package is not installed."""
    if lacking := extras.missing(name, "onnx"):
        raise ConfigError(f"for ONNX files, {lacking}")
    return importlib.import_module(name)


FORMATS = {
    ".pt2": Format(_write_pt2, _read_pt2),
    ".onnx": Format(_write_onnx, _read_onnx),
    ".h5": Format(_write_keras, _read_keras, has_operations=False),
}
