"""The layer calls in `inbound_nodes`, as written by Keras 2, Keras 3 or by hand, and the tensors they refer to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A tensor of the same model: output `tensor` of call `call` of `layer`.

    If `call` is None, it is the last call; if `tensor` is None, all outputs of the call. `counted` means that calls of
    nested models are numbered as in Keras 2: from 1, because a model's own inner call is number 0.
    """

    layer: str
    call: int | None = None
    tensor: int | None = None
    counted: bool = False


@dataclasses.dataclass(slots=True)
class Call:
    """One layer call: its arguments, with references in place of tensors, and the mode that it requests."""

    arguments: list[Any]
    training: bool | None = None

    def references(self) -> list[Reference]:
        """The tensors that the call takes, in order."""
        return [item for item in self.arguments if isinstance(item, Reference)]

    def constants(self) -> list[Any]:
        """The arguments that are not tensors."""
        return [item for item in self.arguments if not isinstance(item, Reference)]


def read_calls(nodes: Any) -> list[Call]:
    """The calls in `nodes`.

    Raises:
        ValueError: `nodes` has none of the known forms.
    """
    if isinstance(nodes, list) and nodes and all(isinstance(node, str) for node in nodes):
        return [Call([Reference(name) for name in nodes])]  # ["conv1", "conv2"]
    if isinstance(nodes, list):
        return [_read_call(node) for node in nodes]
    raise ValueError("expected a list of calls, each a list of [layer, call, tensor]")


def listed(ends: Any) -> list[Reference]:
    """The references in `input_layers` or `output_layers`: one, a list of them, or a dict.

    Raises:
        ValueError: `ends` is none of these.
    """
    if isinstance(ends, dict):
        return [ref for value in ends.values() for ref in listed(value)]
    if isinstance(ends, list) and ends and isinstance(ends[0], str):
        return [_reference([*ends, 0, 0][:3], counted=True)]
    if isinstance(ends, list):
        return [ref for value in ends for ref in listed(value)]
    raise ValueError(f"expected [layer, call, tensor], got {ends}")


def _read_call(node: Any) -> Call:
    if isinstance(node, dict) and "args" in node:  # Keras 3
        return _call(list(_leaves(_keras_3(node["args"]))), _options(_keras_3(node.get("kwargs") or {})))
    if not isinstance(node, list) or not node:
        raise ValueError("expected a list of [layer, call, tensor]")
    items = [node] if isinstance(node[0], str) else node  # one operation on one tensor is not wrapped in a list
    arguments: list[Any] = []
    options: dict[str, Any] = {}
    for item in items:
        if not (isinstance(item, list) and len(item) >= 3 and isinstance(item[0], str) and isinstance(item[1], int)):
            raise ValueError(f"expected [layer, call, tensor], got {item}")
        arguments.append(_keras_2(item))
        options |= {key: _keras_2(value) for key, value in _options(item[3] if len(item) > 3 else {}).items()}
    return _call(arguments, options)


def _call(arguments: list[Any], options: Mapping[str, Any]) -> Call:
    """A call with its keyword arguments after the others, without names and arguments that are None."""
    mode = options.get("training")
    more = [value for key, value in options.items() if key not in ("training", "name")]
    return Call(
        [item for item in (*arguments, *_leaves(more)) if item is not None], None if mode is None else bool(mode)
    )


def _keras_2(item: Any) -> Any:
    """A Keras 2 tensor, written [layer, call, tensor], or the constant in its place."""
    if isinstance(item, list) and len(item) >= 3 and isinstance(item[0], str) and isinstance(item[1], int):
        return item[2] if item[0] == "_CONSTANT_VALUE" else _reference(item[:3], counted=True)
    return [_keras_2(value) for value in item] if isinstance(item, list) else item


def _keras_3(item: Any) -> Any:
    """`item` with each of Keras 3's `__keras_tensor__` objects replaced by a reference."""
    if isinstance(item, dict) and item.get("class_name") == "__keras_tensor__":
        config = item.get("config")
        return _reference(config.get("keras_history") if isinstance(config, dict) else None)
    if isinstance(item, dict):
        return {key: _keras_3(value) for key, value in item.items()}
    return [_keras_3(value) for value in item] if isinstance(item, list) else item


def _reference(item: Any, counted: bool = False) -> Reference:
    if not (isinstance(item, list) and list(map(type, item)) == [str, int, int]):
        raise ValueError(f"expected [layer, call, tensor], got {item}")
    return Reference(*item, counted=counted)


def _options(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ValueError(f"expected the keyword arguments of a call, got {item}")
    return item


def _leaves(item: Any) -> Iterator[Any]:
    if isinstance(item, dict | list):
        for value in item.values() if isinstance(item, dict) else item:
            yield from _leaves(value)
    else:
        yield item
