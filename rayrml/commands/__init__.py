"""The commands, one module each: its options, and what it does with them.

The modules import nothing slow until their command runs.
"""

from __future__ import annotations

from types import ModuleType

from rayrml.commands import (
    check,
    check_install,
    completion,
    evaluate,
    explain,
    export,
    export_weights,
    find_lr,
    listing,
    look,
    network,
    new,
    pack,
    plot,
    predict,
    report,
    run,
    runs,
    schema,
    serve,
    submit,
    tune,
    unpack,
)

__all__ = ["VERBS"]

VERBS: dict[str, ModuleType] = {
    "run": run,
    "new": new,
    "check": check,
    "look": look,
    "find-lr": find_lr,
    "predict": predict,
    "evaluate": evaluate,
    "serve": serve,
    "explain": explain,
    "pack": pack,
    "unpack": unpack,
    "submit": submit,
    "tune": tune,
    "runs": runs,
    "plot": plot,
    "report": report,
    "export": export,
    "export-weights": export_weights,
    "network": network,
    "schema": schema,
    "list": listing,
    "check-install": check_install,
    "completion": completion,
}
