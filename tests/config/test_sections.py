import json

import pytest

from rayrml.config import reading
from rayrml.config.sections import Config
from rayrml.errors import ConfigError


def full(**data):
    return {"neural_network": {"layers": "net.json", "data": {"input_path": "in", **data}}}


def mistakes(raw):
    return [str(p) for p in reading.parse(raw)[1]]


def test_defaults_are_those_of_the_reference():
    parsed, found = reading.parse(full())
    assert not found
    nn = parsed.neural_network
    assert (nn.num_epochs, nn.data.batch_size, nn.data.test_batch_size, nn.data.preload) == (1, 64, 64, False)
    assert (nn.checkpoints.interval, nn.checkpoints.save, nn.outfile) == (None, None, None)
    assert (parsed.ray.num_workers, parsed.ray.use_gpu, parsed.ray.max_failures) == (None, "auto", 3)


def test_all_mistakes_are_found_at_once_each_with_its_place():
    raw = full(batch_size=0, preload="yes", bacth_size=3)
    raw["neural_network"] |= {"num_epochs": "5", "layer": []}
    raw["ray"] = {"num_workers": [4, 2], "use_gpu": "maybe"}
    places = [m.split(":")[0] for m in mistakes(raw)]
    assert sorted(places) == [
        "neural_network.data.bacth_size",
        "neural_network.data.batch_size",
        "neural_network.data.preload",
        "neural_network.layer",
        "neural_network.num_epochs",
        "ray",
        "ray.use_gpu",
    ]


def test_what_is_right_is_kept_beside_a_mistake():
    parsed, found = reading.parse(full(batch_size=-1, test_batch_size=7))
    assert len(found) == 1
    assert parsed.neural_network.data.test_batch_size == 7


def test_a_misspelt_key_is_answered_with_the_right_one():
    assert mistakes(full(bacth_size=3)) == ["neural_network.data.bacth_size: unknown key. Did you mean 'batch_size'?"]


def test_what_is_empty_is_told_in_one_sentence():
    raw = full(separator="")
    raw["neural_network"]["activation_checkpointing"] = []
    assert mistakes(raw) == [
        'neural_network.data.separator: must have at least 1 character, got ""',
        "neural_network.activation_checkpointing: must have at least 1 item, got []",
    ]


def test_a_value_that_fits_no_alternative_is_shown_once():
    raw = full()
    raw["neural_network"]["checkpoints"] = {"keep": 0}
    expected = "must be 'best+last', 'best', 'last' or 'all' or must be greater than 0, got 0"
    assert mistakes(raw) == [f"neural_network.checkpoints.keep: {expected}"]


@pytest.mark.parametrize("raw", [{}, [], 3, None, {"neural_network": 3}, {"neural_network": {"data": []}}])
def test_what_is_no_configuration_is_refused_with_a_place_or_a_hint(raw):
    parsed, found = reading.parse(raw)
    assert parsed is None
    assert found


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = reading.parse(full(test_input_path="./test/", test_output_path="file:///out%20put"))[0].neural_network.data
    assert data.input_path == str(tmp_path / "in")
    assert data.test_input_path == str(tmp_path / "test")
    assert data.test_output_path == "/out put"


def test_the_file_of_weights_of_a_network_by_name_has_an_absolute_path_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layers = {"network": "resnet50", "weights": "a.h5"}
    section = Config.model_validate({"neural_network": {"layers": layers, "data": {}}}).neural_network
    assert section.layers == {"network": "resnet50", "weights": str(tmp_path / "a.h5")}
    other = {"weights": "a.h5"}
    assert Config.model_validate({"neural_network": {"layers": other, "data": {}}}).neural_network.layers == other


def test_uris_of_object_stores_are_left_as_they_are():
    uri = "s3://bucket/my%20digits?endpoint_override=localhost:9000&scheme=http"
    data = reading.parse(full(test_input_path=uri))[0].neural_network.data
    assert data.test_input_path == uri


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("s4://bucket/x", "s4:// is not supported. Expected a local path, or a URI with one of file://, s3://, gs://"),
        ("s3:bucket/x", "names no bucket. Expected s3://bucket/folder"),
        ("s3:///x", "names no bucket. Expected s3://bucket/folder"),
        ("s3://bucket/x#1", "a '#' in a URI must be written as %23"),
        ("s3://me:hidden@bucket/x", "a path must not contain a secret"),
        ("abfss://box@account.dfs.core.windows.net/x?sas_token=hidden", "a path must not contain a secret"),
    ],
)
def test_a_mistaken_uri_is_refused_with_what_is_expected(path, complaint):
    (found,) = mistakes(full(test_input_path=path))
    assert found.startswith(f"neural_network.data.test_input_path: {complaint}")
    assert "hidden" not in found


def test_testing_tag_is_another_name_of_test_tag():
    assert reading.parse(full(testing_tag="test"))[0].neural_network.data.test_tag == "test"


def test_schema_key_is_accepted():
    assert not mistakes({"$schema": "x.json", **full()})


def test_the_keys_of_a_gan_are_read():
    raw = full()
    raw["neural_network"] |= {"app": "GAN", "critic": {"layers": "critic.json", "optimizer": {"type": "Adam"}}}
    config, found = reading.parse(raw)
    assert not found
    assert config.neural_network.app == "gan"
    assert config.neural_network.critic.layers == "critic.json"


def test_overrides_reach_every_section():
    raw = reading.override(full(), {"data.batch_size": 8, "ray.num_workers": 2, "optimizer.type": "SGD"})
    parsed, found = reading.parse(raw)
    assert not found
    assert parsed.neural_network.data.batch_size == 8
    assert parsed.ray.num_workers == 2
    assert parsed.neural_network.optimizer == {"type": "SGD"}


def test_overrides_leave_the_given_object_alone():
    raw = full()
    before = json.dumps(raw)
    reading.override(raw, {"data.batch_size": 8})
    assert json.dumps(raw) == before


def test_an_override_below_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"neural_network\.layers: is not an object"):
        reading.override(full(), {"layers.x": 1})
