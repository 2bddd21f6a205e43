"""Train, evaluate and predict with neural networks from one JSON file, on a laptop or a Ray cluster."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rayrml.errors import ClusterError, ConfigError, DataError

if TYPE_CHECKING:
    from rayrml.networks.network import Network, build_network
    from rayrml.planning.plan import Plan
    from rayrml.runs.launch import run
    from rayrml.runs.predict import Predictions, predict
    from rayrml.runs.runner import RunResult, check
    from rayrml.saving.export import export
    from rayrml.saving.keras_weights import export_weights, load_weights
    from rayrml.tuning.tune import TuneResult, tune

__version__ = "0.1.0"

__all__ = [
    "ClusterError",
    "ConfigError",
    "DataError",
    "Network",
    "Plan",
    "Predictions",
    "RunResult",
    "TuneResult",
    "__version__",
    "build_network",
    "check",
    "export",
    "export_weights",
    "load_weights",
    "predict",
    "run",
    "tune",
]

# Importing torch and Ray takes seconds, and Ray's decoding tasks import this package without needing either.
_HOMES = {
    "Network": "rayrml.networks.network",
    "Plan": "rayrml.planning.plan",
    "Predictions": "rayrml.runs.predict",
    "RunResult": "rayrml.runs.runner",
    "TuneResult": "rayrml.tuning.tune",
    "build_network": "rayrml.networks.network",
    "check": "rayrml.runs.runner",
    "export": "rayrml.saving.export",
    "export_weights": "rayrml.saving.keras_weights",
    "load_weights": "rayrml.saving.keras_weights",
    "predict": "rayrml.runs.predict",
    "run": "rayrml.runs.launch",
    "tune": "rayrml.tuning.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rayrml' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
