"""The types of inputs and targets, as far as the data section alone determines them, before any file is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rayrml.config.mistakes import Findings
from rayrml.config.sections import Data, SideName
from rayrml.config.tables import Choice
from rayrml.data.reader_keys import BOXES, NO_FILES, choose_reader, has_table, list_reader_options
from rayrml.data.readers import Reader
from rayrml.data.readers.generated import noise


@dataclasses.dataclass(frozen=True)
class DataTypes:
    """How both sides of samples are read.

    Attributes:
        data: the data section.
        input: row of the inputs' reader, None if it has a mistake.
        target: row of the targets' reader, None if it has a mistake, or if targets are not arrays.
        input_reader: the reader that `input` builds.
        target_reader: the reader that `target` builds.
        targets_are_class_numbers: whether target images are read as class numbers rather than as shares of white.
    """

    data: Data
    input: Choice | None
    target: Choice | None
    input_reader: Reader | None
    target_reader: Reader | None
    targets_are_class_numbers: bool = False

    @property
    def generated(self) -> bool:
        """Whether inputs are computed rather than read."""
        return self.input_reader is not None and self.input_reader.generate is not None

    @property
    def labelled_by_files(self) -> bool:
        """Whether the classes come from label files rather than from folder names."""
        return _labelled_by_files(self.data, self.input_reader)

    @property
    def labelled_by_arrays(self) -> bool:
        """Whether the classes are numbers in arrays of their own."""
        data, reader = self.data, self.input_reader
        if reader is None or reader.contents is None or reader.pixels or reader.floats:
            return False
        if data.targets != "labels" or has_table(data):
            return False
        return bool(data.target_path or data.test_target_path)

    @property
    def labelled_by_table(self) -> bool:
        """Whether targets are columns of a table."""
        return has_table(self.data)

    @property
    def targets_are_values(self) -> bool:
        """Whether a sample's target is a row of a table's numbers, or of zeros and ones for its classes."""
        return self.labelled_by_table and self.data.target_kind not in (None, "class")

    @property
    def targets_are_boxes(self) -> bool:
        """Whether a sample's target is the boxes of the objects in it."""
        return self.data.targets == BOXES

    @property
    def targets_are_labels(self) -> bool:
        """Whether a sample's target is its class."""
        if self.labelled_by_table:
            return not self.targets_are_values
        return self.data.targets == "labels" or self.labelled_by_files

    @property
    def targets_are_arrays(self) -> bool:
        """Whether a sample's target is an array, as its input is."""
        others = self.targets_are_labels or self.targets_are_values or self.targets_are_boxes
        return self.data.targets is not None and not others

    @property
    def inputs_are_targets(self) -> bool:
        """Whether targets are the input files read differently, for example in colour while inputs are gray."""
        data = self.data
        differ = data.input_transforms != data.target_transforms or any(
            data.option(key, "input") != data.option(key, "target") for key in list_reader_options()
        )
        return self.targets_are_arrays and differ and not data.target_path and not data.test_target_path

    def test_samples_have_targets(self, *, compared: bool) -> bool:
        """Whether test samples have targets; inputs are their own targets only if a loss compares them (`compared`)."""
        data = self.data
        if not self.targets_are_arrays:
            return self.data.targets is not None
        return bool(data.test_target_path or data.test_share or (not data.target_path and compared))


def find_types(data: Data, findings: Findings, *, reads: bool = True) -> DataTypes:
    """The types of both sides; mistakes are added to the findings. Without `reads`, inputs need no type."""
    own = _reader(data, "input", findings) if reads or data.inputs is not None else None
    reader: Reader | None = own and own.build()
    arrays = data.targets not in (None, *NO_FILES) and not _labelled_by_files(data, reader)
    target = _reader(data, "target", findings) if arrays else None
    return DataTypes(data, own, target, reader, target and target.build())


def with_noise(types: DataTypes, shape: Sequence[int], seed: int) -> DataTypes:
    """The types of random numbers of this shape, from which `num_test_examples` samples are generated."""
    row = Choice("noise", noise, {"shape": tuple(shape), "num_samples": types.data.num_test_examples, "seed": seed})
    return dataclasses.replace(types, input=row, input_reader=row.build())


def _labelled_by_files(data: Data, reader: Reader | None) -> bool:
    return (
        reader is not None
        and reader.labels is not None
        and data.targets in ("labels", data.inputs)
        and not has_table(data)
    )


def _reader(data: Data, side: SideName, findings: Findings) -> Choice | None:
    with findings.gathering():
        return choose_reader(data, side)
    return None
