"""From the data section to the samples of a run: files, classes, pairs, shapes and transforms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from rayrml.config.mistakes import Findings
from rayrml.config.sections import Data
from rayrml.config.tables import Choice, choose
from rayrml.data import contents
from rayrml.data.bad_samples import TOO_MANY
from rayrml.data.datasets import Datasets
from rayrml.data.decoding import RESIZE_HINT, Decoding, check_cells, stored_type
from rayrml.data.discovery import Place, Samples, label_by_folder, pair, part_of
from rayrml.data.image_ops import ImageOperations
from rayrml.data.naming import check_names
from rayrml.data.pipeline import Side, Source
from rayrml.data.readers import READERS, Part, Reader
from rayrml.data.slicers import Slicer
from rayrml.data.slicers import parse as parse_slicers
from rayrml.data.transforms import Placed, Transforms, parse, split
from rayrml.errors import MOST_NAMED, ConfigError, DataError, Problem
from rayrml.storage.archives import check_memory

DATA = "neural_network.data"
_GENERATOR_KEYS = ("domain_size", "num_examples", "num_test_examples", "bc_frequency", "bc_type")


@dataclasses.dataclass(frozen=True)
class Expectations:
    """What the rest of the configuration makes of samples.

    Attributes:
        loss: whether there is one, so that outputs can be compared with targets.
        shares: whether the loss takes shares of the classes for labels.
        input_rank: axes of the network's input (C, *spatial), None if it declares none.
        output_rank: the same for its output.
    """

    loss: bool = True
    shares: bool = False
    input_rank: int | None = None
    output_rank: int | None = None


class DatasetsPreparation:
    """Looks at each part of the data section, and goes on after a mistake."""

    def __init__(self, data: Data, findings: Findings, expectations: Expectations):
        self.data = data
        self.findings = findings
        self.expectations = expectations
        self.reader = self._reader("input")
        built: Reader | None = self.reader and self.reader.build()
        self.input_reader = built
        # What files of labels hold are classes, like the names of folders.
        self.labelled_by_files = (
            built is not None and built.labels is not None and data.targets in ("labels", data.inputs)
        )
        self.targets_are_labels = data.targets == "labels" or self.labelled_by_files
        self.targets_are_arrays = data.targets is not None and not self.targets_are_labels
        self.target_reader = self._reader("target") if self.targets_are_arrays else None
        self.slicers: tuple[Slicer, ...] = ()

    def datasets(self, known_classes: Sequence[str]) -> Datasets | None:
        """The samples, None if something is wrong; `known_classes` are those of a checkpoint."""
        self._consistency()
        if self.data.slicers:
            with self.findings.gathering():
                self.slicers = parse_slicers(self.data.slicers, f"{DATA}.slicers")
            if not self.slicers:
                return None
        training = self._samples("training", None)
        classes = training[0].classes if training is not None and self.targets_are_labels else tuple(known_classes)
        test = self._samples("test", classes or None)
        if test is not None and self.targets_are_labels:
            classes = classes or test[0].classes
        transforms = self._transforms(len(classes) if self.expectations.shares else None)
        if transforms is None:
            return None
        sources = {
            name: self._source(name, found, transforms)
            for name, found in (("training", training), ("test", test))
            if found is not None
        }
        return self._put_together(sources, transforms, classes)

    @property
    def _inputs_are_targets(self) -> bool:
        """Whether targets are the input files read in another way: in colour, say, where inputs are gray."""
        data = self.data
        differ = data.input_transforms != data.target_transforms or data.one_channel("input") != data.one_channel(
            "target"
        )
        return self.targets_are_arrays and differ and not data.target_path and not data.test_target_path

    def _put_together(
        self, sources: dict[str, Source | None], transforms: Transforms, classes: tuple[str, ...]
    ) -> Datasets | None:
        training, test = sources.get("training"), sources.get("test")
        if not sources or None in sources.values():
            return None
        with self.findings.gathering():
            shapes = [transforms.batched.shape(training.shape)] if training else []
            shapes += [transforms.batched.evaluation().shape(test.shape)] if test else []
            if len(set(shapes)) > 1:
                first = [source.input.decoding.first for source in (training, test) if source is not None]
                hint = f". {RESIZE_HINT}" if {len(shape) for shape in shapes} == {3} else ""
                self.findings.add(DATA, f"'{first[0]}' becomes {shapes[0]}, but '{first[1]}' {shapes[1]}{hint}")
            return Datasets(
                training=training,
                test=test,
                transforms=transforms,
                classes=classes,
                shape=shapes[0],
                target_shape=self._target_shape(training, test, transforms),
                test_targets=test is not None and self._test_targets,
            )
        return None

    @property
    def _test_targets(self) -> bool:
        data = self.data
        if self.targets_are_arrays:
            # Inputs are their own targets only where there is something to compare with them.
            return bool(data.test_target_path or data.test_share or (not data.target_path and self.expectations.loss))
        return self.targets_are_labels

    def _target_shape(
        self, training: Source | None, test: Source | None, transforms: Transforms
    ) -> tuple[int, ...] | None:
        source = training or test
        if self.targets_are_labels:
            return ()
        if source is None or not self.targets_are_arrays:
            return None
        if source.target is not None:
            return transforms.batched.shape(source.target.shape, "target")
        return transforms.batched.shape(source.shape)

    def _consistency(self) -> None:
        """Keys that need one another."""
        data, add = self.data, self.findings.add
        generates = self.input_reader is not None and self.input_reader.generate is not None
        if not data.trains and not data.tests:
            names = ("num_examples", "num_test_examples") if generates else ("input_path", "test_input_path")
            add(DATA, f"there is nothing to do. Expected {names[0]}, {names[1]}, or both")
        if data.trains and data.targets is None:
            add(DATA, 'training needs targets. Expected target_type, for example "labels"')
        if not data.tests:
            for key in ("test_output_path", "hdf5_outfile"):
                if getattr(data, key):
                    add(f"{DATA}.{key}", "there is nothing to predict without test_input_path")
        self._share(generates)
        for key in ("target_path", "test_target_path"):
            if getattr(data, key) and not self.targets_are_arrays and not self.labelled_by_files:
                reason = "the class is the name of the folder" if data.targets else "there is no target_type"
                add(f"{DATA}.{key}", f"is of no use: {reason}")
        if data.transforms and (data.input_transforms or data.target_transforms):
            add(f"{DATA}.transforms", "is for both inputs and targets. Expected it, or input_transforms and the other")
        if data.target_transforms and not self.targets_are_arrays:
            add(f"{DATA}.target_transforms", "is of no use: targets are no images or arrays")
        self._types_and_keys(generates)

    def _share(self, generates: bool) -> None:
        """A share of the training samples, each of which must be a file, instead of test samples of their own."""
        data, reader, where = self.data, self.input_reader, f"{DATA}.test_share"
        if data.test_share is None:
            return
        for key in ("test_input_path", "test_target_path"):
            if getattr(data, key):
                self.findings.add(where, f"is of no use beside {key}. Expected one of the two")
        if reader is not None and (generates or reader.read is None):
            self.findings.add(
                where, f"takes some of the files of a folder, which samples of type {data.inputs} are not"
            )
        elif data.input_path is None:
            self.findings.add(where, "is a share of the images below input_path, which is missing")

    def _types_and_keys(self, generates: bool) -> None:
        """Keys that only some data types have."""
        data, add, reader = self.data, self.findings.add, self.input_reader
        if generates:
            for key in ("input_path", "test_input_path", "target_path", "test_target_path"):
                if getattr(data, key):
                    add(f"{DATA}.{key}", f"is of no use: samples of type {data.inputs} are computed")
        if data.slicers and reader is not None and (reader.contents is None or reader.pixels):
            add(f"{DATA}.slicers", f"cuts arrays, but the inputs are {reader.noun}. Expected the type numpy or hdf5")
        if data.hdf5_outfile and not data.slicers:
            add(f"{DATA}.hdf5_outfile", "puts slices together, but there are no slicers. Expected 'slicers'")

    def _transforms(self, num_classes: int | None) -> Transforms | None:
        lists: dict[str, tuple[Placed, ...]] = {}
        for key in ("transforms", "input_transforms", "target_transforms"):
            with self.findings.gathering():
                lists[key] = parse(getattr(self.data, key), f"{DATA}.{key}")
        if len(lists) < 3:
            return None
        both = lists["transforms"]
        targets = (both or lists["target_transforms"]) if self.targets_are_arrays else ()
        with self.findings.gathering():
            return split(
                both or lists["input_transforms"],
                targets,
                target_is_mask=self.data.target_is_mask,
                target_is_label=self.targets_are_labels,
                num_classes=num_classes or None,
                input_pixels=self.input_reader is None or self.input_reader.pixels,
                target_pixels=self.target_reader is None or self.target_reader.build().pixels,
            )
        return None

    def _reader(self, side: Literal["input", "target"]) -> Choice | None:
        name = self.data.inputs if side == "input" else self.data.targets
        if name is None:
            self.findings.add(DATA, f"'{side}_type' is missing. Expected one of {', '.join(READERS)}")
            return None
        key = f"{side}_type" if getattr(self.data, f"{side}_type") else "type"
        options: dict[str, Any] = {"grayscale": True} if self.data.one_channel(side) else {}
        options |= {k: getattr(self.data, k) for k in _GENERATOR_KEYS if getattr(self.data, k) is not None}
        with self.findings.gathering():
            return choose(READERS, {key: name, **options}, DATA, key)
        return None

    def _samples(self, part: Part, classes: Sequence[str] | None) -> tuple[Samples, Samples | None] | None:
        """Inputs and, if targets are read from files, the targets in the same order."""
        reader = self.input_reader
        if reader is None:
            return None
        if reader.generate is not None:
            samples = contents.generated(reader, part)
            return (samples, samples if self._inputs_are_targets else None) if len(samples) else None
        prefix = self._prefix(part)
        path, where = getattr(self.data, f"{prefix}input_path"), f"{DATA}.{prefix}input_path"
        if path is None:
            return None
        with self.findings.gathering():
            location = contents.locate(path, reader, part, where)
            if self.targets_are_labels and not self.labelled_by_files:
                tag = self.data.test_tag if prefix else self.data.training_tag
                files = label_by_folder(location.files, tag, where, classes)
                location = dataclasses.replace(location, files=files)
            sides = self._parted([(location, reader), *self._target_files(location.files, part)], part)
            if self.data.skips:
                found = contents.readable(sides)
                sides = [(found, reader) for found, (_, reader) in zip(found, sides, strict=True)]
            inputs = contents.arrays(sides[0][0], reader, where)
            if self.labelled_by_files and reader.labels is not None:
                labels = reader.labels(location.files.path(0), getattr(self.data, f"{prefix}target_path"))
                inputs = contents.labelled(inputs, labels, classes, where)
            samples = self._sliced(inputs, self._targets(inputs, sides[1:], part), f"{DATA}.{prefix}target_path")
            self._check_names(samples[0], part, where)
            return samples
        return None

    def _prefix(self, part: Part) -> str:
        """What the keys begin with that name the samples of a part: test samples may be some of `input_path`."""
        return "" if part == "training" or self.data.test_share is not None else "test_"

    def _parted(
        self, sides: list[tuple[contents.Location, Reader]], part: Part
    ) -> list[tuple[contents.Location, Reader]]:
        """The files that belong to the part, where a share of them is kept for the test."""
        share = self.data.test_share
        if share is None:
            return sides
        indices = part_of(sides[0][0].files, share, test=part == "test")
        if not indices:
            raise ConfigError(
                Problem(f"{DATA}.test_share", f"leaves no {part} sample: there is no class of two or more")
            )
        return [(dataclasses.replace(found, files=found.files.only(indices)), reader) for found, reader in sides]

    def _target_files(self, inputs: Samples, part: Part) -> list[tuple[contents.Location, Reader]]:
        """The files of the targets in the order of the inputs', with their reader; none if they have no files."""
        prefix = self._prefix(part)
        path, where = getattr(self.data, f"{prefix}target_path"), f"{DATA}.{prefix}target_path"
        if self.target_reader is None or path is None:
            return []
        reader: Reader = self.target_reader.build()
        found = contents.locate(path, reader, part, where)
        _, files = pair(inputs, found.files, where)
        return [(dataclasses.replace(found, files=files), reader)]

    def _targets(
        self, inputs: Samples, found: Sequence[tuple[contents.Location, Reader]], part: Part
    ) -> Samples | None:
        """The targets' arrays in the order of the inputs, None if they are not read from files of their own."""
        where = f"{DATA}.{'' if part == 'training' else 'test_'}target_path"
        for location, reader in found:
            return contents.pair_arrays(inputs, contents.arrays(location, reader, where), where)
        return inputs if self._inputs_are_targets else None

    def _sliced(self, inputs: Samples, targets: Samples | None, where: str) -> tuple[Samples, Samples | None]:
        if not self.slicers or self.input_reader is None:
            return inputs, targets
        skip = self.data.skips
        grids = contents.grids(inputs, self.input_reader, self.slicers, skip=skip)
        if targets is None or self.target_reader is None:
            return contents.slices(inputs, grids, self.slicers), None
        theirs = contents.grids(targets, self.target_reader.build(), self.slicers, skip=skip)
        grids = contents.pair_grids(grids, theirs, targets, where, skip=skip)
        return contents.slices(inputs, grids, self.slicers), contents.slices(targets, grids, self.slicers)

    def _check_names(self, inputs: Samples, part: Part, where: str) -> None:
        """Raise DataError if predictions cannot be written under the names of the samples; a file system's can be."""
        if part == "test" and inputs.places is not None:
            if self.data.test_output_path:
                check_names(inputs.names, where)
            if self.data.hdf5_outfile:
                check_names([part.name for part in inputs.slices], where)

    def _source(self, name: str, found: tuple[Samples, Samples | None], transforms: Transforms) -> Source | None:
        """The samples with the shapes of the first of them, which all others must have."""
        inputs, targets = found
        ranks = self.expectations
        with self.findings.gathering():
            if self.reader is None:
                return None
            side = self._side(inputs, self.reader, transforms.input, ranks.input_rank)
            if targets is None or self.target_reader is None:
                return Source(side, None, name)
            return Source(side, self._side(targets, self.target_reader, transforms.target, ranks.output_rank), name)
        return None

    def _first(self, samples: Samples, reader: Reader) -> tuple[Place, tuple[int, ...], np.dtype]:
        """The sample that all others must be like, its shape and its type: the first, or the first that can be read.

        Raises:
            DataError: there is none among the first half; nobody wants to wait for the rest.
        """
        problems: list[DataError] = []
        while 2 * len(problems) <= len(samples):
            place = samples.place(len(problems))
            try:
                with reader.open(place.path) as read:
                    first = read(place.name)
                    # Arrays are looked at, not read: they can be larger than memory.
                    shape, dtype = tuple(first.shape), np.dtype(first.dtype)
                check_cells(shape, place)
                if not samples.slices:
                    check_memory(math.prod(shape) * dtype.itemsize, place.address)
                return place, shape, dtype
            except DataError as error:
                problems.append(error)
                if not self.data.skips or len(problems) == len(samples):
                    break
        more = [Problem("", TOO_MANY)] if self.data.skips else []
        raise DataError(*(p for error in problems[:MOST_NAMED] for p in error.problems), *more)

    def _side(self, samples: Samples, reader: Choice, operations: ImageOperations, rank: int | None) -> Side:
        built: Reader = reader.build()
        place, shape, dtype = self._first(samples, built)
        if samples.slices:
            shape = (shape[0] if len(shape) > len(self.slicers[0].sizes) else 1, *self.slicers[0].sample_shape)
        adds_channel = not samples.slices and not built.pixels and rank == len(shape) + 1
        shape = (1, *shape) if adds_channel else shape
        decoding = Decoding(
            reader,
            operations.shape(shape),
            stored_type(operations.dtype(dtype)),
            place.address,
            prepare=operations.apply if operations.steps else None,
            adds_channel=adds_channel,
            slicers=self.slicers,
        )
        return Side(samples, decoding, built.pixels)
