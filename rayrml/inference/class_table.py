"""The class table of outputs: each sample's most probable classes."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rayrml import storage
from rayrml.config.tables import choose
from rayrml.endings import Ending, probabilities
from rayrml.errors import explaining
from rayrml.losses import LOSSES, Loss
from rayrml.networks.ending import find_ending
from rayrml.networks.graph import Graph, read_graph

NUM_NAMED = 5  # classes per sample in the table


class Classified(NamedTuple):
    """A sample's most probable classes, best first.

    Attributes:
        path: the sample's name, which is also its dataset's.
        classes: names of the classes.
        probabilities: one per class.
        truth: the name of its true class, None if that is unknown.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    truth: str | None = None


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Turns outputs (K,) into class probabilities.

    Attributes:
        names: of the classes, () if they are identified by their numbers.
        ending: the kind of outputs; a single output belongs to class 1 of two.
        certain: whether training compared outputs with classes, so outputs represent classes even without names.
    """

    names: tuple[str, ...]
    ending: Ending
    certain: bool

    def applies(self, shape: Sequence[int]) -> bool:
        """Whether outputs of this shape represent one class per sample."""
        if len(shape) != 1:
            return False
        return len(self.names) == max(shape[0], 2) if self.names else self.certain

    def classified(self, path: str, output: np.ndarray) -> Classified:
        """The most probable classes of a sample with this output (K,)."""
        probabilities = self.probabilities(output)
        best = np.argsort(-probabilities, kind="stable")[:NUM_NAMED].tolist()
        names = tuple(self.names[i] if self.names else str(i) for i in best)
        return Classified(path, names, tuple(float(probabilities[i]) for i in best))

    def probabilities(self, output: np.ndarray) -> np.ndarray:
        """Class probabilities (max(K, 2),) for an output (K,)."""
        values = torch.from_numpy(np.asarray(output, np.float64))
        # The softmax of log-probabilities is the probabilities; of other numbers, it is at least a distribution.
        ending = "logits" if self.ending == "log_softmax" and len(values) > 1 else self.ending
        (found,) = probabilities(values[None], ending).numpy()
        return found if len(found) > 1 else np.concatenate([1 - found, found])


def classifier(layers: Any, loss: Mapping[str, Any] | None, names: Sequence[str]) -> Classifier:
    """The classifier for outputs of the network with this Keras JSON.

    The network's ending decides what its outputs are; failing that, the input that the loss takes; failing that, they
    are logits.

    Args:
        layers: Keras JSON.
        loss: the section of that name, None or empty if there is none.
        names: of the classes, () if unknown.
    """
    choice = choose(LOSSES, loss, "neural_network.loss", "function") if loss else None
    built: Loss | None = choice.build() if choice else None
    ending = find_output_ending(read_graph(layers), built)
    return Classifier(tuple(names), ending, certain=built is not None and built.targets == "labels")


def find_output_ending(graph: Graph, loss: Loss | None) -> Ending:
    """What the outputs of a network that tells classes apart are."""
    ending = find_ending(graph)
    return ((loss.takes if loss else None) or "logits") if ending is None or ending == "linear" else ending


def write_table(path: str | Path, rows: Iterable[Classified]) -> Iterator[Classified]:
    """Write a table with a line for each row, and yield each row once it is written; must be exhausted.

    The columns are `path`, `true_class` if it is known, `class` and `probability`, then the next classes as `class_2`,
    `probability_2` and so on.

    Raises:
        DataError: the file cannot be written.
    """
    with explaining(path, "cannot be written"), storage.Unfinished(path) as file:
        first = True
        for row in rows:
            if first:
                file.write(_line(_headings(len(row.classes), truth=row.truth is not None)))
                first = False
            pairs = zip(row.classes, row.probabilities, strict=True)
            truth = () if row.truth is None else (row.truth,)
            file.write(_line([row.path, *truth, *(cell for name, p in pairs for cell in (name, f"{p:.6g}"))]))
            yield row
        file.commit()


def _headings(count: int, *, truth: bool) -> list[str]:
    more = [f"{name}_{i}" for i in range(2, count + 1) for name in ("class", "probability")]
    return ["path", *(["true_class"] if truth else []), "class", "probability", *more]


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="surrogateescape")
