"""Train, evaluate and predict with neural networks from one JSON file, on a laptop or a Ray cluster."""

from __future__ import annotations

import os
import sys

if sys.argv[:1] == ["-m"]:
    # For `python -m rayrml`, Python looks for modules in the current folder first: a `random.py` or `torch.py` there
    # would hide the real one. This package is already found and, unless it is there itself, needs nothing from there.
    first, own = sys.path[0], os.path.dirname(__path__[0])  # noqa: PTH120 (pathlib could be hidden, too)
    if first != own and os.path.isdir(first) and os.path.samefile(first, os.curdir):  # noqa: PTH112, PTH121
        del sys.path[0]
    del first, own

import importlib
from typing import TYPE_CHECKING, Any

from rayrml.errors import ClusterError as ClusterError
from rayrml.errors import ConfigError as ConfigError
from rayrml.errors import DataError as DataError

if TYPE_CHECKING:  # what the table below says, for type checkers and editors
    from rayrml.exporting.export import export as export
    from rayrml.networks.network import Network as Network
    from rayrml.networks.network import build_network as build_network
    from rayrml.planning.plan import Plan as Plan
    from rayrml.runs.evaluate import evaluate as evaluate
    from rayrml.runs.launch import run as run
    from rayrml.runs.predict import Predictions as Predictions
    from rayrml.runs.predict import predict as predict
    from rayrml.runs.runner import RunResult as RunResult
    from rayrml.runs.runner import check as check
    from rayrml.saving.keras_weights import export_weights as export_weights
    from rayrml.saving.keras_weights import load_weights as load_weights
    from rayrml.serving.server import Server as Server
    from rayrml.serving.server import serve as serve
    from rayrml.tuning.tune import TuneResult as TuneResult
    from rayrml.tuning.tune import tune as tune
    from rayrml.version import __version__ as __version__

# Importing torch and Ray takes seconds, and Ray's decoding tasks import this package without needing either.
_LAZY = {
    "Network": "rayrml.networks.network",
    "Plan": "rayrml.planning.plan",
    "Predictions": "rayrml.runs.predict",
    "RunResult": "rayrml.runs.runner",
    "Server": "rayrml.serving.server",
    "TuneResult": "rayrml.tuning.tune",
    "__version__": "rayrml.version",
    "build_network": "rayrml.networks.network",
    "check": "rayrml.runs.runner",
    "evaluate": "rayrml.runs.evaluate",
    "export": "rayrml.exporting.export",
    "export_weights": "rayrml.saving.keras_weights",
    "load_weights": "rayrml.saving.keras_weights",
    "predict": "rayrml.runs.predict",
    "run": "rayrml.runs.launch",
    "serve": "rayrml.serving.server",
    "tune": "rayrml.tuning.tune",
}
__all__ = ["ClusterError", "ConfigError", "DataError"]
__all__ += list(_LAZY)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'rayrml' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)
