from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest
import torch

from rayrml.errors import ConfigError, DataError
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.keras_weights import export_weights, load_weights
from tests.keras_reference import assert_same_outputs, keras, randomize

L = keras.layers
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*HDF5.*"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # raised by Keras when it saves
]


def _model():
    """A nested functional model, a nested Sequential, a shared layer, and layers with every kind of weights."""
    x = keras.Input((8, 8, 2), name="x")
    i = keras.Input((8, 8, 2), name="i")
    y = L.BatchNormalization(name="bn")(L.Conv2D(4, 3, padding="same", name="conv")(i))
    backbone = keras.Model(i, L.SeparableConv2D(4, 3, name="sep")(y), name="backbone")
    head = keras.Sequential(
        [L.DepthwiseConv2D(3, name="dw"), L.Flatten(name="flat"), L.Dense(5, name="d")], name="head"
    )
    shared = L.Dense(5, name="shared")
    z = shared(shared(head(backbone(x))))
    return keras.Model(x, L.PReLU(name="prelu")(z), name="whole")


@pytest.fixture
def model():
    model = _model()
    randomize(model)
    return model


def _save(model, folder, form):
    path = folder / f"model{form}"
    model.save_weights(path) if form == ".weights.h5" else model.save(path)
    return path


@pytest.mark.parametrize("form", [".h5", ".keras", ".weights.h5"])
def test_a_file_of_keras_3_gives_the_network_its_weights(model, form, tmp_path):
    network = build_network(json.loads(model.to_json()))
    report = load_weights(network, _save(model, tmp_path, form))
    assert report.loaded == ("conv", "bn", "sep", "dw", "d", "shared", "prelu")
    assert not report.lines()
    assert_same_outputs(model, network)


def _read_and_written(model, folder, form):
    """The layers that a network loads from the model's file; it computes what the model does, which reads its file."""
    network = build_network(json.loads(model.to_json()))
    report = load_weights(network, _save(model, folder, form))
    assert not report.lines()
    assert_same_outputs(model, network)
    if form != ".keras":
        path = folder / f"written{form}"
        export_weights(network, path)
        other = keras.models.model_from_json(model.to_json())
        other.load_weights(path)
        assert_same_outputs(other, network)
    return report.loaded


@pytest.mark.parametrize("form", [".h5", ".keras", ".weights.h5"])
def test_weights_inside_wrappers_are_read_and_written(form, tmp_path):
    x = keras.Input((4, 7, 6, 2))
    y = L.TimeDistributed(L.Conv2D(3, 3, name="inner"), name="steps")(x)
    y = L.TimeDistributed(L.BatchNormalization(), name="normal")(L.TimeDistributed(L.Flatten(), name="flat")(y))
    model = keras.Model(x, L.TimeDistributed(L.Dense(5), name="dense")(y), name="whole")
    randomize(model)
    assert _read_and_written(model, tmp_path, form) == ("steps", "normal", "dense")


@pytest.mark.parametrize("form", [".h5", ".keras", ".weights.h5"])
def test_weights_of_models_inside_wrappers_are_read_and_written(form, tmp_path):
    frame = keras.Input((7, 6, 2))
    y = L.BatchNormalization(name="normal")(L.Conv2D(3, 3, name="inner")(frame))
    y = keras.Sequential([L.Input((5, 4, 3)), L.Conv2D(4, 2, name="last")], name="nested")(y)
    each = keras.Model(frame, L.Dense(2, name="dense")(L.Flatten()(y)), name="each")
    x = keras.Input((3, 4, 7, 6, 2))
    y = L.TimeDistributed(L.TimeDistributed(each), name="steps")(x)
    model = keras.Model(x, L.TimeDistributed(L.Dense(5), name="after")(y), name="whole")
    randomize(model)
    assert set(_read_and_written(model, tmp_path, form)) == {"normal", "inner", "last", "dense", "after"}


@pytest.mark.parametrize("form", [".keras", ".weights.h5"])
def test_files_without_the_names_of_layers_are_matched_by_class_and_order(model, form, tmp_path):
    network = build_network(json.loads(model.to_json()))
    path = _save(model, tmp_path, form)
    inner = path
    if form == ".keras":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "content")
        inner = tmp_path / "content" / "model.weights.h5"
    with h5py.File(inner, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    if form == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            for part in (tmp_path / "content").iterdir():
                archive.write(part, part.name)
    assert not load_weights(network, path).lines()
    assert_same_outputs(model, network)


def test_keras_loads_what_is_exported_by_order_and_by_name(model, tmp_path):
    network = build_network(json.loads(model.to_json()))
    load_weights(network, _save(model, tmp_path, ".keras"))
    export_weights(network, tmp_path / "exported.h5")
    for by_name in (False, True):
        twin = keras.models.model_from_json(model.to_json())
        twin.load_weights(tmp_path / "exported.h5", **({"by_name": True} if by_name else {}))
        assert_same_outputs(twin, network)
        assert_same_outputs(model, network)


def _branches():
    """Two branches with layers of one class and one shape, which Keras 3 tells apart by their order alone."""
    x = keras.Input((8, 8, 3), name="x")
    y = x
    for axis in range(3):
        y = L.Dropout(0.1 * axis)(L.Conv2D(3, 3, padding="same", activation="relu")(y))
    z = L.Conv2D(3, 3, padding="same")(L.ReLU()(x))
    y = L.Conv2DTranspose(3, 2)(L.LayerNormalization()(L.Add()([L.Conv2D(3, 1)(y), z, x])))
    y = L.GroupNormalization(3)(L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 4.0])(y))
    return keras.Model(x, [L.Dense(2)(L.GlobalAveragePooling2D()(y)), L.Conv2D(1, 1)(z)], name="branches")


def _sequential():
    inner = [L.Dense(3), L.BatchNormalization(), L.Dense(3)]
    return keras.Sequential([keras.Input((4,)), L.Dense(3), keras.Sequential(inner), keras.Sequential([L.Dense(3)])])


@pytest.mark.parametrize("make", [_model, _branches, _sequential])
@pytest.mark.parametrize("loaded_again", [False, True])
def test_keras_3_loads_what_is_exported_in_its_own_format(make, loaded_again, tmp_path):
    model = make()
    randomize(model)
    network = build_network(json.loads(model.to_json()))
    load_weights(network, _save(model, tmp_path, ".keras"))
    export_weights(network, tmp_path / "exported.weights.h5")
    twin = keras.models.model_from_json(model.to_json()) if loaded_again else make()
    twin.load_weights(tmp_path / "exported.weights.h5")
    assert_same_outputs(twin, network)
    own = build_network(json.loads(model.to_json()))
    assert not load_weights(own, tmp_path / "exported.weights.h5").lines()
    assert_same_outputs(model, own)


def test_the_format_of_keras_3_has_the_groups_that_keras_writes(model, tmp_path):
    network = build_network(json.loads(model.to_json()))
    load_weights(network, _save(model, tmp_path, ".keras"))
    export_weights(network, tmp_path / "exported.weights.h5")
    files = [tmp_path / "exported.weights.h5", _save(model, tmp_path, ".weights.h5")]
    ours, theirs = ({}, {})
    for path, items in zip(files, (ours, theirs), strict=True):
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item, items=items: items.update(
                    {name: item[()].tolist() if isinstance(item, h5py.Dataset) else item.attrs.get("name")}
                )
            )
    # Keras 3 also writes an empty group for the input of each model in a model, and for each input.
    assert ours.items() <= theirs.items()
    assert all("input_layer" in name for name in theirs.keys() - ours.keys())


DENSE = [{"class_name": "Dense", "config": {"name": name, "units": 3}} for name in ("dense", "dense_2")]


def _legacy(path, groups):
    """A file as Keras 2's `save_weights` writes it: each layer's weights by name."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        for name, weights in groups.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([key.encode() for key in weights], dtype="S40")
            for key, value in weights.items():
                group[key] = np.asarray(value, dtype="float32")
    return path


def _dense(name, shape=(3, 3)):
    return {f"{name}/kernel:0": np.random.default_rng(0).normal(size=shape), f"{name}/bias:0": np.ones(shape[-1])}


def test_layers_match_by_name_and_the_rest_is_reported(tmp_path):
    path = _legacy(tmp_path / "w.h5", {"input": {}, "dense_1": _dense("dense_1"), "dense": _dense("other/dense_7")})
    network = build_network(DENSE, (3,))
    before = network.get_parameter("dense_2.weight").clone()
    report = load_weights(network, path)
    assert (report.loaded, report.skipped, report.initial) == (("dense",), ("dense_1",), ("dense_2",))
    assert "Unused layer dense_1 of the file: not found in network" in report.lines()
    assert torch.equal(network.get_parameter("dense.bias"), torch.ones(3))
    assert torch.equal(network.get_parameter("dense_2.weight"), before)


def test_weights_that_do_not_fit_are_refused_with_both_shapes_and_change_nothing(tmp_path):
    groups = {"dense": _dense("dense"), "dense_2": _dense("dense_2", (4, 3))}
    network = build_network(DENSE, (3,))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    message = r"kernel of layer 'dense_2' has shape \(4, 3\) in the file, but \(3, 3\) in the network"
    with pytest.raises(ConfigError, match=message):
        load_weights(network, _legacy(tmp_path / "w.h5", groups))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_another_number_of_weights_is_refused(tmp_path):
    network = build_network([{"class_name": "Dense", "config": {"name": "dense", "units": 3, "use_bias": False}}], (3,))
    with pytest.raises(
        ConfigError, match=r"layer 'dense' has 2 weights in the file, but 1 in the network: kernel of layer"
    ):
        load_weights(network, _legacy(tmp_path / "w.h5", {"dense": _dense("dense")}))


def _nested(trainable=True):
    inner = [
        {"class_name": "Dense", "config": {"name": "c1", "units": 3, "trainable": trainable}},
        {"class_name": "BatchNormalization", "config": {"name": "b1"}},
        {"class_name": "Dense", "config": {"name": "c2", "units": 3}},
    ]
    return [{"class_name": "Sequential", "config": {"name": "backbone", "layers": inner}}]


@pytest.mark.parametrize("named", [True, False])
def test_a_nested_model_is_one_group_trained_weights_first(named, tmp_path):
    weights = {}
    for i, (layer, weight, shape) in enumerate(
        [
            ("b1", "gamma", (3,)),
            ("b1", "beta", (3,)),
            ("c2", "kernel", (3, 3)),
            ("c2", "bias", (3,)),
            ("c1", "kernel", (3, 3)),
            ("c1", "bias", (3,)),
            ("b1", "moving_mean", (3,)),
            ("b1", "moving_variance", (3,)),
        ]
    ):
        weights[f"{layer}/{weight}:0" if named else f"w{i}:0"] = np.full(shape, i)
    path = _legacy(tmp_path / "w.h5", {"backbone": weights})
    network = build_network(_nested(trainable=False), (3,))
    assert not load_weights(network, path).lines()
    values = {name: int(value.flatten()[0]) for name, value in network.state_dict().items()}
    assert values == {
        "c1.weight": 4, "c1.bias": 5, "b1.weight": 0, "b1.bias": 1, "b1.running_mean": 6, "b1.running_var": 7,
        "c2.weight": 2, "c2.bias": 3,
    }  # fmt: skip


def test_names_tell_the_weights_of_a_nested_model_that_was_trained_otherwise_when_it_was_saved(tmp_path):
    export_weights(build_network(_nested(trainable=True), (3,)), tmp_path / "w.h5")
    network = build_network(_nested(trainable=False), (3,))
    load_weights(network, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert np.array_equal(file["backbone/c1/kernel:0"][()].T, network.get_parameter("c1.weight").detach().numpy())


def test_a_model_without_a_name_takes_the_group_that_no_other_layer_takes(tmp_path):
    layers = _nested()
    layers[0]["config"] = layers[0]["config"]["layers"]  # as Keras 2.1 writes it
    export_weights(build_network(_nested(), (3,)), tmp_path / "w.h5")
    assert not load_weights(build_network(layers, (3,)), tmp_path / "w.h5").lines()


def test_names_with_slashes_and_lists_too_long_for_one_attribute_survive(tmp_path):
    names = [f"block{'x' * 200}{i}/relu/conv" for i in range(400)]
    layers = [{"class_name": "Dense", "config": {"name": name, "units": 1}} for name in (*names, "block", "block/a")]
    network, twin = build_network(layers, (1,)), build_network(layers, (1,))
    export_weights(network, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert "layer_names" not in file.attrs and "layer_names0" in file.attrs
    assert not load_weights(twin, tmp_path / "w.h5").lines()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_a_file_that_is_missing_or_no_file_of_weights_is_named(content, tmp_path):
    path = tmp_path / "w.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"w\.h5'"):
        load_weights(build_network(DENSE, (3,)), path)


def _flat(*names):
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 3], "name": "input"}}
    return [first, *({"class_name": "Dense", "config": {"name": name, "units": 3}} for name in names)]


def _inside(model, *names):
    """A network in which a model of these layers is followed by a layer of its own."""
    first, *layers = _flat(*names)
    inner = {"class_name": "Sequential", "config": {"name": model, "layers": [first, *layers]}}
    head = {"class_name": "Dense", "config": {"name": "head", "units": 2}}
    return {"class_name": "Sequential", "config": {"name": "net", "layers": [first, inner, head]}}


@pytest.mark.parametrize("form", ["h5", "pt"])
@pytest.mark.parametrize("nested", ["file", "network"])
def test_layers_match_whatever_models_are_around_them(tmp_path, form, nested):
    """Weights of a backbone for a network around it, and the other way round."""
    layers = {"file": _flat("c1", "c2"), "network": _inside("features", "c1", "c2")}
    theirs, ours = (layers["network"], layers["file"]) if nested == "file" else (layers["file"], layers["network"])
    torch.manual_seed(1)
    source = build_network(theirs)
    torch.manual_seed(2)
    network = build_network(ours)
    if form == "h5":
        export_weights(source, tmp_path / "w.h5")
        report = load_weights(network, tmp_path / "w.h5")
    else:
        # As PyTorch names the layers of a model within another.
        state = {
            (f"features.{k}" if nested == "file" and "head" not in k else k): v for k, v in source.state_dict().items()
        }
        report = checkpoints.load_into(network, state, "w.pt")
    own, stored = network.state_dict(), source.state_dict()
    for name in ("c1.weight", "c1.bias", "c2.weight", "c2.bias"):
        assert torch.equal(own[name], stored[name])
    assert report.initial == (() if nested == "file" else ("head",))
    assert report.skipped == (("head",) if nested == "file" else ())


def test_a_name_that_occurs_twice_on_a_side_matches_nothing(tmp_path):
    export_weights(build_network(_flat("c1", "c2")), tmp_path / "w.h5")
    first, *layers = _flat("c1")
    models = [
        {"class_name": "Sequential", "config": {"name": name, "layers": [first, *layers]}} for name in ("left", "right")
    ]
    network = build_network({"class_name": "Sequential", "config": {"name": "net", "layers": [first, *models]}})
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = load_weights(network, tmp_path / "w.h5")
    assert not report.loaded
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
