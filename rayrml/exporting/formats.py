"""The formats in which networks are written, by the ending of the file, and how each file is compared with its network.

What follows a file's operations are those of `torch.export`; ONNX is made of these.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from rayrml.errors import ConfigError, DataError, Problem, describe
from rayrml.exporting import onnx_files
from rayrml.exporting.exportable import BATCH, Exportable, Input
from rayrml.networks.network import Network
from rayrml.saving.keras_weights import export_weights, load_weights

TOLERANCE = 1e-4  # for each number in an output, absolute and relative
_OF_PIXELS = 1e-2  # the same for pixels: where a resized one is rounded otherwise, it differs by a shade
METADATA = "metadata.json"  # the file in a .pt2
_BATCHES = (2, 3, 1)  # batch sizes for checking the file; the network is traced with the first
# Open sizes by axis, in units, in these batches. Each differs, since each may be any; the last are about the smallest.
_OPEN_SIZES = ((2, 3, 4), (3, 4, 2), (1, 1, 1))
_UNITS = {1: (32, 64, 128, 256), 2: (32, 64, 128, 256), 3: (16, 32, 64)}  # by the number of open axes
Outputs = Callable[..., Any]


class Format(NamedTuple):
    """How a network is written to a file and read back as a function.

    Attributes:
        write: (what is exported, inputs for tracing it, path, the opset of ONNX or None).
        read: (path, network) -> the function in the file.
        has_operations: whether the file has the network's operations, not its weights alone.
    """

    write: Callable[[Exportable, tuple[torch.Tensor, ...], Path, int | None], None]
    read: Callable[[Path, Network], Outputs]
    has_operations: bool = True


def draw_inputs(exported: Exportable, batch: int) -> tuple[torch.Tensor, ...]:
    """Random inputs of the batch of this number, 0 to 2, always the same ones."""
    unit = _find_unit(exported)
    return _draw(exported, batch, [unit * times for times in _OPEN_SIZES[batch]])


def _draw(exported: Exportable, batch: int, open_sizes: Sequence[int]) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    return tuple(one.draw(_BATCHES[batch], open_sizes, generator) for one in exported.inputs)


def _find_unit(exported: Exportable) -> int:
    """The first unit of open sizes that the network can take: those that reduce sizes often take no small ones."""
    open_axes = max(sum(isinstance(size, str) for size in one.shape) for one in exported.inputs)
    units = _UNITS.get(open_axes, (1,))
    for unit in units if open_axes else ():
        with torch.no_grad(), contextlib.suppress(Exception):  # every layer raises errors of its own class
            exported.module(*_draw(exported, 0, [unit] * open_axes))
            return unit
    return units[0]


def compare(exported: Exportable, other: Outputs, place: str) -> float:
    """The largest difference between outputs of both for random inputs. Raises DataError if it is too large."""
    worst = 0.0
    for batch in range(len(_BATCHES)):
        inputs = draw_inputs(exported, batch)
        with torch.no_grad():
            expected = listed(exported.module(*inputs))
            computed = compute(other, inputs, place)
        for mine, theirs in zip(expected, computed, strict=True):
            if mine.shape != theirs.shape:
                shapes = f"{tuple(theirs.shape)}, but the network's has {tuple(mine.shape)}"
                raise DataError(Problem(place, f"was not written: an output has shape {shapes}"))
            worst = max(worst, difference(mine, theirs))
    tolerance = _OF_PIXELS if any(one.dtype == torch.uint8 for one in exported.inputs) else TOLERANCE
    if not worst <= tolerance:
        message = f"was not written: its outputs differ by {worst:.2g} from the network's, more than {tolerance:g}"
        raise DataError(Problem(place, message))
    return worst


def compute(function: Outputs, inputs: Sequence[torch.Tensor], place: str) -> Sequence[torch.Tensor]:
    """The outputs of a file's function. Raises DataError if it does not take the inputs."""
    try:
        return listed(function(*inputs))
    except Exception as error:  # every runtime raises errors of its own class
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        message = f"was not written: it does not take inputs {shapes}, as the network does. {describe(error)}"
        raise DataError(Problem(place, message)) from None


def difference(expected: torch.Tensor, computed: torch.Tensor) -> float:
    """The largest difference of two numbers, relative for numbers beyond 1; infinite if only one is NaN."""
    same = (expected == computed) | (expected.isnan() & computed.isnan())
    differences = ((expected - computed).abs() / expected.abs().clamp(min=1))[~same].nan_to_num(nan=torch.inf)
    return differences.max().item() if differences.numel() else 0.0


def listed(output: Any) -> Sequence[torch.Tensor]:
    """The outputs of a network that has one, or several."""
    return output if isinstance(output, tuple | list) else [output]


def _program(exported: Exportable, inputs: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """The operations, for any batch size and, where they are open, any spatial sizes.

    Raises:
        ConfigError: torch cannot follow them; if one layer is to blame, it is named.
    """
    axes = [{0: torch.export.Dim(BATCH), **_open_axes(one)} for one in exported.inputs]
    try:
        program = torch.export.export(_Positional(exported.module), inputs, dynamic_shapes={"inputs": tuple(axes)})
    except Exception as error:  # every part of torch raises errors of its own class
        names = list(_find_untraceable(exported, inputs))
        what = f"torch cannot export the layer '{names[0]}'" if names else "torch cannot export the network"
        raise ConfigError(Problem("", f"{what}. {describe(error)}")) from None
    return _without_longer_axes(program)


def _without_longer_axes(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Drops the conditions that axes within the network have another length than 1, as they had when it was traced.

    torch adds them wherever it looks at strides. Operations compute a length of 1 as well, which `compare` tries.
    """
    conditions = getattr(program, "_guards_code", None)
    if conditions is not None:
        program._guards_code = [condition for condition in conditions if not condition.endswith("!= 1")]
    return program


def _open_axes(one: Input) -> dict[int, Any]:
    return {axis: torch.export.Dim.AUTO for axis, size in enumerate(one.shape, 1) if isinstance(size, str)}


class _Positional(nn.Module):
    """A module as a function of any number of inputs, whatever it calls them."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.module(*inputs)


def _find_untraceable(exported: Exportable, inputs: tuple[torch.Tensor, ...]) -> Iterator[str]:
    """The names of the layers that torch cannot follow even by themselves."""
    layers = exported.network.layers()
    given: dict[str, Any] = {}

    def noting(name: str) -> Callable[[nn.Module, Any], None]:
        def note(module: nn.Module, arguments: Any) -> None:
            given.setdefault(name, arguments)

        return note

    handles = [layer.register_forward_pre_hook(noting(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            exported.module(*inputs)
    except Exception:
        return  # it cannot be computed at all
    finally:
        for handle in handles:
            handle.remove()
    for name, arguments in given.items():
        try:
            torch.export.export(layers[name], arguments)
        except Exception:
            yield name


def _write_pt2(exported: Exportable, inputs: tuple[torch.Tensor, ...], path: Path, opset: int | None) -> None:
    extra = {METADATA: json.dumps(exported.metadata, indent=1)}
    torch.export.save(_program(exported, inputs), path, extra_files=extra)


def _read_pt2(path: Path, network: Network) -> Outputs:
    return torch.export.load(path).module()


def _write_onnx(exported: Exportable, inputs: tuple[torch.Tensor, ...], path: Path, opset: int | None) -> None:
    onnx_files.require()
    onnx_files.write(exported, _program(exported, inputs), path, opset)


def _read_onnx(path: Path, network: Network) -> Outputs:
    return onnx_files.read(path)


def _write_keras(exported: Exportable, inputs: tuple[torch.Tensor, ...], path: Path, opset: int | None) -> None:
    export_weights(exported.network, path)


def _read_keras(path: Path, network: Network) -> Outputs:
    other = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)  # weights that the file lacks show up in the outputs
    load_weights(other, path)
    return other


FORMATS = {
    ".pt2": Format(_write_pt2, _read_pt2),
    ".onnx": Format(_write_onnx, _read_onnx),
    ".h5": Format(_write_keras, _read_keras, has_operations=False),
}
