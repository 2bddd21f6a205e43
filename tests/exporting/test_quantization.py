import json

import numpy as np
import pytest
import torch
from PIL import Image

from rayrml.errors import ConfigError, DataError
from rayrml.exporting.export import export
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from tests.exporting.networks import layer

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
NAMES = ("blue", "red")


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """A folder of each class: images that are a little more blue, or red."""
    folder = tmp_path_factory.mktemp("colors")
    generator = np.random.default_rng(0)
    for name, channel in zip(NAMES, (2, 0), strict=True):
        (folder / name).mkdir()
        for number in range(12):
            pixels = generator.integers(90, 110, (16, 16, 3), np.uint8)
            pixels[:, :, channel] += 20
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def save(folder, disturbance, targets=None):
    """A network that tells the classes apart; a channel that it does not use is as large as the disturbance."""
    layers = [
        layer("InputLayer", "image", batch_input_shape=[None, 16, 16, 3]),
        layer("Conv2D", "differences", filters=2, kernel_size=1),
        layer("GlobalAveragePooling2D", "mean"),
        layer("Dense", "classes", units=2),
    ]
    network = build_network(layers)
    weights = {name: dict(module.named_parameters()) for name, module in network.layers().items()}
    with torch.no_grad():
        weights["differences"]["weight"].copy_(torch.tensor([[1.0, 0, -1], [0, 0, 0]]).view(2, 3, 1, 1))
        weights["differences"]["bias"].copy_(torch.tensor([0.0, disturbance]))
        weights["classes"]["weight"].copy_(torch.tensor([[-10.0, 0], [10, 0]]))
        weights["classes"]["bias"].zero_()
    data = {"input_type": "images", "input_transforms": []}
    targets = targets or {"target_type": "labels"}
    fields = {"classes": NAMES, "data": data, "targets": targets, "loss": {"function": "CrossEntropy"}}
    checkpoints.save(folder / "best.pt", Checkpoint(1, network.state_dict(), layers, (3, 16, 16), **fields))
    return folder / "best.pt"


def test_accuracy_is_measured_and_what_loses_too_much_is_not_written(tmp_path, colors):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    how = {"quantize": "int8", "test": colors, "calibrate": colors, "check": colors}
    file = tmp_path / "small.onnx"
    found = export(save(tmp_path, 0.0), file, preprocessing=True, **how).quantized
    assert (found.num_samples, found.before, found.after) == (24, 1.0, 1.0)
    import onnx

    model = onnx.load(file)
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert about["quantization"] == {"type": "int8", "num_samples": 24, "accuracy_before": 1.0, "accuracy": 1.0}
    assert about["classes"] == list(NAMES)
    assert any(value.data_type == onnx.TensorProto.INT8 for value in model.graph.initializer)
    with pytest.raises(DataError, match=r"accuracy would fall from 100\.0% to 50\.0% on 24 samples\. `--max-loss 50`"):
        export(save(tmp_path, 1e5), tmp_path / "broken.onnx", **how)
    assert not (tmp_path / "broken.onnx").exists()


def test_accuracy_is_that_of_the_share_that_the_run_kept_for_its_test(tmp_path, colors):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    data = {"input_type": "images", "target_type": "labels", "input_path": str(colors), "test_share": 0.25}
    run = {"data": data, "num_epochs": 1, "optimizer": {"type": "Adam"}, "loss": {"function": "CrossEntropy"}}
    (tmp_path / "config.resolved.json").write_text(json.dumps({"neural_network": run}))
    (tmp_path / "data.json").write_text(json.dumps({"training": {"samples": 18}, "test": {"samples": 6}}))
    path = save(tmp_path, 0.0)
    quantized = export(path, tmp_path / "small.onnx", quantize="int8").quantized
    assert (quantized.num_samples, quantized.before) == (6, 1.0)
    (tmp_path / "data.json").write_text(json.dumps({"training": {"samples": 17}, "test": {"samples": 6}}))
    with pytest.raises(ConfigError, match="--test: the run's samples are others now"):
        export(path, tmp_path / "other.onnx", quantize="int8")


def test_a_folder_of_classes_tests_a_network_that_learned_a_column_of_a_table(tmp_path, colors):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    path = save(tmp_path, 0.0, {"target_type": "table", "target_kind": "class", "target_column": "color"})
    found = export(path, tmp_path / "small.onnx", quantize="int8", test=colors, calibrate=colors).quantized
    assert (found.num_samples, found.before) == (24, 1.0)
