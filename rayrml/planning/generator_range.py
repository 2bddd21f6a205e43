"""Whether a generator can give numbers like those of the images it is compared with."""

from __future__ import annotations

import math

from rayrml.endings import SYMMETRIC, UNIT, Range
from rayrml.errors import Problem
from rayrml.networks.ending import find_ending, find_other_activation, find_range
from rayrml.networks.graph import Graph

_NEARLY = 0.02  # of the range, by which its ends may differ
_LAST_LAYERS = {UNIT: "sigmoid", SYMMETRIC: "tanh"}
_NORMALIZE = '{"normalize": {"mean": 0.5, "std": 0.5}}'


def compare_ranges(generator: Graph, images: Range | None) -> Problem | str | None:
    """A mistake if a generator cannot give numbers like those of images, a line for people if that is not known.

    None if both have the same range: then the critic cannot tell samples apart by that alone.

    Args:
        generator: its graph.
        images: the range of images, None if it is not known.

    Raises:
        ConfigError: an unknown layer, or keys that it does not accept.
    """
    generated = find_range(generator)
    shown = "of unknown range" if images is None else f"from {_words(images)} after the transforms"
    if generated is None:
        ending = find_ending(generator) or find_other_activation(generator)
        how = "does not end with sigmoid or tanh" if ending in (None, "linear") else f"ends with {ending}"
        return f"the generator {how}, so its numbers may be outside of the images' range; images are {shown}"
    own = f"the generator ends with {_LAST_LAYERS[generated]} and gives {_words(generated)}"
    if images is None:
        return f"{own}; images are {shown}"
    if _agree(generated, images):
        return None
    return Problem("neural_network.layers", f"{own}, but images are {shown}. {_cure(generated, images)}")


def _cure(generated: Range, images: Range) -> str:
    of_images = f"add {_NORMALIZE} as the last of the input transforms" if _agree(images, UNIT) else None
    if generated == UNIT:
        of_images = "leave out normalize"
    elif of_images is None:
        of_images = f"let {_NORMALIZE} be the only normalize"
    fitting = next((name for values, name in _LAST_LAYERS.items() if _agree(values, images)), None)
    return f"End it with {fitting}, or {of_images}" if fitting else f"{of_images[0].upper()}{of_images[1:]}"


def _agree(one: Range, other: Range) -> bool:
    allowed = _NEARLY * (one[1] - one[0])
    return all(math.isclose(a, b, rel_tol=0, abs_tol=allowed) for a, b in zip(one, other, strict=True))


def _words(values: Range) -> str:
    low, high = values
    return f"{low:.3g} to {high:.3g}"
