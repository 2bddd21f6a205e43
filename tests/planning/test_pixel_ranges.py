"""Whether a network with weights of ImageNet gets the pixels that it was trained with."""

import numpy as np
import pytest
import torch

from rayrml.networks.families import choose_network
from rayrml.networks.network import build_network
from rayrml.planning.preparation import prepare
from rayrml.runs.preview_findings import describe_own_scaling
from rayrml.saving.keras_weights import export_weights
from tests.conftest import write_jpeg

NETWORKS = {"vgg16": {"top": "mean"}, "mobilenetv2": {}, "densenet121": {}}
CAFFE = [{"convert_color": "RGB2BGR"}, {"normalize": {"mean": [0.4076, 0.458, 0.485], "std": 0.00392}}]
TORCH = [{"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}]
BETWEEN = [{"normalize": {"mean": 0.5, "std": 0.5}}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pixels")
    for name in ("cat", "dog"):
        for number in range(2):
            write_jpeg(path / "images" / name / f"{number}.jpg", np.full((32, 32, 3), number, np.uint8))
    for name, more in NETWORKS.items():
        torch.manual_seed(0)
        layers = choose_network({"network": name, "input": [32, 32, 3], "classes": 2, **more}, "").layers()
        export_weights(build_network(layers), path / f"{name}.h5")
    return path


def warnings_of(folder, transforms, **layers):
    data = {"input_type": "images", "target_type": "labels", "input_path": str(folder / "images")}
    section = {"layers": layers, "data": {**data, "input_transforms": transforms}}
    section |= {"optimizer": {"type": "SGD"}, "loss": {"function": "NLL"}}
    found = prepare({"neural_network": section}).warnings
    return [warning for warning in found if "weights that Keras offers" in warning]


@pytest.mark.parametrize(
    ("name", "right", "others"),
    [
        ("vgg16", CAFFE, ([], BETWEEN, TORCH, CAFFE[1:])),
        ("mobilenetv2", BETWEEN, ([], TORCH)),
        ("densenet121", TORCH, ([], BETWEEN)),
    ],
)
def test_pixels_in_another_range_are_told_with_the_transforms_that_mend_them(folder, name, right, others):
    weights = str(folder / f"{name}.h5")
    assert not warnings_of(folder, right, network=name, weights=weights, **NETWORKS[name])
    assert not warnings_of(folder, [], network=name, **NETWORKS[name])
    for transforms in others:
        (warning,) = warnings_of(folder, transforms, network=name, weights=weights, **NETWORKS[name])
        assert '"normalize"' in warning and name in warning


def test_no_other_normalization_is_proposed_for_weights_of_a_range(folder):
    data = {"input_type": "images", "target_type": "labels", "input_path": str(folder / "images")}
    for weights in (None, str(folder / "vgg16.h5")):
        layers = {"network": "vgg16", "top": "mean", "weights": weights}
        section = {"layers": layers, "data": data, "optimizer": {"type": "SGD"}, "loss": {"function": "NLL"}}
        reason = describe_own_scaling(prepare({"neural_network": section}))
        assert (reason is None) == (weights is None)
        assert reason is None or reason.startswith(
            "the weights that Keras offers for vgg16 are for pixels in the order BGR"
        )
