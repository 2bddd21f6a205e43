"""From an image file to the answer, by programs that know nothing of rayrml."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from rayrml.cli import main
from rayrml.errors import ConfigError, DataError
from rayrml.exporting import file_check
from rayrml.exporting.export import export
from rayrml.exporting.exportable import load_network
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.checkpoints import Checkpoint
from tests.conftest import ROOT
from tests.exporting.networks import TRANSFORMS, layer, save_classifier, write_images

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
# A program of somebody else, who has nothing of rayrml.
STRANGER = "import sys\nsys.modules['rayrml'] = None\n"


def run_alone(program, *arguments, cwd):
    command = [sys.executable, "-c", STRANGER + program, *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "all")


def expected_answers(checkpoint, images):
    """The class of each image and its probability, as predictions have them."""
    network = load_network(checkpoint)
    answers = {}
    plan = file_check.plan_predictions(str(checkpoint), [str(images)], "--check")
    for number in range(len(plan.test.samples)):
        decoded = plan.test.input.decoding.array(plan.test.samples.place(number))
        inputs, _ = plan.datasets.transforms.batched.evaluation()(torch.from_numpy(decoded.copy())[None], None)
        probabilities = network(inputs).softmax(1)[0]
        answers[plan.test.samples.name(number)] = probabilities.detach().numpy()
    return answers


def test_the_program_of_the_guide_answers_as_predictions_do(tmp_path, images, capsys):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    checkpoint = save_classifier(tmp_path)
    file = tmp_path / "network.onnx"
    assert main(["export", str(checkpoint), str(file), "--with-preprocessing", "--check", str(images)]) == 0
    assert "Compared with predictions of 4 images: largest difference" in capsys.readouterr().out
    page = (ROOT / "examples" / "guide" / "predicting.md").read_text()
    (program,) = (b for b in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "onnxruntime" in b)
    names = sorted(path.name for path in images.iterdir())
    lines = run_alone("sys.modules['torch'] = None\n" + program, file, *names, cwd=images)
    for line, (name, probabilities) in zip(lines, sorted(expected_answers(checkpoint, images).items()), strict=True):
        path, answer, probability = line.split()
        assert (path, answer) == (name, ("cat", "dog", "eel")[probabilities.argmax()])
        assert float(probability) == pytest.approx(probabilities.max(), abs=0.02)
    described = run_alone(
        "import json, onnxruntime\nsession = onnxruntime.InferenceSession(sys.argv[1])\n"
        "print(json.dumps([(i.name, i.shape, i.type) for i in session.get_inputs() + session.get_outputs()]))\n"
        "print(session.get_modelmeta().custom_metadata_map['preprocessing'])",
        file,
        cwd=tmp_path,
    )
    assert json.loads(described[0]) == [
        ["pixels", ["batch", "height", "width", 3], "tensor(uint8)"],
        ["probabilities", ["batch", 3], "tensor(float)"],
    ]
    assert json.loads(described[1])["steps"] == [*TRANSFORMS[1:3], {"divide": 255}, TRANSFORMS[3]]


def test_a_pt2_file_needs_torch_alone(tmp_path, images):
    checkpoint = save_classifier(tmp_path, size=(40, 40), channels=1, transforms=[{"letterbox": [40, 40]}])
    found = export(checkpoint, tmp_path / "network.pt2", preprocessing=True, check=images)
    assert found.images.count == 4 and found.images.difference < 0.02
    lines = run_alone(
        "import json, torch\nextra = {'metadata.json': ''}\n"
        "network = torch.export.load(sys.argv[1], extra_files=extra).module()\n"
        "pixels = torch.full((5, 70, 20, 1), 99, dtype=torch.uint8)\n"
        "print(network(pixels).sum(1).tolist())\n"
        "print(json.dumps(json.loads(extra['metadata.json'])))",
        tmp_path / "network.pt2",
        cwd=tmp_path,
    )
    assert json.loads(lines[0]) == pytest.approx([1] * 5)
    metadata = json.loads(lines[1])
    assert metadata["classes"] == ["cat", "dog", "eel"]
    assert metadata["preprocessing"]["colors"] == "gray" and metadata["preprocessing"]["in_file"]
    assert metadata["outputs"] == [{"name": "probabilities", "shape": ["batch", 3], "kind": "probabilities"}]


def test_answers_that_differ_from_predictions_refuse_the_file(tmp_path, images, monkeypatch):
    checkpoint = save_classifier(tmp_path)
    other = load_network(checkpoint)
    with torch.no_grad():
        other.layers()["linear"].bias += torch.tensor([99.0, 0.0, 0.0])
    # Both are wrong alike, which random inputs do not show: only predictions do.
    monkeypatch.setattr("rayrml.exporting.export.network_of", lambda kept, path, imposed: other)
    with pytest.raises(DataError, match=r"was not written: for 4 images, its outputs differ by .* `rayrml predict`"):
        export(checkpoint, tmp_path / "network.pt2", check=images)
    assert not (tmp_path / "network.pt2").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["network.pt2", "--opset", "18"], "--opset: is for .onnx files, not .pt2"),
        (["network.onnx", "--opset", "7"], "--opset: expected a version from 18 to"),
        (["network.h5", "--with-preprocessing"], "--with-preprocessing: .h5 files have weights alone"),
        (["network.pt2", "--quantize", "int8"], "--quantize: is for .onnx files, not .pt2"),
        (["network.onnx", "--max-loss", "3"], "--max-loss: has no effect without --quantize int8"),
        (["network.onnx", "--max-loss", "1"], "--max-loss: has no effect without --quantize int8"),
        (["network.onnx", "--quantize", "int8", "--max-loss", "300"], "expected points from 0 to 100, got 300"),
        (["network.onnx", "--quantize", "int8"], "--test: the run's test samples are not there"),
        (["network.onnx", "--quantize", "int8", "--test", "folder.onnx"], "--test folder.onnx: no files to read"),
        (["network.onnx", "--quantize", "int8", "--calibrate", ""], "--calibrate: expected a path, got an empty"),
        (["folder.onnx"], "folder.onnx: is a folder"),
        (["network.pt2", "--check", "nowhere"], "nowhere"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(tmp_path, options, message, capsys, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    checkpoint = save_classifier(tmp_path)
    assert main(["export", str(checkpoint), *options]) in (2, 3)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("network.*"))


def test_a_checkpoint_without_a_name_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "", "network.pt2"]) == 3
    assert "no such file: ''" in capsys.readouterr().err


def test_an_image_in_the_current_folder_is_compared(tmp_path, images, monkeypatch):
    monkeypatch.chdir(images)
    assert export(save_classifier(tmp_path), tmp_path / "network.pt2", check="0.jpg").images.count == 1


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"data": {}}, "does not say how its inputs are read"),
        ({"data": {"input_type": "numpy"}}, "inputs are of the type 'numpy'"),
    ],
)
def test_networks_without_pixels_have_no_preprocessing(tmp_path, fields, message):
    checkpoint = save_classifier(tmp_path, **fields)
    with pytest.raises(ConfigError, match=message):
        export(checkpoint, tmp_path / "network.pt2", preprocessing=True)


def images_of(*transforms, **keys):
    return {"input_type": "images", "input_transforms": list(transforms), **keys}


def dense(units, **config):
    return [("Flatten", {}), ("Dense", {"units": units, **config})]


RESIZED = images_of({"resize": [32, 24]})
SHARES = {"mean": [100.0, -5.0], "std": [10.0, 0.5]}
SEVERAL = {"target_type": "table", "target_kind": "classes", "target_column": "label"}
NUMBERS = {"target_type": "table", "target_kind": "number", "target_column": ["x", "y"]}
BOXES = {"function": "YOLOv3", "anchors": [[[10, 13], [16, 30]]], "strides": [8]}
NAMES = ("a", "b", "c")
KINDS = {
    "one of two": (dense(1, activation="sigmoid"), {"loss": {"function": "BCE"}, "classes": ("a", "b")}),
    "several": (dense(3, activation="sigmoid"), {"loss": {"function": "BCE"}, "targets": SEVERAL, "classes": NAMES}),
    "numbers": (dense(2), {"loss": {"function": "MSE", "standardize": SHARES}, "targets": NUMBERS}),
    "flips": (
        dense(3),
        {"loss": {"function": "CrossEntropy"}, "data": {**RESIZED, "test_transforms": "flips"}, "classes": NAMES},
    ),
    "masks": ([("Conv2D", {"filters": 2, "kernel_size": 1})], {"loss": {"function": "CrossEntropy"}}),
    "boxes": (
        [("Conv2D", {"filters": 12, "kernel_size": 8, "strides": 8})],
        {"loss": BOXES, "classes": ("cat",), "data": images_of({"letterbox": [32, 24]})},
    ),
}
EXPECTED = {
    "one of two": ("probabilities", (2, 2)),
    "several": ("probabilities", (2, 3)),
    "numbers": ("numbers", (2, 2)),
    "flips": ("probabilities", (2, 3)),
    "masks": ("logits", (2, 2, 32, 24)),
    "boxes": ("grids", (2, 12, 4, 3)),
}


@pytest.mark.parametrize("name", KINDS)
def test_all_kinds_of_outputs_are_those_of_predictions(tmp_path, images, name):
    (rows, fields), (kind, shape) = KINDS[name], EXPECTED[name]
    layers = [layer("InputLayer", "image", batch_input_shape=[None, 32, 24, 3])]
    layers += [layer(row, f"layer_{number}", **config) for number, (row, config) in enumerate(rows)]
    torch.manual_seed(0)
    kept = Checkpoint(1, build_network(layers).state_dict(), layers, (3, 32, 24), **{"data": RESIZED, **fields})
    checkpoints.save(tmp_path / "best.pt", kept)
    found = export(tmp_path / "best.pt", tmp_path / "network.pt2", preprocessing=True, check=images)
    assert found.images.count == 4
    extra = {"metadata.json": ""}
    network = torch.export.load(tmp_path / "network.pt2", extra_files=extra).module()
    metadata = json.loads(extra["metadata.json"])
    assert metadata["outputs"][0]["kind"] == kind and (metadata["detection"] is None) is (kind != "grids")
    output = network(torch.zeros((2, 50, 40, 3), dtype=torch.uint8))
    assert output.shape == shape
