"""TensorFlow's operations in models of tf.keras 2.1 to 2.3, which are layers `TensorFlowOpLayer` there.

Each has a node of TensorFlow's graph as JSON, and the constants among its inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

LAYER = "TensorFlowOpLayer"
_FLOATS = ("DT_FLOAT", "DT_HALF", "DT_BFLOAT16", "DT_DOUBLE")
_MOST_AXES = 3


class Operation(NamedTuple):
    """One operation.

    Attributes:
        op: its name in TensorFlow.
        operands: its inputs in order: None for a tensor, else the constant.
        attributes: by name, such as `keep_dims`.
    """

    op: str
    operands: list[Any]
    attributes: Mapping[str, Any]

    def constant(self, number: int) -> Any:
        """The constant at a position. Raises ValueError if there is none."""
        if number >= len(self.operands) or self.operands[number] is None:
            raise ValueError(f"the operation '{self.op}' is only supported with a constant as input {number + 1}")
        return self.operands[number]


def translate(config: Mapping[str, Any], num_tensors: int) -> tuple[str, dict[str, Any]]:
    """The class and the configuration of the layer that does what an operation on so many tensors does.

    Raises:
        ValueError: it is not supported, or the configuration is not that of an operation.
    """
    operation = _read(config, num_tensors)
    kind, find = operation.op, _FINDERS.get(operation.op)
    name, own = (_SAME[kind], _operands(operation)) if kind in _SAME else find(operation) if find else ("", {})
    if not name:
        known = ", ".join(sorted([*_SAME, *_FINDERS]))
        raise ValueError(f"the operation '{kind}' is not supported. Expected one of {known}")
    return name, {"name": config.get("name"), "trainable": config.get("trainable", True), **own}


def _read(config: Mapping[str, Any], num_tensors: int) -> Operation:
    node, constants = config.get("node_def"), config.get("constants") or {}
    if isinstance(node, str):
        try:
            node = json.loads(node)
        except json.JSONDecodeError:
            raise ValueError("'node_def' is not JSON. Save the model again with tf.keras 2.2 or later") from None
    if not isinstance(node, Mapping) or not isinstance(node.get("op"), str) or not isinstance(constants, Mapping):
        raise ValueError("expected 'node_def' with the operation's name 'op', and 'constants' by their position")
    try:
        known = {int(number): _squeezed(value) for number, value in constants.items()}
    except ValueError:
        raise ValueError("expected the positions of 'constants' to be numbers") from None
    total = num_tensors + len(known)
    if any(not 0 <= number < total or value is None for number, value in known.items()):
        raise ValueError(f"expected {len(known)} constants among {total} inputs, got positions {sorted(known)}")
    attributes = node.get("attr")
    return Operation(
        node["op"],
        [known.get(number) for number in range(total)],
        {key: _value(value) for key, value in (attributes if isinstance(attributes, Mapping) else {}).items()},
    )


def _squeezed(value: Any) -> Any:
    """A constant without axes of length 1 before its last one, which change nothing when tensors are broadcast."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    return value


def _value(attribute: Any) -> Any:
    """The value of an attribute, which is under a key for its type; integers of 64 bits are strings in JSON."""
    if not isinstance(attribute, Mapping) or len(attribute) != 1:
        return None
    ((kind, value),) = attribute.items()
    if kind == "list":
        return [int(number) for number in value.get("i", [])] if isinstance(value, Mapping) else None
    return int(value) if kind == "i" else value


def _operands(operation: Operation) -> dict[str, Any]:
    return {"operands": operation.operands} if any(item is not None for item in operation.operands) else {}


def _axes(value: Any) -> list[int]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(axis, int) for axis in found):
        raise ValueError(f"expected axes, got {value}")
    return found


def _pool(kind: str) -> Callable[[Operation], tuple[str, dict[str, Any]]]:
    def find(operation: Operation) -> tuple[str, dict[str, Any]]:
        axes = sorted(_axes(operation.constant(1)))
        if axes != list(range(1, len(axes) + 1)) or not 1 <= len(axes) <= _MOST_AXES:
            message = f"the operation '{operation.op}' is only supported over all axes between batch and channels"
            raise ValueError(f"{message}, got {axes}")
        return f"Global{kind}Pooling{len(axes)}D", {"keepdims": bool(operation.attributes.get("keep_dims"))}

    return find


def _reshape(operation: Operation) -> tuple[str, dict[str, Any]]:
    first, *rest = _axes(operation.constant(1))
    if first != -1 or not rest:
        raise ValueError(f"the operation 'Reshape' is only supported with -1 for the batch, got {[first, *rest]}")
    return "Reshape", {"target_shape": rest}


def _transpose(operation: Operation) -> tuple[str, dict[str, Any]]:
    first, *rest = _axes(operation.constant(1))
    if first != 0:
        raise ValueError("the operation 'Transpose' is only supported if the batch stays the first axis")
    return "Permute", {"dims": rest}


def _cast(operation: Operation) -> tuple[str, dict[str, Any]]:
    kind = operation.attributes.get("DstT")
    if kind not in _FLOATS:
        raise ValueError(f"the operation 'Cast' is only supported to floats, got {kind}")
    return "Activation", {"activation": "linear"}


def _concatenate(operation: Operation) -> tuple[str, dict[str, Any]]:
    (axis,) = _axes(operation.constant(len(operation.operands) - 1))
    if any(item is not None for item in operation.operands[:-1]):
        raise ValueError("the operation 'ConcatV2' is only supported with tensors, not with constants")
    return "Concatenate", {"axis": axis}


def _with_axes(name: str, key: str | None = None) -> Callable[[Operation], tuple[str, dict[str, Any]]]:
    """The layer of this name, with the axes in an attribute, or else in the second input."""

    def find(operation: Operation) -> tuple[str, dict[str, Any]]:
        axes = operation.constant(1) if key is None else operation.attributes.get(key) or []
        return name, {"operands": [None, *_axes(axes)]}

    return find


def _power(exponent: float) -> Callable[[Operation], tuple[str, dict[str, Any]]]:
    return lambda operation: ("tf.math.pow", {"operands": [None, exponent]})


def _leaky(operation: Operation) -> tuple[str, dict[str, Any]]:
    return "tf.nn.leaky_relu", {"operands": [None, operation.attributes.get("alpha", _LEAK)]}


_LEAK = 0.2  # TensorFlow's default
# Element by element: the row that does the same with the same operands.
_SAME: dict[str, str] = {
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), "tf.math.add"),
    **dict.fromkeys(("Div", "RealDiv"), "tf.math.truediv"),
    "Sub": "tf.math.subtract",
    "Mul": "tf.math.multiply",
    "Pow": "tf.math.pow",
    "Neg": "tf.math.negative",
    **{op: f"tf.math.{op.lower()}" for op in ("Maximum", "Minimum", "Abs", "Exp", "Log", "Sqrt", "Square", "Tanh")},
    **{op: f"tf.math.{op.lower()}" for op in ("Sigmoid", "Softplus")},
    **{op: f"tf.nn.{op.lower()}" for op in ("Relu", "Relu6", "Elu", "Selu")},
}
_FINDERS: dict[str, Callable[[Operation], tuple[str, dict[str, Any]]]] = {
    "LeakyRelu": _leaky,
    "Rsqrt": _power(-0.5),
    "Reciprocal": _power(-1.0),
    "Softmax": lambda operation: ("Softmax", {}),
    "LogSoftmax": lambda operation: ("LogSoftmax", {}),
    "Identity": lambda operation: ("Activation", {"activation": "linear"}),
    "Cast": _cast,
    "Mean": _pool("Average"),
    "Max": _pool("Max"),
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ConcatV2": _concatenate,
    "ExpandDims": _with_axes("tf.expand_dims"),
    "Squeeze": _with_axes("tf.squeeze", "squeeze_dims"),
}
