"""Train, evaluate and predict with neural networks from one JSON file, on a laptop or a Ray cluster."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rayrml.errors import ClusterError, ConfigError, DataError

if TYPE_CHECKING:
    from rayrml.exporting import export
    from rayrml.keras_weights import export_weights, load_weights
    from rayrml.launch import run
    from rayrml.network import Network, build_network
    from rayrml.plan import Plan
    from rayrml.predicting import Predictions, predict
    from rayrml.runner import RunResult, check
    from rayrml.tuning import TuneResult, tune

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
    "Network": "rayrml.network",
    "Plan": "rayrml.plan",
    "Predictions": "rayrml.predicting",
    "RunResult": "rayrml.runner",
    "TuneResult": "rayrml.tuning",
    "build_network": "rayrml.network",
    "check": "rayrml.runner",
    "export": "rayrml.exporting",
    "export_weights": "rayrml.keras_weights",
    "load_weights": "rayrml.keras_weights",
    "predict": "rayrml.predicting",
    "run": "rayrml.launch",
    "tune": "rayrml.tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rayrml' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
