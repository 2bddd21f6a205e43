"""What the values of samples mean: which targets hold class numbers, and which values the loss and the network take."""

from __future__ import annotations

import dataclasses

from rayrml.config.tables import Choice
from rayrml.data.datasets import Datasets
from rayrml.data.readers import Reader
from rayrml.data.readers.masks import masks
from rayrml.data.sources import Side, Source
from rayrml.data.transforms import BatchTransforms
from rayrml.data.transforms.mixing import PairTransform
from rayrml.data.transforms.table import Placed
from rayrml.data.transforms.values import Normalize
from rayrml.data.value_rules import ClassNumbers, Finite, Scaling, UnitInterval, ValueRule
from rayrml.losses import Loss
from rayrml.planning.data_types import DataTypes


def read_class_numbers(types: DataTypes, loss: Choice | None, transforms: tuple[Placed, ...]) -> DataTypes:
    """The types with targets read as class numbers, where target images are masks and nothing changes their values.

    With a transform that changes them, such as `normalize`, pixels stay shares of white, which the loss rounds.

    Args:
        types: how both sides are read.
        loss: the loss, None without one.
        transforms: what is done to targets.
    """
    if loss is None or types.target is None or types.target_reader is None or not types.target_reader.pixels:
        return types
    built: Loss = loss.build()
    single_channel = types.data.target_is_mask and built.accepts_labels and types.target.settings.get("grayscale")
    if built.targets != "labels" and not single_channel:
        return types
    if types.inputs_are_targets or any(placed.build().changes_masks for placed in transforms):
        return types
    pages = types.target.arguments.get("pages")
    row = Choice(types.target.name, masks, {} if pages is None else {"pages": pages})
    return dataclasses.replace(types, target=row, target_reader=row.build(), targets_are_class_numbers=True)


def with_value_rules(datasets: Datasets, types: DataTypes, loss: Choice | None, channels: int | None) -> Datasets:
    """The datasets with a rule for the values of their inputs and targets, if a loss compares outputs with targets.

    Args:
        datasets: the samples.
        types: how both sides are read.
        loss: the loss, None without one.
        channels: of the network's output, None if that is not known.
    """
    if loss is None or not (datasets.training or datasets.test_targets):
        return datasets
    target = _find_target_rule(types, loss, channels, datasets.transforms.batched)
    own = None if types.generated or (types.input_reader is not None and types.input_reader.pixels) else Finite()
    return dataclasses.replace(
        datasets, **{name: _with_rules(source, own, target) for name, source in datasets.sources.items()}
    )


def _with_rules(source: Source, own: ValueRule | None, target: ValueRule | None) -> Source:
    return dataclasses.replace(
        source,
        input=_with_rule(source.input, own),
        target=None if source.target is None else _with_rule(source.target, target),
    )


def _with_rule(side: Side, rule: ValueRule | None) -> Side:
    if rule is None:
        return side
    decoding = side.decoding.with_rule(rule)
    if isinstance(rule, ClassNumbers) and rule.white_is_one:
        arguments = {**decoding.reader.arguments, "two_shades": True}
        reader = dataclasses.replace(decoding.reader, arguments=arguments)
        decoding = dataclasses.replace(decoding, reader=reader)
    return dataclasses.replace(side, decoding=decoding)


def _find_target_rule(
    types: DataTypes, loss: Choice, channels: int | None, transforms: BatchTransforms
) -> ValueRule | None:
    if not types.targets_are_arrays or types.target_reader is None or types.generated:
        return None
    built: Loss = loss.build()
    scaling = find_scaling(types.target_reader, transforms, "target")
    if scaling is None or channels is None:
        return Finite()
    if built.targets == "labels" or types.targets_are_class_numbers:
        return ClassNumbers(
            built.classes_of(channels),
            built.ignore_index,
            scaling,
            black_and_white=types.targets_are_class_numbers,
            can_ignore="ignore_index" in loss.settings,
        )
    if built.binary:
        return UnitInterval(loss.name, scaling)
    return Finite()


def find_scaling(reader: Reader, transforms: BatchTransforms, part: str) -> Scaling | None:
    """What batch transforms make of the values of inputs or targets; None if that depends on more than the value."""
    steps: list[tuple[float, float]] = []
    for step in transforms.evaluation().steps:
        if step.part not in (part, "both"):
            continue
        transform = step.transform
        if isinstance(transform, Normalize):
            numbers = [_single(value) for value in (transform.mean, transform.std)]
            if None in numbers:
                return None
            steps.append((numbers[0] or 0.0, numbers[1] or 1.0))
        elif (
            isinstance(transform, PairTransform)
            or transform.changes_masks
            or (transform.reads_pixels and (part == "input" or transforms.target_resampling != "nearest"))
        ):
            return None
    return Scaling(reader.pixels and not reader.floats, tuple(steps))


def _single(value: float | tuple[float, ...]) -> float | None:
    """The one number of a value that may be given for each channel."""
    values = set(value) if isinstance(value, tuple) else {value}
    return values.pop() if len(values) == 1 else None
