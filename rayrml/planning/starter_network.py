"""Networks to start from, whose size follows from the number and the size of the images.

They are lists of layers for people to edit. The normalization works on each image by itself: it needs neither large
batches nor many steps to be accurate.
"""

from __future__ import annotations

from typing import Any

Layer = dict[str, Any]

_FEW, _MANY = 500, 2000  # images: fewer get stronger dropout, more get residual blocks
_LEAST = 4  # pixels of a side after the last pooling
_SMALL = 48  # pixels of a side up to which the first layers can have many filters in the same time
_MOST_FILTERS = 128
_GROUPS = 8
_LEAST_IN_THE_MIDDLE = 8  # pixels of a side in the middle of a U-Net
_MOST_POOLINGS = 4  # of a U-Net


def build_classifier(
    shape: tuple[int, int, int], num_outputs: int, num_images: int, ending: str | None = "log_softmax"
) -> list[Layer]:
    """Blocks of convolutions, each with half the resolution of the one before, then one number per class or column.

    Args:
        shape: height, width and channels of the images.
        num_outputs: the number of classes, or of columns.
        num_images: how many images there are to train on.
        ending: the activation of the outputs, None for none.
    """
    activation = {} if ending is None else {"activation": ending}
    found = [layer("InputLayer", "input", batch_input_shape=[None, *shape])]
    side, number = min(shape[:2]), 1
    filters = 32 if side <= _SMALL else 16
    while True:
        found += _convolution(f"{number}", filters, halving=number == 1 and side > _SMALL)
        if num_images >= _MANY:
            found += _residual(f"{number}", filters)
        if side < 2 * _LEAST:
            break
        found.append(layer("MaxPooling2D", f"pool_{number}", pool_size=2))
        side, filters, number = side // 2, min(2 * filters, _MOST_FILTERS), number + 1
    return [
        *found,
        layer("GlobalAveragePooling2D", "mean"),
        layer("Dropout", "dropout", rate=0.4 if num_images < _FEW else 0.2),
        layer("Dense", "classes" if ending else "outputs", units=num_outputs, **activation),
    ]


def build_dense(shape: tuple[int, ...], num_outputs: int, ending: str | None) -> list[Layer]:
    """Two layers of units, then one number per class or column, for samples that are too small for convolutions.

    Args:
        shape: (*spatial, C) of the samples, or (C,).
        num_outputs: the number of classes, or of columns.
        ending: the activation of the outputs, None for none.
    """
    activation = {} if ending is None else {"activation": ending}
    return [
        layer("InputLayer", "input", batch_input_shape=[None, *shape]),
        *([layer("Flatten", "flatten")] if len(shape) > 1 else []),
        layer("Dense", "hidden_1", units=64, activation="relu"),
        layer("Dropout", "dropout", rate=0.2),
        layer("Dense", "hidden_2", units=64, activation="relu"),
        layer("Dense", "classes" if ending else "outputs", units=num_outputs, **activation),
    ]


def build_unet(shape: tuple[int, int, int], num_outputs: int, num_images: int) -> list[Layer]:
    """A U-Net: blocks of convolutions down to a coarse resolution and back, each with a connection across.

    It ends with a probability for each pixel and output: `sigmoid` for one output, `softmax` for several.

    Args:
        shape: height, width and channels of the images.
        num_outputs: 1 for an object and its background, otherwise the number of classes with the background.
        num_images: how many images there are to train on.
    """
    poolings = count_poolings(shape[:2])
    filters = [min(16 * 2**level, _MOST_FILTERS) for level in range(poolings + 1)]
    found = [layer("InputLayer", "input", batch_input_shape=[None, *shape])]
    for level in range(poolings):
        found += _double(f"down_{level + 1}", filters[level])
        found.append(layer("MaxPooling2D", f"pool_{level + 1}", pool_size=2))
    found += _double("middle", filters[poolings])
    found.append(layer("Dropout", "dropout", rate=0.3 if num_images < _FEW else 0.1))
    for level in reversed(range(poolings)):
        name = f"{level + 1}"
        found.append(layer("UpSampling2D", f"up_{name}", size=2, interpolation="bilinear"))
        found.append(joining("Concatenate", f"join_{name}", f"up_{name}", f"relu_down_{name}_b"))
        found += _double(f"up_{name}", filters[level])
    ending = "sigmoid" if num_outputs == 1 else "softmax"
    return [*found, layer("Conv2D", "mask", filters=num_outputs, kernel_size=1, activation=ending)]


def count_poolings(size: tuple[int, int]) -> int:
    """How often a U-Net halves images of this height and width; 0 if they cannot be halved."""
    count = 0
    while (
        count < _MOST_POOLINGS
        and min(size) >> count >= 2 * _LEAST_IN_THE_MIDDLE
        and not any(length % 2 ** (count + 1) for length in size)
    ):
        count += 1
    return count


def _convolution(name: str, filters: int, *, halving: bool = False) -> list[Layer]:
    """A convolution, normalized; one that halves the resolution saves most of the time that large images take."""
    steps = {"kernel_size": 5, "strides": 2} if halving else {"kernel_size": 3}
    return [
        layer("Conv2D", f"conv_{name}", filters=filters, **steps, padding="same"),
        layer("GroupNormalization", f"norm_{name}", groups=_GROUPS),
        layer("Activation", f"relu_{name}", activation="relu"),
    ]


def _residual(name: str, filters: int) -> list[Layer]:
    """A convolution whose result is added to its input, `relu_<name>`."""
    *convolution, activation = _convolution(f"{name}_b", filters)
    return [*convolution, joining("Add", f"add_{name}", f"relu_{name}", f"norm_{name}_b"), activation]


def _double(name: str, filters: int) -> list[Layer]:
    return [*_convolution(f"{name}_a", filters), *_convolution(f"{name}_b", filters)]


def layer(class_name: str, name: str, **settings: Any) -> Layer:
    """A layer that follows the one before it in the list."""
    return {"class_name": class_name, "config": {"name": name, **settings}}


def joining(class_name: str, name: str, *inputs: str) -> Layer:
    """A layer of several inputs; all others follow the one before them in the list."""
    return {**layer(class_name, name), "inbound_nodes": list(inputs)}
