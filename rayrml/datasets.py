"""From the data section to the samples of a run: files, classes, pairs, shapes and transforms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from rayrml.config import Data
from rayrml.data.discovery import Samples, find_samples, label_by_folder, pair
from rayrml.data.image_ops import ImageOperations
from rayrml.data.pipeline import RESIZE_HINT, Side, Source
from rayrml.data.readers import READERS, Reader
from rayrml.data.transforms import Placed, Transforms, parse, split
from rayrml.findings import Findings
from rayrml.lookup import Choice, choose

DATA = "neural_network.data"


@dataclasses.dataclass(frozen=True)
class Datasets:
    """The samples that a run uses.

    Attributes:
        training: None without training.
        test: None without evaluation and inference.
        transforms: what is done to images.
        classes: names of the classes that label the samples, () if labels are no targets.
        shape: (C, *spatial) of what reaches the network.
        target_shape: shape of a target: () for a class, (C, *spatial) for an image, None if there are no targets.
        test_targets: whether test samples have targets.
    """

    training: Source | None
    test: Source | None
    transforms: Transforms
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    target_shape: tuple[int, ...] | None
    test_targets: bool


class DatasetsPreparation:
    """Looks at each part of the data section, and goes on after a mistake."""

    def __init__(self, data: Data, findings: Findings, *, loss_takes_shares: bool = False):
        self.data = data
        self.findings = findings
        self.loss_takes_shares = loss_takes_shares

    def datasets(self, known_classes: Sequence[str]) -> Datasets | None:
        """The samples, None if something is wrong; `known_classes` are those of a checkpoint."""
        self._consistency()
        reader = self._reader("input")
        target_reader = self._reader("target") if self.targets_are_images else None
        training = self._samples("training", reader, target_reader)
        test = self._samples("test", reader, target_reader)
        classes: tuple[str, ...] = tuple(known_classes)
        if training is not None and self.data.targets == "labels":
            training = self._labelled(training, "training", None)
            classes = training[0].classes if training is not None else ()
        if test is not None and self.data.targets == "labels":
            test = self._labelled(test, "test", classes or None)
            classes = classes or (test[0].classes if test is not None else ())
        transforms = self._transforms(len(classes) if self.loss_takes_shares else None)
        if transforms is None or reader is None:
            return None
        sources = {
            name: self._source(name, found, (reader, target_reader), transforms)
            for name, found in (("training", training), ("test", test))
            if found is not None
        }
        return self._put_together(sources, transforms, classes)

    @property
    def targets_are_images(self) -> bool:
        """Whether targets are read from files, or are the inputs themselves."""
        return self.data.targets not in (None, "labels")

    @property
    def _inputs_are_targets(self) -> bool:
        """Whether targets are the input files read in another way: in colour, say, where inputs are gray."""
        data = self.data
        differ = data.input_transforms != data.target_transforms or data.one_channel("input") != data.one_channel(
            "target"
        )
        return self.targets_are_images and differ and not data.target_path and not data.test_target_path

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
                first = [source.samples.path(0) for source in (training, test) if source is not None]
                message = f"'{first[0]}' becomes {shapes[0]}, but '{first[1]}' {shapes[1]}. {RESIZE_HINT}"
                self.findings.add(DATA, message)
            test_targets = self.data.targets == "labels" or bool(
                self.targets_are_images and (self.data.test_target_path or not self.data.target_path)
            )
            return Datasets(
                training=training,
                test=test,
                transforms=transforms,
                classes=classes,
                shape=shapes[0],
                target_shape=self._target_shape(training, test, transforms),
                test_targets=test is not None and test_targets,
            )
        return None

    def _target_shape(
        self, training: Source | None, test: Source | None, transforms: Transforms
    ) -> tuple[int, ...] | None:
        source = training or test
        if self.data.targets == "labels":
            return ()
        if source is None or not self.targets_are_images:
            return None
        if source.target is not None:
            return transforms.batched.shape(source.target.shape, "target")
        return transforms.batched.shape(source.shape)

    def _consistency(self) -> None:
        """Keys that need one another."""
        data, add = self.data, self.findings.add
        if not data.input_path and not data.test_input_path:
            add(DATA, "there is nothing to do. Expected input_path, test_input_path, or both")
        if data.input_path and data.targets is None:
            add(DATA, 'training needs targets. Expected target_type, for example "labels"')
        if data.test_output_path and not data.test_input_path:
            add(f"{DATA}.test_output_path", "there is nothing to predict without test_input_path")
        for key in ("target_path", "test_target_path"):
            if getattr(data, key) and not self.targets_are_images:
                reason = "the class is the name of the folder" if data.targets else "there is no target_type"
                add(f"{DATA}.{key}", f"is of no use: {reason}")
        if data.transforms and (data.input_transforms or data.target_transforms):
            add(f"{DATA}.transforms", "is for both inputs and targets. Expected it, or input_transforms and the other")
        if data.target_transforms and not self.targets_are_images:
            add(f"{DATA}.target_transforms", "is of no use: targets are no images")

    def _transforms(self, num_classes: int | None) -> Transforms | None:
        lists: dict[str, tuple[Placed, ...]] = {}
        for key in ("transforms", "input_transforms", "target_transforms"):
            with self.findings.gathering():
                lists[key] = parse(getattr(self.data, key), f"{DATA}.{key}")
        if len(lists) < 3:
            return None
        both = lists["transforms"]
        targets = (both or lists["target_transforms"]) if self.targets_are_images else ()
        with self.findings.gathering():
            return split(
                both or lists["input_transforms"],
                targets,
                target_is_mask=self.data.target_is_mask,
                target_is_label=self.data.targets == "labels",
                num_classes=num_classes or None,
            )
        return None

    def _reader(self, side: Literal["input", "target"]) -> Choice | None:
        name = self.data.inputs if side == "input" else self.data.targets
        if name is None:
            self.findings.add(DATA, f"'{side}_type' is missing. Expected one of {', '.join(READERS)}")
            return None
        key = f"{side}_type" if getattr(self.data, f"{side}_type") else "type"
        with self.findings.gathering():
            return choose(READERS, {key: name, "grayscale": self.data.one_channel(side)}, DATA, key)
        return None

    def _samples(
        self, part: Literal["training", "test"], reader: Choice | None, target_reader: Choice | None
    ) -> tuple[Samples, Samples | None] | None:
        """Input files and, if there are such, the target files in the same order."""
        prefix = "" if part == "training" else "test_"
        path, target_path = getattr(self.data, f"{prefix}input_path"), getattr(self.data, f"{prefix}target_path")
        if reader is None or path is None:
            return None
        with self.findings.gathering():
            built: Reader = reader.build()
            inputs = find_samples(path, built.extensions, f"{DATA}.{prefix}input_path")
            if target_reader is None or (target_path is None and not self._inputs_are_targets):
                return inputs, None
            if target_path is None:
                return inputs, inputs
            where = f"{DATA}.{prefix}target_path"
            return pair(inputs, find_samples(target_path, target_reader.build().extensions, where), where)
        return None

    def _labelled(
        self, found: tuple[Samples, Samples | None], part: str, classes: Sequence[str] | None
    ) -> tuple[Samples, Samples | None] | None:
        is_training = part == "training"
        tag = self.data.training_tag if is_training else self.data.test_tag
        key = "input_path" if is_training else "test_input_path"
        with self.findings.gathering():
            return label_by_folder(found[0], tag, f"{DATA}.{key}", classes), found[1]
        return None

    def _source(
        self,
        name: str,
        found: tuple[Samples, Samples | None],
        readers: tuple[Choice, Choice | None],
        transforms: Transforms,
    ) -> Source | None:
        """The samples with the shapes of the first of them, which all others must have."""
        inputs, targets = found
        with self.findings.gathering():
            sides = [_side(inputs, readers[0], transforms.input)]
            if targets is not None and readers[1] is not None:
                sides.append(_side(targets, readers[1], transforms.target))
            return Source(sides[0], sides[1] if len(sides) > 1 else None, name)
        return None


def _side(samples: Samples, reader: Choice, operations: ImageOperations) -> Side:
    built: Reader = reader.build()
    first = built.decode(samples.path(0))
    return Side(samples, reader, operations.shape(first.shape), operations.apply if operations.steps else None)
