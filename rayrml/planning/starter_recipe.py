"""How a network to start from is trained: sizes of images, random changes, epochs and learning rates.

All of it follows from the number and the sizes of the images, and is written into the configuration for people to edit.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

Size = tuple[int, int]  # height, width

_STEP, _LEAST, _MOST = 16, 16, 96  # pixels of a side
_SAME = 1.1  # proportions that differ by less than this factor count as one
_MOST_OF_CHARACTERS = 32  # pixels of a side: small gray images may be digits or letters, which are not to be mirrored
_VIEWS = 15_000  # samples that a training goes through: fewer images are seen more often
_LEAST_EPOCHS, _MOST_EPOCHS = 20, 150
_WARMUP = 3  # epochs
_BATCH_SIZES = ((200, 8), (2000, 16))  # for fewer images than this; more have the last size
_LARGEST_BATCH = 32


def choose_size(sizes: Sequence[Size]) -> Size:
    """Height and width of images in the network: their own if all have one small size, else with their proportions.

    It is square if the images have different proportions.
    """
    if len(set(sizes)) == 1 and min(sizes[0]) >= _LEAST and max(sizes[0]) <= _MOST:
        return sizes[0]
    if have_one_proportion(sizes):
        height, width = (statistics.median(lengths) for lengths in zip(*sizes, strict=True))
        scale = min(1.0, _MOST / max(height, width))
        return _rounded(height * scale), _rounded(width * scale)
    side = _rounded(statistics.median(max(size) for size in sizes))
    return side, side


def have_one_proportion(sizes: Sequence[Size]) -> bool:
    """Whether one resize changes the proportions of no image much."""
    ratios = [width / height for height, width in sizes]
    return max(ratios) < _SAME * min(ratios)


def may_be_flipped(sizes: Sequence[Size], gray: bool) -> bool:
    """Whether images look like photos rather than digits or letters, whose left and right matter."""
    return not gray or statistics.median(max(size) for size in sizes) > _MOST_OF_CHARACTERS


def choose_transforms(sizes: Sequence[Size], gray: bool, learns: str = "class") -> dict[str, Any]:
    """The key `transforms` of the data section or, with masks, `input_transforms` and `target_transforms`.

    Images with masks are resized to one size whatever their proportions, so that predicted masks can be resized back.
    Images with numbers are neither flipped nor cropped: a number may be a position, or a size.

    Args:
        sizes: heights and widths of some of the images.
        gray: whether they are read with one channel.
        learns: what the network is to tell of an image: `masks`, to which random changes of positions are applied,
            too, `number`, `class` or `classes`.
    """
    masks = learns == "masks"
    keep = not masks and not have_one_proportion(sizes)
    changes: list[dict[str, Any]] = [{"letterbox" if keep else "resize": list(choose_size(sizes))}]
    if may_be_flipped(sizes, gray) and learns != "number":
        changes.append({"random_horizontal_flip": 0.5})
    if learns != "number":
        changes.append({"jitter_crop": 0.2})
    scaled = [*changes, {"normalize": {"mean": 0.5, "std": 0.25}}]
    return {"input_transforms": scaled, "target_transforms": changes} if masks else {"transforms": scaled}


def choose_batch_size(num_images: int) -> int:
    """The size of batches: small for few images, so that there are enough steps."""
    return next((size for limit, size in _BATCH_SIZES if num_images < limit), _LARGEST_BATCH)


def choose_training(num_images: int) -> dict[str, Any]:
    """The keys `num_epochs`, `early_stopping` and `optimizer` of a network that learns from so many images."""
    num_epochs = min(max(round(_VIEWS / num_images), _LEAST_EPOCHS), _MOST_EPOCHS)
    schedule = [{"type": "Warmup", "num_epochs": _WARMUP, "start_factor": 0.1}, {"type": "Cosine"}]
    return {
        "num_epochs": num_epochs,
        "early_stopping": {"patience": max(num_epochs // 3, 10)},
        "optimizer": {"type": "Adam", "learning_rate": 0.002, "lr_scheduler": schedule},
    }


def describe(sizes: Sequence[Size], gray: bool, learns: str = "class") -> Iterator[str]:
    """What is assumed of the images, and what to change if it is wrong."""
    if learns != "masks" and not have_one_proportion(sizes):
        yield "Their proportions differ and are kept: gray borders fill the rest"
    if learns == "number":
        yield "In training they are neither flipped nor cropped: numbers may depend on it"
    elif may_be_flipped(sizes, gray):
        yield "In training they are flipped left to right and cropped at random. Remove the flip if sides matter"
    else:
        yield "In training they are cropped at random, but not flipped: small gray images may be digits or letters"


def _rounded(length: float) -> int:
    return min(max(round(length / _STEP) * _STEP, _LEAST), _MOST)
