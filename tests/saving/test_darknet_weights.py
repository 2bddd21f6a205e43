"""Darknet's files, such as those in the folder beside this one: five convolutions, three of them normalized."""

import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError, DataError
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.darknet_weights import is_darknet_name, load_darknet_weights

FILES = Path(__file__).parent / "darknet_files"
SMALL = json.loads((FILES / "small.json").read_text())
EXPECTED = json.loads((FILES / "small_expected.json").read_text())
LOADED = ("conv2d_1", "bn_1", "conv2d_2", "bn_2", "conv2d_4", "bn_4", "conv2d_10", "conv2d_3")
HEADER = np.array([0, 2, 0, 0, 0], "<i4").tobytes()


def conv(name, filters, *, kernel=3, strides=1, **config):
    settings = {"name": name, "filters": filters, "kernel_size": kernel, "strides": strides, "padding": "same"}
    return {"class_name": "Conv2D", "config": {**settings, **config}}


def norm(name, **config):
    return {"class_name": "BatchNormalization", "config": {"name": name, "axis": -1, **config}}


def network_of(*layers, size=8, channels=1):
    shape = [None, size, size, channels]
    return build_network([{"class_name": "InputLayer", "config": {"batch_input_shape": shape}}, *layers])


def write(path, numbers, header=HEADER):
    path.write_bytes(header + np.asarray(numbers, "<f4").tobytes())
    return path


def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_a_whole_file_gives_the_outputs_of_darknet():
    network = build_network(SMALL).eval()
    report = load_darknet_weights(network, FILES / "small.weights")
    assert report.loaded == LOADED
    assert not report.lines() and not report.warnings
    with torch.no_grad():
        outputs = network(torch.tensor(EXPECTED["input"])[None])
    for number, channel, row, column, value in EXPECTED["values"]:
        assert float(outputs[number][0, channel, row, column]) == pytest.approx(value, rel=1e-5, abs=1e-5)
    for output, expected in zip(outputs, EXPECTED["outputs"], strict=True):
        assert list(output[0].shape) == expected["shape"]
        assert float(output.mean()) == pytest.approx(expected["mean"], rel=1e-5)
        assert float(output.std()) == pytest.approx(expected["std"], rel=1e-5)


def test_the_shorter_header_of_old_files_is_known():
    new, old = (build_network(SMALL) for _ in range(2))
    load_darknet_weights(new, FILES / "small.weights")
    load_darknet_weights(old, FILES / "small_old.weights")
    assert all(torch.equal(old.state_dict()[name], tensor) for name, tensor in new.state_dict().items())


@pytest.mark.parametrize(
    ("version", "rest"),
    [((0, 2), 2), ((0, 1), 1), ((1, 0), 2), ((0, 9), 2), ((1000, 2), 1), ((0, 1000), 1), ((999, 999), 2)],
)
def test_the_version_decides_the_length_of_the_header(tmp_path, version, rest):
    header = np.array([*version, 5, *[7] * rest], "<i4").tobytes()
    network = network_of(conv("a", 1, kernel=1))
    load_darknet_weights(network, write(tmp_path / "a.weights", [0.5, 2], header))
    assert [float(weight) for weight in network.state_dict().values()] == [2, 0.5]


def test_a_file_may_end_after_a_convolution():
    network = build_network(SMALL)
    before = state(network)
    report = load_darknet_weights(network, FILES / "small_first2.weights")
    assert report.loaded == LOADED[:4]
    assert report.lines() == [
        f"Skipping layer {name}: not found in model; it keeps its initial weights" for name in LOADED[4:]
    ]
    kept = [name for name, tensor in network.state_dict().items() if torch.equal(tensor, before[name])]
    assert {name.split(".")[0] for name in kept} == set(LOADED[4:])


def test_weights_for_other_classes_give_all_but_the_output_layers():
    network, whole = build_network(SMALL), build_network(SMALL)
    before = state(network)
    load_darknet_weights(whole, FILES / "small.weights")
    report = load_darknet_weights(network, FILES / "small_other_classes.weights", num_classes=1)
    assert report.differing == ("conv2d_10", "conv2d_3")
    assert report.lines() == [
        f"Skipping layer {name}: the file has other classes; it keeps its initial weights" for name in report.differing
    ]
    for name, tensor in network.state_dict().items():
        own = before if name.split(".")[0] in report.differing else whole.state_dict()
        assert torch.equal(tensor, own[name]), name


def test_channels_that_the_anchors_do_not_divide_are_no_other_classes(tmp_path):
    """The output layers have 18 channels: 3 anchors of 5 + 1. The others have 414 numbers, and each channel has 17."""
    for channels, is_right in ((20, False), (12, False), (21, True)):
        path = write(tmp_path / "a.weights", np.zeros(414 + 17 * channels))
        if is_right:
            assert load_darknet_weights(build_network(SMALL), path, num_classes=1).differing
        else:
            assert "but the network has 720 in 5 convolutions" in misfit(build_network(SMALL), path, num_classes=1)


def misfit(network, path, **settings):
    before = state(network)
    with pytest.raises(ConfigError) as caught:
        load_darknet_weights(network, path, "checkpoints.load", **settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    (line,) = str(caught.value).splitlines()
    return line


def test_a_file_that_ends_within_a_convolution_is_refused_with_both_counts():
    assert misfit(build_network(SMALL), FILES / "small_cut.weights") == (
        f"checkpoints.load: '{FILES}/small_cut.weights' has 718 numbers and 2 of the 4 bytes of another, but the "
        "network has 720 in 5 convolutions: it ends within 'conv2d_10', which is number 5. Expected a complete file of "
        "this network, or one that ends after a convolution"
    )


def test_a_file_that_goes_on_after_the_last_convolution_is_refused_with_both_counts():
    assert misfit(build_network(SMALL), FILES / "small_long.weights") == (
        f"checkpoints.load: '{FILES}/small_long.weights' has 722 numbers, but the network has 720 in 5 convolutions, "
        "2 fewer. Expected weights of this network, or of it for other classes"
    )


def test_some_bytes_after_the_last_number_are_refused(tmp_path):
    (tmp_path / "a.weights").write_bytes((FILES / "small.weights").read_bytes() + b"\n")
    assert "has 720 numbers and 1 of the 4 bytes of another, but the network has 720 in 5 convolutions." in misfit(
        build_network(SMALL), tmp_path / "a.weights"
    )


def test_a_header_alone_is_refused(tmp_path):
    assert "has 0 numbers, but" in misfit(build_network(SMALL), write(tmp_path / "a.weights", []))


def loaded_kernels(names, tmp_path):
    """The kernels of convolutions with these names, in the file's order, from a file that numbers them from 1."""
    network = network_of(*(conv(name, 1, kernel=1, use_bias=False) for name in names))
    numbers = [number for i in range(len(names)) for number in (0, i + 1)]
    report = load_darknet_weights(network, write(tmp_path / "a.weights", numbers))
    return [float(layer.weight.detach()) for layer in network.layers().values()], report.warnings


@pytest.mark.parametrize(
    ("names", "kernels"),
    [
        (["conv2d_1", "conv2d_2", "conv2d_10", "conv2d_9"], [1, 2, 4, 3]),
        (["c12", "b3", "a007"], [3, 1, 2]),
        (["conv2d_2", "conv2d_1", "conv2d"], [3, 2, 1]),  # Keras's first
    ],
)
def test_the_numbers_at_the_end_of_names_tell_the_order(tmp_path, names, kernels):
    assert loaded_kernels(names, tmp_path) == (kernels, ())


@pytest.mark.parametrize("names", [["conv_2", "conv_1", "head"], ["a_2", "b_1", "c_1"], ["b", "a"]])
def test_without_a_number_for_each_the_order_is_that_of_the_file(tmp_path, names):
    kernels, (warning,) = loaded_kernels(names, tmp_path)
    assert kernels == [i + 1 for i in range(len(names))]
    assert f"in the order of the network's file ('{names[0]}', '{names[1]}'" in warning


def test_grouped_convolutions_are_read_as_darknet_writes_them(tmp_path):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=4 + 4 * 2 * 9 + 4 + 4 * 9)
    network = network_of(
        conv("c_1", 4, groups=2),
        {"class_name": "DepthwiseConv2D", "config": {"name": "d_2", "kernel_size": 3}},
        channels=4,
    )
    load_darknet_weights(network, write(tmp_path / "a.weights", numbers))
    first, second = network.layers().values()
    assert np.array_equal(first.weight.detach().numpy().ravel(), np.float32(numbers[4:76]))
    assert np.array_equal(second.bias.detach().numpy(), np.float32(numbers[76:80]))
    assert np.array_equal(second.weight.detach().numpy().ravel(), np.float32(numbers[80:]))


def test_the_bias_of_a_normalized_convolution_becomes_0(tmp_path):
    network = network_of(conv("c", 1, kernel=1, bias_initializer="ones"), norm("n"))
    load_darknet_weights(network, write(tmp_path / "a.weights", [1, 2, 3, 4, 5]))
    found = {name: float(tensor) for name, tensor in network.state_dict().items()}
    weights = {"c.weight": 5, "c.bias": 0, "n.bias": 1, "n.weight": 2, "n.running_mean": 3, "n.running_var": 4}
    assert found == weights


def test_weights_that_a_layer_lacks_are_told_unless_they_change_nothing(tmp_path):
    network = network_of(conv("c", 1, kernel=1, use_bias=False), norm("n", center=False, scale=False))
    path = write(tmp_path / "a.weights", [0.1, 1, 3, 4, 5])
    assert load_darknet_weights(network, path).skipped_weights == ("n.bias",)
    path = write(tmp_path / "a.weights", [0, 1, 3, 4, 5])
    assert load_darknet_weights(network, path).skipped_weights == ()


def test_other_layers_keep_their_initial_weights_with_a_line_each(tmp_path):
    dense = {"class_name": "Dense", "config": {"name": "d", "units": 2}}
    network = network_of(conv("c", 1, kernel=1), {"class_name": "Flatten", "config": {}}, dense)
    report = load_darknet_weights(network, write(tmp_path / "a.weights", [1, 2]))
    assert report.initial == ("d",)
    longer = write(tmp_path / "b.weights", [1, 2, 3])  # which has no other classes, as no convolution is the last layer
    assert "has 3 numbers, but the network has 2 in 1 convolution, 1 fewer." in misfit(network, longer)


@pytest.mark.parametrize(
    ("numbers", "wrong"),
    [
        ([1, 2, 3, -4, 5], "gives layer 'n' running variances below 0"),
        ([1, 2, np.inf, 4, 5], "gives layer 'n' numbers that are not finite"),
        ([1, 2, 3, 4, np.nan], "gives layer 'c' numbers that are not finite"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(tmp_path, numbers, wrong):
    network = network_of(conv("c", 1, kernel=1), norm("n"))
    before = state(network)
    with pytest.raises(DataError, match=wrong):
        load_darknet_weights(network, write(tmp_path / "a.weights", numbers))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_without_convolutions_is_refused():
    network = network_of({"class_name": "Flatten", "config": {}})
    with pytest.raises(ConfigError, match="has weights of convolutions, but the network has none"):
        load_darknet_weights(network, FILES / "small.weights")


def torch_file():
    content = io.BytesIO()
    torch.save({"model": torch.zeros(3)}, content)
    return content.getvalue()


OTHERS = {
    "It is empty": b"",
    "It is a web page: the download has failed": b"<!DOCTYPE html>\n<html><title>M\xc3\xbcller</title>",
    "It is a web page": b'\n<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "It is a pointer of Git LFS, not the file itself. Fetch that with `git lfs pull`": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 248007048\n"
    ),
    "It is a file of PyTorch, whose name must end with .pt": torch_file(),
    "It is incomplete: its end is missing": torch_file()[:-30],
    "It is text": b"[net]\nbatch=64\n",
    "It is an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "It is a pickle of Python": b"\x80\x02}q\x00.",
    "It begins like no known file": b"\xff" * 40,
    "It begins like no known file. ": bytes(6),
}


@pytest.mark.parametrize(("described", "content"), OTHERS.items())
def test_a_file_that_is_something_else_is_named_on_one_line(tmp_path, described, content):
    (tmp_path / "a.weights").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_darknet_weights(build_network(SMALL), tmp_path / "a.weights", "checkpoints.load")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"checkpoints.load: '{tmp_path}/a.weights' is not a file of darknet's weights. {described}")
    assert line.endswith("Expected darknet's header, then float32")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no such file: 'nowhere\.weights'"):
        load_darknet_weights(build_network(SMALL), "nowhere.weights")
    with pytest.raises(DataError, match=r"cannot read '.*'\. Is a directory"):
        load_darknet_weights(build_network(SMALL), tmp_path)


def test_a_checkpoint_that_is_a_file_of_darknet_is_told_its_name():
    with pytest.raises(
        DataError, match=r"darknet's weights, which checkpoints\.load takes if its name ends with \.weights"
    ):
        checkpoints.load(FILES / "small.weights")


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("yolov3.weights", True),
        ("a/YOLOV3.WEIGHTS", True),
        ("s3://b/darknet53.conv.74", True),
        ("yolov3.backup", True),
        ("model.weights.h5", False),
        ("model.pt", False),
        ("weights", False),
        ("conv.74", False),
    ],
)
def test_names_tell_darknets_files(path, is_one):
    assert is_darknet_name(path) == is_one


@pytest.mark.parametrize(
    ("settings", "size", "told"),
    [
        ({"strides": 2}, 8, True),
        ({"strides": 2}, None, True),
        ({"strides": 2}, 7, False),  # one pixel at each side, as in darknet
        ({"strides": 2, "kernel": 1}, 8, False),
        ({"strides": 1}, 8, False),
        ({"strides": 2, "padding": "valid"}, 8, False),
    ],
)
def test_padding_at_other_sides_than_darknets_is_told(tmp_path, settings, size, told):
    network = network_of(conv("c", 1, **settings), size=size)
    count = 1 + network.layers()["c"].weight.numel()
    warnings = load_darknet_weights(network, write(tmp_path / "a.weights", np.zeros(count))).warnings
    assert len(warnings) == told
    assert all("'c' pad right and below" in line and "ZeroPadding2D of [[1, 0], [1, 0]]" in line for line in warnings)


def test_same_padding_sees_what_darknet_sees_of_an_image_that_is_moved():
    layers = copy.deepcopy(SMALL)
    pad, second = (next(e for e in layers["config"]["layers"] if e["name"] == name) for name in ("pad_2", "conv2d_2"))
    pad["config"]["padding"], second["config"]["padding"] = [[0, 0], [0, 0]], "same"
    same, darknet = build_network(layers).eval(), build_network(SMALL).eval()
    for network in (same, darknet):
        load_darknet_weights(network, FILES / "small.weights")
    image = torch.tensor(EXPECTED["input"])[None]
    moved = torch.nn.functional.pad(image, (1, 0, 1, 0))[..., :24, :24]
    with torch.no_grad():
        found, expected = same(moved)[0], darknet(image)[0]
    assert torch.allclose(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5)
    assert not torch.allclose(same(image)[0], expected, atol=0.1)
