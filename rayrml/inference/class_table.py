"""What outputs say of classes: the most probable ones of each sample, and the table of them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rayrml import storage
from rayrml.config.tables import choose
from rayrml.errors import explaining
from rayrml.losses import LOSSES
from rayrml.networks import graph as graphs
from rayrml.networks.layers.initializers import class_and_config

NUM_NAMED = 5  # classes of a sample that the table names
# What leaves each number as it is when it is not training, and at most moves it.
_PASSING = {"dropout", "flatten", "reshape", "alphadropout", "gaussiandropout", "gaussiannoise"}
_ENDINGS = {"softmax": "softmax", "log_softmax": "logits", "logsoftmax": "logits", "sigmoid": "sigmoid"}
_LOSSES_OF_PROBABILITIES = {"BCE"}


class Classified(NamedTuple):
    """A sample's most probable classes, the best first.

    Attributes:
        path: the sample's name, which is that of its dataset.
        classes: their names.
        probabilities: of each of them.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """How outputs (K,) become probabilities of classes.

    Attributes:
        names: of the classes, () if they are called by their numbers.
        ending: `softmax`: the outputs are probabilities; `sigmoid`: they are, of each class by itself, or of class 1 of
            two if there is one; `logits`: their softmax, or the sigmoid of a single one, is.
        certain: whether training compared outputs with classes, so that outputs stand for classes even without names.
    """

    names: tuple[str, ...]
    ending: str
    certain: bool

    def applies(self, shape: Sequence[int]) -> bool:
        """Whether outputs of this shape stand for one class a sample."""
        if len(shape) != 1:
            return False
        return len(self.names) == max(shape[0], 2) if self.names else self.certain

    def classified(self, path: str, output: np.ndarray) -> Classified:
        """The most probable classes of the sample with this output (K,)."""
        probabilities = self.probabilities(output)
        best = np.argsort(-probabilities, kind="stable")[:NUM_NAMED].tolist()
        names = tuple(self.names[i] if self.names else str(i) for i in best)
        return Classified(path, names, tuple(float(probabilities[i]) for i in best))

    def probabilities(self, output: np.ndarray) -> np.ndarray:
        """Probabilities (max(K, 2),) of the classes for an output (K,)."""
        values = np.asarray(output, np.float64)
        if len(values) == 1:
            one = values if self.ending == "sigmoid" else 1 / (1 + np.exp(-np.clip(values, -700, 700)))
            return np.concatenate([1 - one, one])
        if self.ending != "logits":
            return values
        shares = np.exp(values - values.max())
        return shares / shares.sum()


def classifier(layers: Any, loss: Mapping[str, Any] | None, names: Sequence[str]) -> Classifier:
    """How outputs of the network with this Keras JSON become probabilities.

    What the network ends with decides: a softmax and a sigmoid give probabilities, and the softmax of what log-softmax
    gives is what it was made of, as that of logits is. Where it ends with something else, the `loss` decides by what it
    takes: the `source` of those that have one, probabilities for BCE, and else logits.

    Args:
        layers: Keras JSON.
        loss: the section of that name, None or empty if there is none.
        names: of the classes, () if they are not known.
    """
    choice = choose(LOSSES, loss, "neural_network.loss", "function") if loss else None
    ending = _ending(graphs.read(layers))
    if ending is None and choice is not None:
        source = "sigmoid" if choice.name in _LOSSES_OF_PROBABILITIES else choice.settings.get("source", "logits")
        ending = _ENDINGS.get(source, "logits")
    certain = choice is not None and choice.build().targets == "labels"
    return Classifier(tuple(names), ending or "logits", certain)


def _ending(graph: graphs.Graph) -> str | None:
    """What the last activation of the first output makes of its inputs, None if it makes no probabilities."""
    node = graph.nodes[graph.outputs[0]]
    while True:
        layer = graph.layers[node.layer]
        kind = layer.class_name.rpartition(".")[2].casefold()
        if kind in _ENDINGS:
            return _ENDINGS[kind]
        name, _ = class_and_config(layer.config.get("activation"))
        if name not in (None, "linear"):
            return _ENDINGS.get(str(name).casefold().removesuffix("_v2"))
        if (kind not in _PASSING and kind != "activation") or not node.inputs:
            return None
        node = graph.nodes[node.inputs[0]]


def write(path: str | Path, rows: Iterable[Classified]) -> Iterator[Classified]:
    """Write a table with a line for each row, and give each row once it is written; to be used up.

    The columns are `path`, `class` and `probability`, then the next classes as `class_2`, `probability_2` and so on.

    Raises:
        DataError: the file cannot be written.
    """
    with explaining(path, "cannot be written"), storage.Unfinished(path) as file:
        first = True
        for row in rows:
            if first:
                file.write(_line(_headings(len(row.classes))))
                first = False
            pairs = zip(row.classes, row.probabilities, strict=True)
            file.write(_line([row.path, *(cell for name, p in pairs for cell in (name, f"{p:.6g}"))]))
            yield row
        file.commit()


def _headings(count: int) -> list[str]:
    more = [f"{name}_{i}" for i in range(2, count + 1) for name in ("class", "probability")]
    return ["path", "class", "probability", *more]


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="surrogateescape")
