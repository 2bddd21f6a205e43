"""Whether a network with weights of ImageNet gets pixels like those that it was trained with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from rayrml.data.transforms import parse_transforms
from rayrml.data.transforms.values import ConvertColor, Normalize
from rayrml.networks.families import Family
from rayrml.networks.families.family import Range
from rayrml.planning.settings import Settings

_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels in [0, 1]
_MEANS_OF_BGR = (103.939 / 255, 116.779 / 255, 123.68 / 255)
_FAR = 0.05  # of the difference between black and white

# What each range is in words, and the transforms that give it.
_RANGES: dict[Range, tuple[str, list[dict[str, Any]]]] = {
    "-1 to 1": ("from -1 to 1", [{"normalize": {"mean": 0.5, "std": 0.5}}]),
    "normalized": ("normalized by ImageNet's channels", [{"normalize": {"mean": _MEANS, "std": _DEVIATIONS}}]),
    "BGR": (
        "in the order BGR, less ImageNet's means, on a scale of 255",
        [
            {"convert_color": "RGB2BGR"},
            {"normalize": {"mean": tuple(round(mean, 4) for mean in _MEANS_OF_BGR), "std": 0.00392}},
        ],
    ),
}


def warn_of_pixels(family: Family | None, settings: Settings) -> Iterator[str]:
    """A sentence if a network by name starts from a file of weights, and images are not as Keras's own were.

    Networks that scale pixels themselves are the concern of `scaling_check`.
    """
    reader, data = settings.types.input_reader, settings.types.data
    if family is None or family.weights is None or reader is None or not reader.pixels or family.expects not in _RANGES:
        return
    wanted = _RANGES[family.expects][1]
    given = data.transforms or data.input_transforms
    if family.shape[-1] != len(_MEANS) or _differ(_changed(given), _changed(wanted)):
        transforms = ", ".join(map(json.dumps, wanted))
        yield (
            f"{describe_range(family)}, and these are others. "
            f"{transforms} as the last of the input transforms makes them so"
        )


def describe_range(family: Family | None) -> str | None:
    """Which pixels the weights of a network by name are for, in a sentence; None if that is not known."""
    if family is None or family.weights is None or family.expects not in _RANGES:
        return None
    return f"the weights that Keras offers for {_describe(family)} are for pixels {_RANGES[family.expects][0]}"


def _describe(family: Family) -> str:
    encoder = getattr(family, "encoder", None)
    return family.name if encoder is None else f"the encoder {encoder}"


def _changed(transforms: Sequence[Any]) -> torch.Tensor | None:
    """Pixels of several colours (1, 3, 1, 4) as transforms change them; None if these are for other images."""
    pixels = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    image = pixels.T.reshape(1, 3, 1, 4)
    for placed in parse_transforms(list(transforms), "transforms"):
        transform = placed.build()
        if isinstance(transform, ConvertColor | Normalize):
            if image.shape[1] != len(_MEANS):
                return None
            image = transform(image, torch.empty(1, 0), "bilinear")
    return image


def _differ(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return True
    return bool((one - other).abs().max() > _FAR * (other.max() - other.min()))
