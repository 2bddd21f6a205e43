"""Keras's distributions of initial weights, drawn from torch's global generator for a weight of Keras's shape."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pydantic
import torch

from rayrml.config import names, tables
from rayrml.config.json_files import format_value
from rayrml.errors import ConfigError, Problem, describe

Shape = tuple[int, ...]
Mode = Literal["fan_in", "fan_out", "fan_avg"]
Deviation = Annotated[float, pydantic.Field(ge=0)]
Distribution = Literal["uniform", "normal", "truncated_normal", "untruncated_normal"]

# The fraction of its standard deviation that a normal distribution keeps when truncated at two of them.
_TRUNCATED = 0.87962566103423978


def constant(shape: Shape, *, value: float = 0.0) -> torch.Tensor:
    """Every weight is `value`."""
    return torch.full(shape, value)


def zeros(shape: Shape) -> torch.Tensor:
    """Every weight is 0."""
    return torch.zeros(shape)


def ones(shape: Shape) -> torch.Tensor:
    """Every weight is 1."""
    return torch.ones(shape)


def random_uniform(shape: Shape, *, minval: float = -0.05, maxval: float = 0.05) -> torch.Tensor:
    """Uniform in [minval, maxval)."""
    return torch.empty(shape).uniform_(minval, maxval)


def random_normal(shape: Shape, *, mean: float = 0.0, stddev: Deviation = 0.05) -> torch.Tensor:
    """Normal with the given mean and standard deviation."""
    return torch.empty(shape).normal_(mean, stddev)


def truncated_normal(shape: Shape, *, mean: float = 0.0, stddev: Deviation = 0.05) -> torch.Tensor:
    """Normal, redrawn where it is more than two standard deviations from the mean."""
    if stddev == 0:
        return constant(shape, value=mean)
    low, high = mean - 2 * stddev, mean + 2 * stddev
    return torch.nn.init.trunc_normal_(torch.empty(shape), mean, stddev, low, high)


def variance_scaling(
    shape: Shape,
    *,
    scale: Annotated[float, pydantic.Field(gt=0)] = 1.0,
    mode: Mode = "fan_in",
    distribution: Distribution = "truncated_normal",
) -> torch.Tensor:
    """Variance `scale` divided by the number of a unit's inputs or outputs, or their mean. Source: arXiv 1502.01852."""
    fan_in, fan_out = _fans(shape)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    variance = scale / max(1.0, fan)
    if distribution == "uniform":
        limit = math.sqrt(3 * variance)
        return random_uniform(shape, minval=-limit, maxval=limit)
    if distribution == "untruncated_normal":
        return random_normal(shape, stddev=math.sqrt(variance))
    return truncated_normal(shape, stddev=math.sqrt(variance) / _TRUNCATED)


def glorot_uniform(shape: Shape) -> torch.Tensor:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010, equation 16."""
    return variance_scaling(shape, mode="fan_avg", distribution="uniform")


def glorot_normal(shape: Shape) -> torch.Tensor:
    """Truncated normal of variance 2 / (fan_in + fan_out). Source: Glorot and Bengio 2010, equation 12."""
    return variance_scaling(shape, mode="fan_avg")


def he_uniform(shape: Shape) -> torch.Tensor:
    """Uniform in +-sqrt(6 / fan_in). Source: arXiv 1502.01852."""
    return variance_scaling(shape, scale=2.0, distribution="uniform")


def he_normal(shape: Shape) -> torch.Tensor:
    """Truncated normal of variance 2 / fan_in. Source: arXiv 1502.01852."""
    return variance_scaling(shape, scale=2.0)


def lecun_uniform(shape: Shape) -> torch.Tensor:
    """Uniform in +-sqrt(3 / fan_in). Source: LeCun et al. 1998, Efficient BackProp."""
    return variance_scaling(shape, distribution="uniform")


def lecun_normal(shape: Shape) -> torch.Tensor:
    """Truncated normal of variance 1 / fan_in. Source: LeCun et al. 1998, Efficient BackProp."""
    return variance_scaling(shape)


def orthogonal(shape: Shape, *, gain: float = 1.0) -> torch.Tensor:
    """A matrix with orthonormal rows or columns (the last axis), times `gain`. Source: arXiv 1312.6120."""
    matrix = torch.empty(math.prod(shape[:-1]), shape[-1])
    return torch.nn.init.orthogonal_(matrix, gain).reshape(shape)


def identity(shape: Shape, *, gain: float = 1.0) -> torch.Tensor:
    """The identity matrix times `gain`, for weights with two axes."""
    if len(shape) != 2:
        raise ConfigError(Problem("", f"the identity needs a weight with two axes, but this one has shape {shape}"))
    return torch.eye(*shape) * gain


def draw(option: Any, shape: Shape, path: str) -> torch.Tensor:
    """A weight of Keras's `shape` drawn by the JSON's `option`: the name of an initializer, or a class and config.

    Raises:
        ConfigError: an unknown initializer, or arguments that it does not accept.
    """
    name, arguments = class_and_config(option)
    name = str(name).replace("_", "").removesuffix("V2")
    row = names.find(INITIALIZERS, name, path)
    # TensorFlow's seed means nothing to torch's generator; the axes are Keras 3's, None for the usual fans.
    kept = {k: v for k, v in arguments.items() if not (k in ("seed", "dtype") or (k.endswith("_axes") and v is None))}
    builder = INITIALIZERS[row]
    checked = tables.validate(tables.make_model(builder), kept, path, f"{row} takes")
    try:
        return builder(shape, **checked)
    except (RuntimeError, ValueError, ArithmeticError) as error:  # invalid limits, or numbers that are not valid floats
        message = f"{row} cannot draw weights with {format_value(checked)}. {describe(error)}"
        raise ConfigError(Problem(path, message)) from None


def class_and_config(option: Any) -> tuple[Any, dict[str, Any]]:
    """The name and configuration of a serialized Keras object, which is 'name' or {'class_name', 'config'}."""
    if isinstance(option, dict):
        config = option.get("config")
        return option.get("class_name"), config if isinstance(config, dict) else {}
    return option, {}


def _fans(shape: Shape) -> tuple[float, float]:
    """The number of inputs and outputs of one unit of a Keras kernel (*receptive field, in, out)."""
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    field = math.prod(shape[:-2])
    return float(field * shape[-2]), float(field * shape[-1])


INITIALIZERS = {
    "Zeros": zeros,
    "Ones": ones,
    "Constant": constant,
    "RandomUniform": random_uniform,
    "RandomNormal": random_normal,
    "TruncatedNormal": truncated_normal,
    "VarianceScaling": variance_scaling,
    "GlorotUniform": glorot_uniform,
    "GlorotNormal": glorot_normal,
    "HeUniform": he_uniform,
    "HeNormal": he_normal,
    "LecunUniform": lecun_uniform,
    "LecunNormal": lecun_normal,
    "Orthogonal": orthogonal,
    "Identity": identity,
}
