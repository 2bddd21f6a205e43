"""What is wanted of an exported file, and which formats can do it."""

from __future__ import annotations

import dataclasses

from rayrml.errors import ConfigError, Problem
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
    max_loss: float = POINTS

    def refuse_others(self, ending: str, *, has_operations: bool) -> None:
        """Raise ConfigError if options do not suit files of this ending, or each other."""
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
            given = {TEST: self.test is not None, CALIBRATE: self.calibrate is not None}
            given[MAX_LOSS] = self.max_loss != POINTS
            if unused := next((option for option, is_given in given.items() if is_given), None):
                raise ConfigError(Problem(unused, f"has no effect without {QUANTIZE} {INT8}"))
        elif self.quantize != INT8:
            raise ConfigError(Problem(QUANTIZE, f"unknown type '{self.quantize}'. Expected {INT8}"))
        if not 0 <= self.max_loss <= 100:
            raise ConfigError(Problem(MAX_LOSS, f"expected points from 0 to 100, got {self.max_loss:g}"))
