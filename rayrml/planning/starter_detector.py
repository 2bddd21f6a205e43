"""A network to start from that finds objects: a few convolutions, and a grid of boxes at each of its last resolutions.

It is a list of layers for people to edit, in the manner of YOLOv3 (arXiv 1804.02767, section 2.3), but far smaller.
"""

from __future__ import annotations

from typing import Any

from rayrml.planning.starter_network import Layer, joining, layer

NUM_ANCHORS = 3  # of each grid
_NUMBERS_OF_A_BOX = 5  # x, y, w, h and objectness
_FILTERS = (24, 48, 128, 256)  # of the convolutions that halve the resolution
_DEEP = 256  # filters of one more, for large images
_LARGE = 192  # pixels of a side, above which objects are too large to be seen in cells of 16 pixels
_GROUPS = 8


def build_detector(shape: tuple[int, int, int], num_classes: int, *, groups: bool = False) -> list[Layer]:
    """Convolutions that halve the resolution, then a grid of boxes for large objects and finer ones for small objects.

    There are two grids, of cells of 16 and 8 pixels; images above 192 pixels have one of 32 pixels, too. Each number
    stands for what `rayrml.boxes` says: the outputs are linear.

    Args:
        shape: height, width and channels of the images; the sides are multiples of 16, or of 32 if large.
        num_classes: the number of classes.
        groups: whether each image is normalized by itself, which batches of a few images need.
    """
    coarsest = count_grids(shape[:2]) + 2
    filters = (*_FILTERS, _DEEP)[:coarsest]
    found = [layer("InputLayer", "image", batch_input_shape=[None, *shape])]
    for level, count in enumerate(filters, 1):
        found += _halving(f"down_{level}", count, groups)
        if level == 2:
            found += _convolution("detail", count, 3, groups)
    found += _convolution("middle", filters[-1] // 2, 1, groups)
    outputs = _NUMBERS_OF_A_BOX + num_classes
    found += _grid(f"{2**coarsest}", filters[-1], outputs, groups)
    before = "leaky_middle"
    for level in range(coarsest - 1, 2, -1):
        name, count = f"{2**level}", filters[level - 1] // 2
        found += _convolution(f"narrow_{name}", count, 1, groups, source=before)
        found.append(layer("UpSampling2D", f"up_{name}", size=2))
        found.append(joining("Concatenate", f"join_{name}", f"up_{name}", f"leaky_down_{level}"))
        before = f"leaky_wide_{name}"
        found += _grid(name, filters[level - 1], outputs, groups)
    return found


def count_grids(size: tuple[int, int]) -> int:
    """How many grids there are for images of this height and width."""
    return 3 if max(size) > _LARGE else 2


def _grid(stride: str, filters: int, outputs: int, groups: bool) -> list[Layer]:
    """The output for cells of that many pixels, which no further layer takes."""
    channels = NUM_ANCHORS * outputs
    return [
        *_convolution(f"wide_{stride}", filters, 3, groups),
        layer("Conv2D", f"boxes_{stride}", filters=channels, kernel_size=1),
    ]


def _halving(name: str, filters: int, groups: bool) -> list[Layer]:
    """A convolution of stride 2 that pads above and on the left, as darknet's do."""
    padding = layer("ZeroPadding2D", f"pad_{name}", padding=[[1, 0], [1, 0]])
    convolution, *others = _convolution(name, filters, 3, groups)
    convolution["config"] |= {"strides": 2, "padding": "valid"}
    return [padding, convolution, *others]


def _convolution(name: str, filters: int, size: int, groups: bool, *, source: str | None = None) -> list[Layer]:
    """A convolution, normalized; of the layer before it unless `source` names another."""
    settings: dict[str, Any] = {"filters": filters, "kernel_size": size, "padding": "same"}
    settings |= {"use_bias": False, "kernel_initializer": "he_normal"}
    convolution = layer("Conv2D", f"conv_{name}", **settings)
    if source is not None:
        convolution["inbound_nodes"] = [source]
    if groups:
        normalization = layer("GroupNormalization", f"norm_{name}", groups=_GROUPS)
    else:
        normalization = layer("BatchNormalization", f"norm_{name}", momentum=0.9, epsilon=1e-5)
    return [convolution, normalization, layer("LeakyReLU", f"leaky_{name}", negative_slope=0.1)]
