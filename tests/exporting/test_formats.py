import json
import sys

import pytest
import torch

from rayrml.cli import main
from rayrml.errors import ConfigError, DataError
from rayrml.exporting import formats
from rayrml.exporting.export import export
from rayrml.exporting.exportable import load_network, plain
from rayrml.exporting.formats import FORMATS, Format
from rayrml.networks.network import build_network
from rayrml.saving import checkpoint_folder, checkpoints
from rayrml.saving.checkpoints import Checkpoint
from rayrml.saving.keras_weights import load_weights
from tests.keras_networks import resnet50

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def image(*shape):
    return layer("InputLayer", "input", batch_input_shape=[None, *shape])


def two_inputs():
    def node(kind, name, *sources, **config):
        calls = [[[source, 0, 0, {}] for source in sources]] if sources else []
        return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}

    layers = [
        node("InputLayer", "a", batch_input_shape=[None, 6]),
        node("InputLayer", "b", batch_input_shape=[None, 4]),
        node("Dense", "dense_a", "a", units=5, activation="relu"),
        node("Dense", "dense_b", "b", units=5, activation="tanh"),
        node("Add", "sum", "dense_a", "dense_b"),
        node("Dense", "last", "sum", units=2),
    ]
    ends = {"input_layers": [["a", 0, 0], ["b", 0, 0]], "output_layers": [["last", 0, 0], ["sum", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "two", "layers": layers, **ends}}


NETWORKS = {
    "dense": [
        image(6),
        layer("Dense", "d", units=8, activation="gelu"),
        layer("Dense", "e", units=3, activation="log_softmax"),
    ],
    "convolution": [
        image(12, 10, 1),
        layer("Conv2D", "c", filters=4, kernel_size=3, strides=2, padding="same", activation="relu"),
        layer("BatchNormalization", "bn"),
        layer("MaxPooling2D", "p", pool_size=2),
        layer("Flatten", "f"),
        layer("Dropout", "drop", rate=0.5),
        layer("Dense", "d", units=3, activation="softmax"),
    ],
    "separable and transposed": [
        image(8, 8, 3),
        layer("SeparableConv2D", "s", filters=6, kernel_size=3, padding="same", depth_multiplier=2),
        layer("LayerNormalization", "ln"),
        layer("DepthwiseConv2D", "dw", kernel_size=3, padding="same"),
        layer("Conv2DTranspose", "t", filters=2, kernel_size=3, strides=2, padding="same", activation="sigmoid"),
        layer("UpSampling2D", "u", size=2, interpolation="bilinear"),
    ],
    "any size": [
        image(None, None, 1),
        layer("Conv2D", "c", filters=4, kernel_size=3, padding="same", activation="relu"),
        layer("GlobalAveragePooling2D", "g"),
        layer("Dense", "d", units=2),
    ],
    "groups of channels": [
        image(8, 8, 3),
        layer("Conv2D", "c", filters=8, kernel_size=3, padding="same"),
        layer("GroupNormalization", "n", groups=4),
        layer("GlobalAveragePooling2D", "g"),
        layer("Dense", "d", units=2),
    ],
    "two inputs": two_inputs(),
}
ENDINGS = [".pt2", ".onnx", ".h5", ".weights.h5"]


def saved(folder, layers, open_size=9):
    """A checkpoint of the network, whose running statistics differ from the initial ones."""
    torch.manual_seed(1)
    network = build_network(layers)
    network.train()(*(torch.rand(5, *(size or open_size for size in shape)) for shape in network.input_shapes))
    checkpoint = Checkpoint(3, network.state_dict(), layers, network.input_shapes[0])
    path = checkpoint_folder.checkpoint_path(folder, 3)
    checkpoints.save(path, checkpoint)
    return path


def require(ending):
    if ending == ".onnx":
        for name in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(name)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_exported_computes_what_the_network_computes(name, ending, tmp_path):
    require(ending)
    path = saved(tmp_path, NETWORKS[name])
    assert export(path, tmp_path / "out" / f"net{ending}").difference < 1e-4
    network = load_network(path)
    inputs = [torch.rand(7, *(size or 32 for size in shape)) for shape in network.input_shapes]
    found = read(tmp_path / "out" / f"net{ending}", NETWORKS[name])(*inputs)
    for mine, theirs in zip(as_list(network(*inputs)), as_list(found), strict=True):
        assert torch.allclose(mine, torch.as_tensor(theirs), atol=1e-4)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [f"net{ending}"]


def as_list(outputs):
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def read(path, layers):
    """The function in a file, computed with the libraries that it is for and without `exporting/`."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    if path.suffix == ".h5":
        network = build_network(layers)
        load_weights(network, path)
        return network.eval()
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [entry.name for entry in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, [x.numpy() for x in inputs], strict=True)))


@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_open_sizes_are_any_that_the_network_takes(ending, tmp_path):
    require(ending)
    reducing = [layer("AveragePooling2D", f"p{i}", pool_size=2) for i in range(6)]  # 64 x 64 becomes 1 x 1
    layers = [image(None, None, 1), layer("Conv2D", "c", filters=2, kernel_size=1), *reducing]
    layers += [layer("GlobalAveragePooling2D", "g"), layer("Dense", "d", units=2)]
    path = saved(tmp_path, layers, open_size=64)
    export(path, tmp_path / f"net{ending}")
    function, network = read(tmp_path / f"net{ending}", layers), load_network(path)
    for shape in ((1, 1, 64, 64), (1, 1, 80, 300), (4, 1, 200, 70)):
        (found,) = as_list(function(x := torch.rand(shape)))
        assert torch.allclose(network(x), torch.as_tensor(found), atol=1e-5)


def test_a_network_of_many_layers_can_be_exported(tmp_path):
    path = saved(tmp_path, resnet50(32, width=4, num_classes=5))
    assert export(path, tmp_path / "net.pt2").difference < 1e-4


def test_outputs_that_differ_are_an_error_that_names_by_how_much_and_leave_no_file(tmp_path, monkeypatch):
    path = saved(tmp_path, NETWORKS["dense"])
    other = load_network(path)
    with torch.no_grad():
        other.layers()["e"].bias += torch.tensor([0.0, 0.0, 0.5])
    monkeypatch.setitem(FORMATS, ".pt2", Format(FORMATS[".pt2"].write, lambda path, network: other))
    with pytest.raises(DataError, match=r"net\.pt2: was not written: its outputs differ by 0\.\d+ from the network's"):
        export(path, tmp_path / "net.pt2")
    assert not (tmp_path / "net.pt2").exists()


def test_a_layer_that_torch_cannot_follow_is_named(tmp_path):
    network = load_network(saved(tmp_path, NETWORKS["dense"]))
    network.layers()["e"].forward = lambda x: x if x.sum() > 0 else -x
    exported = plain(network)
    with pytest.raises(ConfigError, match="torch cannot export the layer 'e'"):
        FORMATS[".pt2"].write(exported, formats.draw_inputs(exported, 0), tmp_path / "net.pt2", None)


def test_the_command_for_weights_writes_what_export_writes(tmp_path):
    path = saved(tmp_path, NETWORKS["convolution"])
    export(path, tmp_path / "net.h5")
    assert main(["export-weights", str(path), str(tmp_path / "weights.h5")]) == 0
    x = torch.rand(2, 1, 12, 10)
    mine, theirs = (read(tmp_path / name, NETWORKS["convolution"])(x) for name in ("net.h5", "weights.h5"))
    assert torch.equal(mine, theirs)


def test_weights_that_a_file_lacks_are_noticed(tmp_path, monkeypatch):
    path = saved(tmp_path, NETWORKS["dense"])
    half = build_network(NETWORKS["dense"][:2])
    write = lambda exported, inputs, path, opset: formats.export_weights(half, path)  # noqa: E731
    monkeypatch.setitem(FORMATS, ".h5", Format(write, FORMATS[".h5"].read))
    with pytest.raises(DataError, match="differ by inf"):
        export(path, tmp_path / "net.h5")


def test_an_unknown_ending_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown ending '\.pb'\. Expected one of \.pt2, \.onnx, \.h5"):
        export(tmp_path / "none.pt", tmp_path / "net.pb")


def test_a_file_of_weights_alone_is_refused(tmp_path):
    torch.save(build_network(NETWORKS["dense"]).state_dict(), tmp_path / "w.pt")
    with pytest.raises(ConfigError, match="contains only weights, no network"):
        export(tmp_path / "w.pt", tmp_path / "net.pt2")


def test_a_checkpoint_cannot_name_another_file_as_its_network(tmp_path):
    (tmp_path / "net.json").write_text(json.dumps(NETWORKS["dense"]))
    network = build_network(NETWORKS["dense"])
    checkpoints.save(tmp_path / "x.pt", Checkpoint(1, network.state_dict(), str(tmp_path / "net.json"), (6,)))
    with pytest.raises(DataError, match="damaged checkpoint: invalid layers"):
        export(tmp_path / "x.pt", tmp_path / "net.h5")


def test_a_missing_package_is_named_with_the_extra_that_has_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = r"package onnx is not installed\. Install it with `pip install 'rayrml\[onnx\]'`"
    with pytest.raises(ConfigError, match=message):
        export(saved(tmp_path, NETWORKS["dense"]), tmp_path / "net.onnx")


@pytest.mark.parametrize("ending", [".pt2", ".onnx"])
def test_exported_numbers_have_their_unit(ending, tmp_path):
    require(ending)
    layers = [image(6), layer("Dense", "d", units=2)]
    network = build_network(layers)
    statistics = {"mean": [100.0, -5.0], "std": [10.0, 0.5]}
    content = Checkpoint(1, network.state_dict(), layers, (6,), loss={"function": "MSE", "standardize": statistics})
    checkpoints.save(tmp_path / "c.pt", content)
    export(tmp_path / "c.pt", tmp_path / f"net{ending}")
    inputs = torch.rand(4, 6)
    found = as_list(read(tmp_path / f"net{ending}", layers)(inputs))[0]
    expected = network(inputs).detach() * torch.tensor([10.0, 0.5]) + torch.tensor([100.0, -5.0])
    assert torch.allclose(torch.as_tensor(found), expected, atol=1e-3)
