"""From the data section to the samples of a run: files, classes, pairs, shapes and transforms."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from rayrml.config.mistakes import Findings
from rayrml.config.sections import SideName
from rayrml.config.tables import Choice
from rayrml.data import contents
from rayrml.data.datasets import Datasets
from rayrml.data.decoding import Decoding, choose_stored_type
from rayrml.data.discovery import Samples, label_by_folder, select_part
from rayrml.data.image_ops import ImageOperations
from rayrml.data.layout import refuse_names_of_parts
from rayrml.data.naming import check_names
from rayrml.data.pairing import pair
from rayrml.data.reader_keys import DATA
from rayrml.data.readers import Part as FilePart
from rayrml.data.readers import Reader
from rayrml.data.slicers import Slicer, parse_slicers
from rayrml.data.sources import Side, Source
from rayrml.data.transforms import Placed, Transforms, parse_transforms, split_transforms
from rayrml.errors import ConfigError, Problem
from rayrml.planning import sample_shapes
from rayrml.planning.data_types import DataTypes
from rayrml.planning.expectations import Expectations, Labelling
from rayrml.planning.first_sample import find_first
from rayrml.planning.image_depth import settle_scale
from rayrml.planning.sample_shapes import find_differing, fits, list_shapes
from rayrml.planning.sample_sizes import have_different_sizes
from rayrml.planning.stacking import StackedSide, find_label_reader, label_by_array, list_counted, list_samples
from rayrml.planning.table_targets import PREFIXES, Part
from rayrml.storage import is_uri


class DatasetsPreparation:
    """Checks each part of the data section, continuing after a mistake."""

    def __init__(self, types: DataTypes, findings: Findings, expectations: Expectations, labels: Labelling):
        self.types = types
        self.data = types.data
        self.findings = findings
        self.expectations = expectations
        self.slicers: tuple[Slicer, ...] = ()
        self.tables = labels.tables
        self.boxes = labels.boxes

    def datasets(self, known_classes: Sequence[str]) -> Datasets | None:
        """The samples, or None if something is wrong; `known_classes` are those of a checkpoint."""
        if self.data.slicers:
            with self.findings.gathering():
                self.slicers = parse_slicers(self.data.slicers, f"{DATA}.slicers")
            if not self.slicers:
                return None
        # Those of a checkpoint are the network's, whatever is found; training anew needs all that are named.
        given = self.data.class_names if self.data.trains or not known_classes else None
        named: tuple[str, ...] | None = None
        with self.findings.gathering():
            named = self.boxes.read_names(known_classes)
        if named is None:
            return None
        training = self._samples("training", given)
        types = self.types
        labels = types.targets_are_labels or types.labelled_by_table or types.targets_are_boxes
        classes = training[0].classes if training is not None and labels else tuple(given or known_classes or named)
        test = self._samples("test", classes or None)
        if test is not None and labels:
            classes = classes or test[0].classes
        final_test = self._samples("final test", classes or None) if training is not None else None
        with self.findings.gathering():
            self.tables.check_use()
            self.types = dataclasses.replace(self.types, data=self.tables.complete_columns(self.data))
        self._apply_scale([part for part in (training, test, final_test) if part is not None])
        parts = {"training": training, "test": test, "final test": final_test}
        found = {name: part for name, part in parts.items() if part is not None}
        transforms = self._transforms(len(classes) if self.expectations.shares else None, found.values())
        if transforms is None:
            return None
        sources = {name: self._source(name, part, transforms) for name, part in found.items()}
        return self._put_together(sources, transforms, classes)

    def _apply_scale(self, found: Collection[tuple[Samples, Samples | None]]) -> None:
        """Find out what the reader makes of images of more than 8 bits, if there are any."""
        with self.findings.gathering():
            self.types = settle_scale(self.types, found)
            self.data = self.types.data

    def _put_together(
        self, sources: dict[str, Source | None], transforms: Transforms, classes: tuple[str, ...]
    ) -> Datasets | None:
        training, test, final_test = (sources.get(name) for name in ("training", "test", "final test"))
        if not sources or None in sources.values():
            return None
        with self.findings.gathering():
            present = [source for source in (training, test, final_test) if source is not None]
            shapes = [
                list_shapes(source, transforms.batched if source is training else transforms.batched.evaluation())
                for source in present
            ]
            self.findings.mistakes += find_differing(present, shapes)
            return Datasets(
                training=training,
                test=test,
                transforms=transforms,
                classes=classes,
                shapes=shapes[0],
                target_shapes=self._target_shapes(training or test, transforms, len(shapes[0])),
                test_targets=test is not None and self._compares(),
                final_test=final_test,
                category_ids=self.boxes.category_ids,
            )
        return None

    def _compares(self) -> bool:
        """Whether test samples are compared with something."""
        compared = self.expectations.loss
        return self.expectations.generated or self.types.test_samples_have_targets(compared=compared)

    def _target_shapes(
        self, source: Source | None, transforms: Transforms, count: int
    ) -> tuple[tuple[int, ...] | None, ...]:
        """The shapes of the targets for inputs of `count` shapes."""
        if self.types.targets_are_labels:
            return ((),) * count
        if source is not None and source.samples.values is not None:
            return (source.samples.values.shape[1:],) * count
        if source is None or not self.types.targets_are_arrays:
            return (None,) * count
        if source.target is None:
            return list_shapes(source, transforms.batched)
        targets = [group.source.target for group in source.groups()]
        return tuple(transforms.batched.shape(target.shape, "target") for target in targets if target is not None)

    def _transforms(
        self, num_classes: int | None, found: Collection[tuple[Samples, Samples | None]]
    ) -> Transforms | None:
        lists: dict[str, tuple[Placed, ...]] = {}
        for key in ("transforms", "input_transforms", "target_transforms"):
            with self.findings.gathering():
                lists[key] = parse_transforms(getattr(self.data, key), f"{DATA}.{key}")
        if len(lists) < 3:
            return None
        both = lists["transforms"]
        targets = (both or lists["target_transforms"]) if self.types.targets_are_arrays else ()
        with self.findings.gathering():
            split = functools.partial(
                split_transforms,
                both or lists["input_transforms"],
                targets,
                target_is_mask=self.data.target_is_mask or self.types.targets_are_class_numbers,
                target_is_label=self.types.targets_are_labels,
                target_is_values=self.types.targets_are_values,
                target_is_boxes=self.expectations.boxes or self.types.targets_are_boxes,
                num_classes=num_classes or None,
                input_pixels=self.types.input_reader is None or self.types.input_reader.pixels,
                target_pixels=self.types.target_reader is None or self.types.target_reader.pixels,
            )
            transforms = split()
            varying: list[SideName] = [side for side in transforms.need_sizes() if self._sizes_differ(side, found)]
            return split(varying=varying) if varying else transforms
        return None

    def _sizes_differ(self, side: SideName, found: Iterable[tuple[Samples, Samples | None]]) -> bool:
        """Whether the samples of a side have different sizes, in training or in the test."""
        reader = self.types.input_reader if side == "input" else self.types.target_reader
        samples = [inputs if side == "input" else targets for inputs, targets in found]
        return reader is not None and any(some is not None and have_different_sizes(some, reader) for some in samples)

    def _samples(self, part: Part, classes: Sequence[str] | None) -> tuple[Samples, Samples | None] | None:
        """Inputs and, if targets are read from files, the targets in the same order."""
        reader = self.types.input_reader
        if reader is None:
            return None
        if reader.generate is not None:
            if part == "final test":
                return None
            samples = contents.list_generated(reader, part)
            return (samples, samples if self.types.inputs_are_targets else None) if len(samples) else None
        prefix = self._prefix(part)
        path, where = getattr(self.data, f"{prefix}input_path"), f"{DATA}.{prefix}input_path"
        if path is None:
            return None
        with self.findings.gathering():
            if not self.tables.has(part):
                return None
            location = contents.locate(path, reader, _kind(part), where)
            location = self._labelled(location, reader, part, classes)
            sides = self._parted(self._with_targets(location, reader, part), part)
            if self.data.skips:
                found = contents.drop_unreadable(sides)
                sides = [(found, reader) for found, (_, reader) in zip(found, sides, strict=True)]
            inputs = contents.list_arrays(sides[0][0], reader, where)
            if self.types.labelled_by_table and reader.contents is not None:
                count, wanted = self.tables.count_rows(part), self.expectations.input_shape
                rows = list_counted(StackedSide(inputs, reader), self.data, wanted, count)
                inputs = self.tables.label(rows, part, classes)
            if self.types.labelled_by_files and reader.labels is not None:
                labels = reader.labels(location.files.path(0), getattr(self.data, f"{prefix}target_path"))
                inputs = contents.label_by_file(inputs, labels, classes, where)
            inputs, targets = self._stacked(inputs, self._targets(inputs, sides, part), sides[1:], classes)
            if part == "training":
                self._refuse_single_class(inputs, where)
            samples = self._sliced(inputs, targets, f"{DATA}.{prefix}target_path")
            self._check_names(samples[0], part, where)
            return samples
        return None

    def _labelled(
        self, location: contents.Location, reader: Reader, part: Part, classes: Sequence[str] | None
    ) -> contents.Location:
        """The files, with their classes or values where each file is one sample and these are known already."""
        types, prefix = self.types, self._prefix(part)
        if types.labelled_by_table:
            if reader.contents is not None:
                return location
            files = self.tables.label(location.files, part, classes)
        elif types.targets_are_boxes:
            files = self.boxes.label(location.files, part, classes)
        elif self.expectations.boxes:
            files = self.boxes.measure(location.files)
        elif types.targets_are_labels and not (types.labelled_by_files or types.labelled_by_arrays):
            where = f"{DATA}.{prefix}input_path"
            tag = self.data.test_tag if prefix else self.data.training_tag
            files = label_by_folder(location.files, tag, where, classes)
            if tag is None:
                refuse_names_of_parts(files, where)
        else:
            return location
        return dataclasses.replace(location, files=files)

    def _refuse_single_class(self, inputs: Samples, where: str) -> None:
        if inputs.labels is None or len(np.unique(inputs.labels)) > 1:
            return
        types = self.types
        by_folder = not (types.labelled_by_files or types.labelled_by_arrays or types.labelled_by_table)
        message = f"all training samples are of the class '{inputs.classes[inputs.labels[0]]}'"
        expected = "Expected a folder for each of several classes" if by_folder else "Expected several classes"
        raise ConfigError(Problem(where, f"{message}. {expected}"))

    def _prefix(self, part: Part) -> str:
        """The prefix of the keys that name a part's samples; those of other parts may be in `input_path`, too."""
        if self.data.split_column is not None or (part == "test" and self.data.test_share is not None):
            return ""
        return PREFIXES[part]

    def _parted(
        self, sides: list[tuple[contents.Location, Reader]], part: Part
    ) -> list[tuple[contents.Location, Reader]]:
        """The files that belong to the part, if a share of them is kept for the test."""
        share = self.data.test_share
        if share is None or part == "final test" or self.findings.concern(f"{DATA}.test_share"):
            return sides
        indices = select_part(sides[0][0].files, share, test=part == "test")
        if not len(indices):
            raise ConfigError(Problem(f"{DATA}.test_share", f"leaves no {part} sample: no class has two or more"))
        return [(dataclasses.replace(found, files=found.files.only(indices)), reader) for found, reader in sides]

    def _with_targets(
        self, inputs: contents.Location, input_reader: Reader, part: Part
    ) -> list[tuple[contents.Location, Reader]]:
        """The input files and, if targets are read from files, the target files in the same order, with readers."""
        prefix = self._prefix(part)
        path, where = getattr(self.data, f"{prefix}target_path"), f"{DATA}.{prefix}target_path"
        reader = self.types.target_reader
        if self.types.labelled_by_arrays and path is not None:
            reader = find_label_reader(path, input_reader)
        if reader is None or path is None:
            return [(inputs, input_reader)]
        found = contents.locate(path, reader, _kind(part), where)
        files, target_files = pair(inputs.files, found.files, where, self.data.target_suffix)
        return [
            (dataclasses.replace(inputs, files=files), input_reader),
            (dataclasses.replace(found, files=target_files), reader),
        ]

    def _targets(
        self, inputs: Samples, sides: Sequence[tuple[contents.Location, Reader]], part: Part
    ) -> Samples | None:
        """The targets' arrays in the order of the inputs, None if they have no files of their own."""
        where = f"{DATA}.{PREFIXES[part]}target_path"
        for location, reader in sides[1:]:
            insides = (sides[0][0].inside, location.inside)
            return contents.pair_arrays(inputs, contents.list_arrays(location, reader, where), where, insides)
        return inputs if self.types.inputs_are_targets else None

    def _stacked(
        self,
        inputs: Samples,
        targets: Samples | None,
        found: Sequence[tuple[contents.Location, Reader]],
        classes: Sequence[str] | None,
    ) -> tuple[Samples, Samples | None]:
        """The samples in arrays that hold many each; targets that are class numbers become labels."""
        reader, labels = self.types.input_reader, self.types.labelled_by_arrays
        if reader is None or reader.contents is None or inputs.place(0).is_row:
            return inputs, targets
        sides = [StackedSide(inputs, reader)]
        if targets is not None and targets is not inputs:
            sides += [StackedSide(targets, own) for _, own in found]
        samples = list_samples(sides, self.data, self.expectations.input_shape, labels=labels)
        if labels and targets is not None and reader.stacked is not False:
            num_classes = self.expectations.num_classes
            return label_by_array(samples[0], sides[1], classes, num_classes, skips=self.data.skips), None
        return samples[0], samples[0] if targets is inputs else samples[-1] if targets is not None else None

    def _sliced(self, inputs: Samples, targets: Samples | None, where: str) -> tuple[Samples, Samples | None]:
        if not self.slicers or self.types.input_reader is None:
            return inputs, targets
        skip = self.data.skips
        grids = contents.make_grids(inputs, self.types.input_reader, self.slicers, skip=skip)
        if targets is None or self.types.target_reader is None:
            return contents.list_slices(inputs, grids, self.slicers), None
        theirs = contents.make_grids(targets, self.types.target_reader, self.slicers, skip=skip)
        grids = contents.pair_grids(grids, theirs, targets, where, skip=skip)
        return contents.list_slices(inputs, grids, self.slicers), contents.list_slices(targets, grids, self.slicers)

    def _check_names(self, inputs: Samples, part: Part, where: str) -> None:
        """Raise DataError if predictions cannot be written under the samples' names.

        Those of local files always can; a store has keys that no file has, such as `a.jpg` beside `a.jpg/b.jpg`.
        """
        if part == "test" and (inputs.places is not None or is_uri(inputs.root)):
            if self.data.test_output_path:
                check_names(inputs.names, where)
            if self.data.hdf5_outfile:
                check_names([part.name for part in inputs.slices], where)

    def _source(self, name: str, found: tuple[Samples, Samples | None], transforms: Transforms) -> Source | None:
        """The samples with the shape of the first one, which all others must have."""
        inputs, targets = found
        ranks = self.expectations
        with self.findings.gathering():
            if self.types.input is None:
                return None
            side = self._side(
                inputs, self.types.input, transforms.input, rank=ranks.input_rank, wanted=ranks.input_shape
            )
            own = None
            if targets is not None and self.types.target is not None:
                own = self._side(targets, self.types.target, transforms.target, rank=ranks.output_rank)
                sample_shapes.refuse_missing_channels(side, own)
            source = Source(side, own, name)
            return source.randomized() if name == "training" else source
        return None

    def _side(
        self,
        samples: Samples,
        reader: Choice,
        operations: ImageOperations,
        *,
        rank: int | None,
        wanted: tuple[int | None, ...] | None = None,
    ) -> Side:
        built: Reader = reader.build()
        if built.channels_last and samples.place(0).is_row:
            reader = dataclasses.replace(reader, arguments={**reader.arguments, "stacked": True})
            built = reader.build()
        place, shape, dtype = find_first(
            samples, built, lambda shape: fits(operations, shape, wanted), skips_bad=self.data.skips
        )
        shapes: tuple[tuple[int, ...], ...] = ()
        if samples.slices:
            channels = shape[0] if len(shape) > len(self.slicers[0].sizes) else 1
            shapes = tuple(operations.shape((channels, *slicer.sample_shape)) for slicer in self.slicers)
            shape = (channels, *self.slicers[0].sample_shape)
        # A number alone is a channel, whatever the network declares.
        adds_channel = not (samples.slices or built.pixels) and (rank or 1) == len(shape) + 1
        if adds_channel and built.channels_last:
            raise ConfigError(sample_shapes.describe_missing_channels(place, shape))
        shape = (1, *shape) if adds_channel else shape
        decoding = Decoding(
            reader,
            operations.shape(shape),
            choose_stored_type(operations.dtype(dtype)),
            place.address,
            prepare=operations.apply if operations.steps else None,
            vary=operations.varying,
            adds_channel=adds_channel,
            slicers=self.slicers,
            shapes=shapes if len(set(shapes)) > 1 else (),
        )
        return Side(samples, decoding, built.pixels)


def _kind(part: Part) -> FilePart:
    """What a reader that knows training files from test files by their names is asked for."""
    return "training" if part == "training" else "test"
