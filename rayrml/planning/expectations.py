"""What the rest of the configuration tells the preparation of the samples."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from rayrml.planning.box_targets import BoxTargets
from rayrml.planning.table_targets import LabelTables


@dataclasses.dataclass(frozen=True)
class Expectations:
    """What the rest of the configuration expects of samples.

    Attributes:
        loss: whether there is a loss to compare outputs with targets.
        shares: whether the loss accepts class shares as labels.
        input_rank: number of axes of the network's input (C, *spatial), None if it does not declare it.
        output_rank: the same for its output.
        input_shape: the declared shape of the network's input, None for sizes that are open.
        num_classes: how many classes the loss tells apart in the network's output, None if that is not known.
        boxes: whether objects are found, so that the sizes of images are needed.
        generated: whether test samples are compared with generated ones instead of targets.
    """

    loss: bool = True
    shares: bool = False
    input_rank: int | None = None
    output_rank: int | None = None
    input_shape: tuple[int | None, ...] | None = None
    num_classes: int | None = None
    boxes: bool = False
    generated: bool = False


class Labelling(NamedTuple):
    """Where targets are that are not files of their own.

    Attributes:
        tables: the tables of targets.
        boxes: the label files of boxes.
    """

    tables: LabelTables
    boxes: BoxTargets
