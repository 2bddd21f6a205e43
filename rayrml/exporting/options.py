"""What is wanted of an exported file, and which formats can do it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from rayrml.errors import ConfigError, Problem, RayrmlError
from rayrml.exporting import onnx_files

PREPROCESSING, CHECK, OPSET = "--with-preprocessing", "--check", "--opset"
QUANTIZE, TEST, CALIBRATE, MAX_LOSS = "--quantize", "--test", "--calibrate", "--max-loss"
INT8 = "int8"
POINTS = 1.0  # of accuracy that quantization may lose by default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `export`, which says what they mean."""

    preprocessing: bool = False
    check: str | None = None
    opset: int | None = None
    quantize: str | None = None
    test: str | None = None
    calibrate: str | None = None
    max_loss: float | None = None

    @property
    def most_lost(self) -> float:
        """Points of accuracy that quantization may lose."""
        return POINTS if self.max_loss is None else self.max_loss

    def refuse_others(self, ending: str, *, has_operations: bool) -> None:
        """Raise ConfigError if options do not suit files of this ending, or each other."""
        for option, path in ((CHECK, self.check), (TEST, self.test), (CALIBRATE, self.calibrate)):
            if path == "":
                raise ConfigError(Problem(option, "expected a path, got an empty string"))
        if not has_operations:
            for option, given in ((PREPROCESSING, self.preprocessing), (CHECK, self.check is not None)):
                if given:
                    raise ConfigError(Problem(option, f"{ending} files have weights alone. Expected .pt2 or .onnx"))
        for option, value in ((OPSET, self.opset), (QUANTIZE, self.quantize)):
            if value is not None and ending != ".onnx":
                raise ConfigError(Problem(option, f"is for .onnx files, not {ending}"))
        if self.opset is not None:
            onnx_files.check_opset(self.opset)
        self._check_quantization()

    def _check_quantization(self) -> None:
        if self.quantize is None:
            given = {TEST: self.test, CALIBRATE: self.calibrate, MAX_LOSS: self.max_loss}
            if unused := next((option for option, value in given.items() if value is not None), None):
                raise ConfigError(Problem(unused, f"has no effect without {QUANTIZE} {INT8}"))
        elif self.quantize != INT8:
            raise ConfigError(Problem(QUANTIZE, f"unknown type '{self.quantize}'. Expected {INT8}"))
        if not 0 <= self.most_lost <= 100:
            raise ConfigError(Problem(MAX_LOSS, f"expected points from 0 to 100, got {self.most_lost:g}"))


@contextlib.contextmanager
def naming(option: str, path: str) -> Iterator[None]:
    """Reports mistakes in the samples at `path` with the option that names them, not with the configuration's key."""
    try:
        yield
    except RayrmlError as error:
        found = [
            Problem(f"{option} {path}", problem.message) if "test_input_path" in problem.where else problem
            for problem in error.problems
        ]
        raise type(error)(*found) from None
