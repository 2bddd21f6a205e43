"""The table of outputs: each sample's most probable classes, or what else its outputs stand for."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from rayrml import storage
from rayrml.config.tables import choose
from rayrml.endings import Ending, probabilities
from rayrml.errors import explaining
from rayrml.inference.value_table import Labeller, Measurer
from rayrml.losses import LOSSES, Loss
from rayrml.metrics.metric import LIKELY
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

    @property
    def cells(self) -> dict[str, str]:
        """The cells of its line in the table, by heading."""
        truth = {} if self.truth is None else {"true_class": self.truth}
        found: dict[str, str] = {}
        for i, (name, probability) in enumerate(zip(self.classes, self.probabilities, strict=True), 1):
            number = f"_{i}" if i > 1 else ""
            found |= {f"class{number}": name, f"probability{number}": f"{probability:.6g}"}
        return {"path": self.path, **truth, **found}

    @property
    def brief(self) -> dict[str, str]:
        """The cells of its line on the screen, by heading."""
        return {"Path": self.path, "Class": self.classes[0], "Probability": f"{self.probabilities[0]:.3f}"}

    @property
    def counted(self) -> tuple[str, ...]:
        """What is counted in the summary of many samples."""
        return self.classes[:1]


class Row(Protocol):
    """A line of a table of outputs."""

    @property
    def path(self) -> str:
        """The sample's name."""
        ...

    @property
    def cells(self) -> dict[str, str]:
        """The cells of the line, by heading."""
        ...

    @property
    def brief(self) -> dict[str, str]:
        """The cells of the line on the screen, by heading."""
        ...

    @property
    def counted(self) -> tuple[str, ...]:
        """What is counted in the summary of many samples."""
        ...


class Tabulator(Protocol):
    """Makes the lines of a table from outputs (K,)."""

    def applies(self, shape: Sequence[int]) -> bool:
        """Whether outputs of this shape can be in the table."""
        ...

    def row(self, path: str, output: np.ndarray, truth: Any = None) -> Row:
        """The line of a sample with this output; `truth` is its target, None if that is unknown."""
        ...


SomeRow = TypeVar("SomeRow", bound=Row)


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

    def row(self, path: str, output: np.ndarray, truth: int | None = None) -> Classified:
        """The most probable classes of a sample with this output (K,), and the name of its true class."""
        probabilities = self.probabilities(output)
        best = np.argsort(-probabilities, kind="stable")[:NUM_NAMED].tolist()
        names = tuple(map(self._name, best))
        true = None if truth is None else self._name(int(truth))
        return Classified(path, names, tuple(float(probabilities[i]) for i in best), true)

    def _name(self, number: int) -> str:
        return self.names[number] if number < len(self.names) else str(number)

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


def tabulator(
    layers: Any, loss: Mapping[str, Any] | None, names: Sequence[str], targets: Mapping[str, Any]
) -> Tabulator:
    """What makes the table of outputs of the network with this Keras JSON.

    Args:
        layers: Keras JSON.
        loss: the section of that name, None or empty if there is none.
        names: of the classes, () if unknown.
        targets: how targets are read, as keys of the section `data`.
    """
    found = classifier(layers, loss, names)
    kind, columns = targets.get("target_kind"), targets.get("target_column")
    if kind == "number" and columns:
        return Measurer((columns,) if isinstance(columns, str) else tuple(columns))
    if kind == "classes":
        # A softmax of the last layer is none for classes that a sample may all have.
        ending = "sigmoid_logits" if found.ending == "logits" else found.ending
        return Labeller(found.names, ending, targets.get("threshold") or LIKELY)
    return found


def find_output_ending(graph: Graph, loss: Loss | None) -> Ending:
    """What the outputs of a network that tells classes apart are."""
    ending = find_ending(graph)
    return ((loss.takes if loss else None) or "logits") if ending is None or ending == "linear" else ending


def write_table(path: str | Path, rows: Iterable[SomeRow]) -> Iterator[SomeRow]:
    """Write a table with a line for each row, and yield each row once it is written; must be exhausted.

    Of classes, the columns are `path`, `true_class` if it is known, `class` and `probability`, then the next classes as
    `class_2`, `probability_2` and so on.

    Raises:
        DataError: the file cannot be written.
    """
    with explaining(path, "cannot be written"), storage.Unfinished(path) as file:
        first = True
        for row in rows:
            cells = row.cells
            if first:
                file.write(_line(list(cells)))
                first = False
            file.write(_line(list(cells.values())))
            yield row
        file.commit()


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="surrogateescape")
