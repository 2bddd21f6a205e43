"""A classifier by whose features and classes generated samples are compared with real ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rayrml.config.tables import choose
from rayrml.data.reader_keys import select_reading
from rayrml.data.transforms import Transforms, parse_transforms, split_transforms
from rayrml.endings import Ending, probabilities
from rayrml.errors import ConfigError, Problem
from rayrml.inference.class_table import find_output_ending
from rayrml.losses import LOSSES, Loss
from rayrml.networks.features import Features
from rayrml.networks.graph import read_graph
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue. Source: ITU-R BT.601, as image readers take gray from colors
_GRAY, _COLORS = 1, 3


@dataclasses.dataclass(frozen=True)
class Judge:
    """A classifier that gets samples as its checkpoint says that it was fed.

    Attributes:
        features: computes features and outputs.
        transforms: what is done to samples.
        num_channels: 1 if it was fed gray images, 3 for colors, None for samples as they are.
        ending: what outputs are.
        classes: their names, () if they are unknown.
    """

    features: Features
    transforms: Transforms
    num_channels: int | None
    ending: Ending
    classes: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Judge:
        """The same one, whose network is on this device from now on."""
        self.features.network.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, samples: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Features (N, F) and probabilities of the classes (N, K) of samples (N, C, *spatial) from 0 to 1."""
        found, outputs = self.features(self._prepared(samples))
        return found.cpu().numpy(), probabilities(outputs.float(), self.ending).cpu().numpy()

    def _prepared(self, samples: torch.Tensor) -> torch.Tensor:
        samples = _with_channels(samples.float(), self.num_channels)
        if self.transforms.input.steps:
            arrays = [self.transforms.input.apply(one) for one in samples.cpu().numpy()]
            samples = torch.from_numpy(np.stack(arrays)).to(samples.device)
        return self.transforms.batched.evaluation()(samples, None)[0]

    def shape_of(self, shape: Sequence[int]) -> tuple[int, ...]:
        """What the classifier gets of samples of this shape. Raises ConfigError if transforms do not support them."""
        channels = self.num_channels if shape[0] in (_GRAY, _COLORS) and self.num_channels else shape[0]
        return self.transforms.batched.evaluation().shape(self.transforms.input.shape((channels, *shape[1:])))


def load_judge(path: str, shape: Sequence[int], where: str = "neural_network.metric_network") -> Judge:
    """The classifier in a checkpoint, for samples of this shape (C, *spatial).

    Args:
        path: the checkpoint, or a run's folder.
        shape: of the samples that are compared.
        where: the JSON path that names it.

    Raises:
        ConfigError: the checkpoint is not one of a classifier, or does not take such samples.
        DataError: the file cannot be read.
    """
    kept = checkpoints.load(path, where)
    loss = _loss_of(kept.loss)
    if kept.layers is None or loss is None or loss.targets != "labels":
        raise ConfigError(Problem(where, f"'{path}' was not trained by rayrml to tell classes apart"))
    network = build_network(kept.layers, kept.input_shape)
    checkpoints.load_into(network, kept.network, path, where)
    if len(network.output_shapes[0]) != 1:
        raise ConfigError(Problem(where, f"'{path}' tells classes of pixels apart. Expected those of whole images"))
    data = select_reading(kept.data)
    placed = parse_transforms(data.get("input_transforms") or [], f"{where}: input_transforms")
    images = data.get("input_type", "images") == "images"
    transforms = split_transforms(placed, input_pixels=images)
    gray = data.get("grayscale", False)
    channels = (_GRAY if gray else _COLORS) if images and not data.get("pages") else None
    ending = find_output_ending(read_graph(kept.layers), loss)
    judge = Judge(Features(network, where), transforms, channels, ending, kept.classes)
    if (misfit := network.check_input(judge.shape_of(shape))) is not None:
        raise ConfigError(Problem(where, f"'{path}' takes other images than those of {tuple(shape)}: {misfit}"))
    return judge


def _loss_of(section: Any) -> Loss | None:
    return choose(LOSSES, section, "loss", "function").build() if section else None


def _with_channels(samples: torch.Tensor, wanted: int | None) -> torch.Tensor:
    """Gray samples as red, green and blue, or these as gray ones, where others are wanted."""
    if wanted == _COLORS and samples.shape[1] == _GRAY:
        return samples.repeat(1, _COLORS, *(1,) * (samples.ndim - 2))
    if wanted == _GRAY and samples.shape[1] == _COLORS:
        weights = torch.tensor(_LUMA, device=samples.device).view(1, _COLORS, *(1,) * (samples.ndim - 2))
        return (samples * weights).sum(1, keepdim=True)
    return samples
