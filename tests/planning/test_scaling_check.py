"""Networks that scale pixels by themselves, as if these were 0 to 255."""

import numpy as np
import pytest
from PIL import Image

from rayrml.planning.preparation import prepare


@pytest.fixture
def warnings(tmp_path):
    """A function that gives the warnings for a network whose first layers are these."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            noise = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.png")

    def find(*first, transforms=()):
        layers = [("InputLayer", {"batch_input_shape": [None, 8, 8, 3]}), *first, ("Flatten", {})]
        layers += [("Dense", {"units": 2, "activation": "log_softmax"})]
        data = {"input_type": "images", "target_type": "labels", "input_path": str(tmp_path)}
        config = {
            "layers": [
                {"class_name": kind, "config": {"name": f"{kind}_{i}", **config}}
                for i, (kind, config) in enumerate(layers)
            ],
            "data": {**data, "input_transforms": list(transforms)},
            "optimizer": {"type": "SGD"},
            "loss": {"function": "NLL"},
        }
        return "; ".join(prepare({"neural_network": config}).warnings)

    return find


FULL = {"normalize": {"std": 0.00392}}
IMAGENET = {"normalize": {"mean": 0.45, "std": 0.22}}
OF_BYTES = ("Normalization", {"mean": [123.7, 116.3, 103.5], "variance": [3409.0, 3262.0, 3291.0]})
OF_SHARES = ("Normalization", {"mean": [0.485, 0.456, 0.406], "variance": [0.0524, 0.0502, 0.0506]})


@pytest.mark.parametrize(
    ("scale", "offset"), [(1 / 255, 0.0), (1 / 127.5, -1.0), ([1 / 255] * 3, 0.0), ([1 / 127.5] * 3, [-1.0] * 3)]
)
def test_pixels_that_are_scaled_again_are_told_of(warnings, scale, offset):
    layer = ("Rescaling", {"scale": scale, "offset": offset})
    divisor = 255 if offset == 0.0 else 127.5
    found = warnings(("Resizing", {"height": 4, "width": 4}), layer)
    assert f"pixels are in [0, 1], and the network's layer 'Rescaling_2' divides by {divisor} again" in found
    assert '{"normalize": {"std": 0.00392}} as the last of the input transforms gives it 0 to 255' in found
    assert "instead of the present normalize" in warnings(layer, transforms=[IMAGENET])
    assert warnings(layer, transforms=[FULL]) == ""


def test_pixels_far_from_the_statistics_of_a_layer_are_told_of(warnings):
    found = warnings(OF_BYTES)
    assert "layer 'Normalization_1' expects values about 114, with a standard deviation of 57.6." in found
    assert '{"normalize": {"std": 0.00392}} as the last of the input transforms gives it 0 to 255' in found
    assert "instead of the present normalize" in warnings(OF_BYTES, transforms=[IMAGENET])


@pytest.mark.parametrize(
    ("layers", "transforms"),
    [
        ([OF_BYTES], [FULL]),
        ([OF_SHARES], []),
        ([("Rescaling", {"scale": 255.0}), OF_BYTES], []),
        ([("Rescaling", {"scale": [1.0, 2.0, 0.5]})], []),
        ([("Normalization", {"axis": -1})], []),
        ([("Conv2D", {"filters": 3, "kernel_size": 1}), OF_BYTES], []),
        ([("Normalization", {"mean": [123.7], "variance": [3409.0], "invert": True})], []),
    ],
)
def test_a_layer_for_what_it_gets_has_no_warning(warnings, layers, transforms):
    assert warnings(*layers, transforms=transforms) == ""
