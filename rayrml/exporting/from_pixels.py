"""A network with what comes before and after it: from pixels as decoders give them to probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rayrml.endings import Ending, probabilities
from rayrml.errors import ConfigError, Problem
from rayrml.exporting.exportable import Exportable, Input, loss_of, name_sizes, output_names
from rayrml.exporting.metadata import PROBABLE, output_kind
from rayrml.exporting.options import PREPROCESSING
from rayrml.exporting.preprocessing import Preprocessing
from rayrml.inference.class_table import Classifier
from rayrml.inference.flips import FlipAverage, flips_of
from rayrml.inference.value_table import Labeller
from rayrml.networks.network import Network
from rayrml.saving.checkpoints import Checkpoint

PIXELS, PROBABILITIES = "pixels", "probabilities"  # names of the input and of the output


class FromPixels(nn.Module):
    """Takes pixels (N, H, W, C) uint8; the outputs are those of predictions, for classes their probabilities.

    Args:
        network: computes the outputs.
        preprocessing: what is done to pixels.
        flips: averages outputs over flips, None for the outputs of the samples as they are.
        ending: what outputs are, if they become probabilities.
        both: whether the only output belongs to class 1 of two, and both get a probability.
    """

    def __init__(
        self,
        network: Network,
        preprocessing: Preprocessing,
        flips: FlipAverage | None,
        *,
        ending: Ending | None,
        both: bool,
    ):
        super().__init__()
        self.network = network
        self._changes = preprocessing.changes()
        self._flips = flips
        self._ending: Ending | None = ending
        self._both = both

    def forward(self, pixels: torch.Tensor) -> Any:
        """The output, or a tuple of outputs."""
        x = pixels.permute(0, 3, 1, 2).float()
        for change in self._changes:
            x = change(x)
        output = self.network(x) if self._flips is None else self._flips(self.network, x)
        if self._ending is None:
            return output
        found = probabilities(output, self._ending)
        return torch.cat([1 - found, found], 1) if self._both else found


def with_preprocessing(
    network: Network, kept: Checkpoint, preprocessing: Preprocessing | None, path: str
) -> Exportable:
    """The network of a checkpoint, from pixels to probabilities.

    Raises:
        ConfigError: its inputs are no images that programs could give it.
    """
    reason = _find_obstacle(network, kept, preprocessing)
    if reason is not None or preprocessing is None:
        raise ConfigError(
            Problem(path, f"{reason}. Export it without {PREPROCESSING}: the metadata describe its inputs")
        )
    table, kind = output_kind(kept)
    classes = kind in PROBABLE and len(network.output_shapes) == 1 and len(network.output_shapes[0]) == 1
    ending = table.ending if classes and isinstance(table, Classifier | Labeller) else None
    single = network.output_shapes[0][0] == 1
    if isinstance(table, Classifier) and ending == "log_softmax" and not single:
        ending = "logits"  # as predictions have it: a distribution, whatever the numbers are
    flips = flips_of(preprocessing.flips, loss_of(kept), network.graph)
    both = isinstance(table, Classifier) and ending is not None and single
    module = FromPixels(network, preprocessing, flips, ending=ending, both=both)
    sizes = ("height", "width") if preprocessing.fixes_size else name_sizes(network.input_shapes[0])[1:]
    pixels = Input(PIXELS, (*sizes, preprocessing.channels), torch.uint8)
    names = (PROBABILITIES,) if ending is not None else tuple(output_names(network))
    return Exportable(network, module.eval(), (pixels,), names, gives_probabilities=ending is not None)


def _find_obstacle(network: Network, kept: Checkpoint, preprocessing: Preprocessing | None) -> str | None:
    """Why the network cannot take pixels, None if it can."""
    if kept.generates:
        return "is a generator, which takes random numbers"
    if preprocessing is None:
        return "does not say how its inputs are read"
    if len(network.input_shapes) != 1:
        return f"the network has {len(network.input_shapes)} inputs"
    return preprocessing.unsupported()
