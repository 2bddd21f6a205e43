"""ONNX files: written by torch, then given the network's names, and what is known of it as metadata."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from rayrml import extras
from rayrml.errors import ConfigError, Problem, describe
from rayrml.exporting.exportable import BATCH, Exportable
from rayrml.version import __version__

OLDEST_OPSET = 18  # the first one whose Resize has antialiasing
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_WORD = re.compile(r"\w+")


def require() -> None:
    """Raise ConfigError if a package is missing."""
    for name in _PACKAGES:
        if lacking := extras.missing(name, "onnx"):
            raise ConfigError(f"for ONNX files, {lacking}")


def check_opset(opset: int) -> None:
    """Raise ConfigError unless files of this version can be written and read here."""
    require()
    newest = importlib.import_module("onnx").defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise ConfigError(Problem("--opset", f"expected a version from {OLDEST_OPSET} to {newest}, got {opset}"))


def write(exported: Exportable, program: torch.export.ExportedProgram, path: Path, opset: int | None) -> None:
    """Write operations with the names and the metadata of what is exported.

    Raises:
        ConfigError: ONNX lacks an operation, or the version cannot be had.
    """
    try:
        torch.onnx.export(
            program,
            (),
            path,
            input_names=[f"input_{i}" for i in range(len(exported.inputs))],
            output_names=[f"output_{i}" for i in range(len(exported.outputs))],
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as error:
        raise ConfigError(Problem("", f"ONNX cannot represent the network. {describe(error)}")) from None
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load(path)
    written = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset is not None and written != opset:
        raise ConfigError(Problem("--opset", f"the network cannot be written in version {opset}, only in {written}"))
    _rename(model.graph, exported)
    model.producer_name, model.producer_version = "rayrml", __version__
    add_metadata(model, exported.metadata)
    onnx.save(model, path)


def add_metadata(model: Any, metadata: Mapping[str, Any]) -> None:
    """Add each key with its value as JSON, in place of torch's own notes."""
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=json.dumps(value))


def read(path: Path | str) -> Callable[..., list[torch.Tensor]]:
    """The function in a file: one tensor for each input -> the list of outputs. Raises ConfigError."""
    runtime: Any = importlib.import_module("onnxruntime")
    try:
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, for operations and versions that it lacks
        raise ConfigError(Problem("", f"ONNX Runtime cannot compute the network. {describe(error)}")) from None
    names = [entry.name for entry in session.get_inputs()]

    def outputs(*inputs: torch.Tensor) -> list[torch.Tensor]:
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, given)]

    return outputs


def _rename(graph: Any, exported: Exportable) -> None:
    """Give inputs, outputs and open sizes their names; what has one of these names already gets another one."""
    names = {f"input_{i}": one.name for i, one in enumerate(exported.inputs)}
    names |= {f"output_{i}": name for i, name in enumerate(exported.outputs)}
    taken = set(names.values())
    used = {name for node in graph.node for name in node.output} | {value.name for value in graph.initializer}
    names |= {name: f"{name}__" for name in (used & taken) - names.keys()}
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        del node.metadata_props[:]  # of torch: lines of code
        node.doc_string = ""
    sizes = _name_sizes(graph, exported)
    for value in (*graph.input, *graph.output, *graph.value_info):
        del value.metadata_props[:]
        for size in _open_sizes(value):
            size.dim_param = _WORD.sub(lambda word: sizes.get(word[0], word[0]), size.dim_param)


def _name_sizes(graph: Any, exported: Exportable) -> dict[str, str]:
    """The name of each of torch's symbols."""
    names: dict[str, str] = {}
    for value, one in zip(graph.input, exported.inputs, strict=True):
        for size, name in zip(value.type.tensor_type.shape.dim, (BATCH, *one.shape), strict=True):
            if size.HasField("dim_param") and isinstance(name, str):
                names.setdefault(size.dim_param, name)
    return names


def _open_sizes(value: Any) -> Iterable[Any]:
    return (size for size in value.type.tensor_type.shape.dim if size.HasField("dim_param"))
