import pickle
import warnings

import pytest
import torch
from torch import nn

from rayrml.errors import ConfigError, DataError
from rayrml.networks.network import build_network
from rayrml.saving import checkpoint_folder, checkpoints
from rayrml.saving.checkpoints import Checkpoint
from rayrml.version import __version__


def network(units=3):
    return nn.Sequential(nn.Linear(4, units), nn.BatchNorm1d(units))


def test_what_was_saved_can_be_loaded(tmp_path):
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    path = checkpoint_folder.checkpoint_path(tmp_path / "model", 7)
    saved = Checkpoint(
        7, net.state_dict(), [{"class_name": "Dense"}], (1, None), ("cat", "dog"), optimizer.state_dict()
    )
    checkpoints.save(path, saved)
    loaded = checkpoints.load(path)
    assert path == str(tmp_path / "model" / "model_checkpoint_7.pt")
    assert (loaded.epoch, loaded.classes, loaded.input_shape) == (7, ("cat", "dog"), (1, None))
    assert loaded.layers == [{"class_name": "Dense"}]
    assert all(torch.equal(loaded.network[k], v) for k, v in net.state_dict().items())
    assert torch.equal(loaded.optimizer["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["model_checkpoint_7.pt"]


def test_layers_match_by_name_and_the_rest_is_reported():
    net, other = network(), nn.Sequential()
    other.add_module("0", nn.Linear(4, 3))
    other.add_module("extra", nn.Linear(1, 1))
    report = checkpoints.load_into(net, other.state_dict(), "x.pt")
    assert torch.equal(net[0].weight, other[0].weight)
    assert report.loaded == ("0.weight", "0.bias")
    assert report.lines() == [
        "Unused layer extra of the file: not found in network",
        "Skipping layer 1: not found in model; it keeps its initial weights",
    ]


def test_a_layer_that_a_file_has_in_part_is_named_by_the_weights_it_lacks():
    net = network()
    state = {name: tensor for name, tensor in net.state_dict().items() if name == "0.weight"}
    state |= {"0.scale": torch.ones(1), "0.num_batches_tracked": torch.zeros(())}
    report = checkpoints.load_into(net, state, "x.pt")
    assert (report.loaded, report.initial, report.skipped) == (("0.weight",), ("1",), ())
    assert report.lines() == [
        "Unused weight 0.scale of the file: not found in network",
        "Skipping layer 1: not found in model; it keeps its initial weights",
        "Skipping weight 0.bias: not found in model; it keeps its values",
    ]


def test_a_layer_is_named_as_in_the_networks_own_file():
    layers = [
        {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, 3]}},
        {"class_name": "Dense", "config": {"name": "a.b", "units": 2}},
        {"class_name": "Dense", "config": {"name": "training", "units": 2}},
    ]
    report = checkpoints.load_into(build_network(layers), {"other.weight": torch.zeros(1)}, "x.pt")
    assert report.initial == ("a.b", "training")


def test_a_shape_that_does_not_fit_is_shown_with_both_shapes():
    with pytest.raises(ConfigError) as caught:
        checkpoints.load_into(network(3), network(5).state_dict(), "x.pt", "neural_network.checkpoints.load")
    assert str(caught.value.problems[0]) == (
        "neural_network.checkpoints.load: '0.weight' has shape [5, 4] in 'x.pt', but [3, 4] in the network. "
        "A layer of another name starts anew: rename it in the network to leave the file's out"
    )


def test_a_file_of_parameters_alone_is_taken(tmp_path):
    torch.save(network().state_dict(), tmp_path / "plain.pt")
    assert set(checkpoints.load(tmp_path / "plain.pt").network) == set(network().state_dict())


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half a zip"])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"checkpoints\.load: '.*x\.pt' is not a checkpoint"):
        checkpoints.load(tmp_path / "x.pt", "checkpoints.load")


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = tmp_path / "model_checkpoint_1.pt"
    checkpoints.save(path, Checkpoint(1, network().state_dict(), [], (1,)))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="is not a checkpoint"):
        checkpoints.load(path)


class _Code:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_file_cannot_bring_code_along(tmp_path, capsys):
    torch.save({"network": _Code()}, tmp_path / "evil.pt")
    (tmp_path / "evil2.pt").write_bytes(pickle.dumps(_Code()))
    for name in ("evil.pt", "evil2.pt"):
        with pytest.raises(DataError, match="is not a checkpoint"):
            checkpoints.load(tmp_path / name)
    assert "code ran" not in capsys.readouterr().out


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no such file: '.*none\.pt'"):
        checkpoints.load(tmp_path / "none.pt")


def test_a_torchscript_archive_is_named_as_one(tmp_path):
    """The error message does not advise trusting the file, as torch's does."""
    path = tmp_path / "old.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about this kind of archive
        torch.jit.script(torch.nn.Linear(3, 2)).save(path)
    with pytest.raises(DataError, match=r"It is a TorchScript archive\. Expected tensors by layer name$"):
        checkpoints.load(path)


def test_a_run_s_folder_means_its_best_checkpoint_or_else_the_last_one(tmp_path):
    with pytest.raises(DataError, match=r"is a folder without a checkpoint\. Expected a file, or a run's folder"):
        checkpoints.load(tmp_path)
    for epoch in (9, 10):
        checkpoints.save(tmp_path / f"model_checkpoint_{epoch}.pt", Checkpoint(epoch, {"w": torch.ones(1)}, [], ()))
    assert checkpoints.load(tmp_path).epoch == 10
    checkpoints.save(tmp_path / "best.pt", Checkpoint(9, {"w": torch.ones(1)}, [], ()))
    assert checkpoints.load(tmp_path).epoch == 9
    assert checkpoints.load(tmp_path / "model_checkpoint_10.pt").epoch == 10


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_state_of_a_network_is_found_in_what_training_scripts_save(tmp_path, key, prefix):
    state = network().state_dict()
    torch.save({key: {prefix + name: tensor for name, tensor in state.items()}, "epoch": 3}, tmp_path / "w.pt")
    loaded = checkpoints.load(tmp_path / "w.pt").network
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_checkpoint_names_the_version_and_refuses_a_newer_format(tmp_path):
    path = tmp_path / "c.pt"
    checkpoints.save(path, Checkpoint(1, network().state_dict(), [], (4,)))
    content = torch.load(path, weights_only=True)
    assert content["version"] == __version__
    torch.save(content | {"format": content["format"] + 1, "version": "9.0"}, path)
    with pytest.raises(DataError, match=rf"was written by a newer rayrml, 9\.0; this is {__version__}\. Expected that"):
        checkpoints.load(path)


def test_training_goes_on_with_the_weights_behind_an_average(tmp_path):
    net = network()
    raw = {name: parameter.detach() + 1 for name, parameter in net.named_parameters()}
    saved = Checkpoint(1, net.state_dict(), [], (4,), ema={"steps": 5, "decay": 0.9, "raw": raw})
    checkpoints.save(tmp_path / "a.pt", saved)
    loaded = checkpoints.load(tmp_path / "a.pt")
    assert torch.equal(loaded.network["0.weight"], net[0].weight)
    assert torch.equal(loaded.in_training["0.weight"], net[0].weight + 1)
    assert torch.equal(loaded.in_training["1.running_var"], net[1].running_var)


CRITIC = {
    "layers": [],
    "network": {"a": torch.zeros(2)},
    "optimizer": {"state": {}},
    "optimizer_type": "Adam",
    "parameters": ["a"],
    "loss_scaling": {},
    "updates": 3,
}


def test_a_critic_is_kept_beside_the_network_and_is_a_checkpoint_of_its_own(tmp_path):
    checkpoints.save(tmp_path / "a.pt", Checkpoint(1, network().state_dict(), [], (4,), ema={}, critic=CRITIC))
    loaded = checkpoints.load(tmp_path / "a.pt")
    critic = loaded.of_critic()
    assert loaded.generates and list(critic.network) == ["a"] and critic.parameters == ["a"]
    assert critic.optimizer_type == "Adam" and not critic.critic and critic.epoch == 1
    assert Checkpoint(1, {}, [], (4,)).of_critic() is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ema", {"steps": "5", "raw": {}}),
        ("ema", {"steps": 5}),
        ("ema", {"steps": 5, "raw": {"0.weight": 3}}),
        ("ema", {"steps": 5, "raw": {"0.weight": torch.zeros(2)}}),
        ("ema", {"steps": 5, "raw": {"other": torch.zeros(3, 4)}}),
        ("loss_scaling", {"scale": "large"}),
        ("loss_scaling", {"scale": torch.zeros(3)}),
        ("critic", {"network": {}}),
        ("critic", {**CRITIC, "network": {"a": 1}}),
        ("critic", {**CRITIC, "updates": "3"}),
        ("critic", {**CRITIC, "parameters": {}}),
        ("critic", {**CRITIC, "optimizer": []}),
    ],
    ids=str,
)
def test_a_damaged_average_or_scale_is_refused(tmp_path, field, value):
    checkpoints.save(tmp_path / "a.pt", Checkpoint(1, network().state_dict(), [], (4,), **{field: value}))
    with pytest.raises(DataError, match=f"is a damaged checkpoint: invalid {field}"):
        checkpoints.load(tmp_path / "a.pt")
