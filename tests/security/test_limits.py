"""What a file of a few lines can ask for: more than any machine has, and more than a reader can follow."""

import resource
import subprocess
import sys

import pytest
import torch

import rayrml
from rayrml.errors import ConfigError, DataError
from rayrml.memory import available_memory
from rayrml.networks.network import build_network
from rayrml.planning.preparation import prepare
from rayrml.saving import checkpoints
from tests.faults.mutations import nested


def mistakes(layers):
    with pytest.raises(ConfigError) as caught:
        build_network(layers)
    return [str(p) for p in caught.value.problems]


def network(*layers, shape=(8, 8, 3)):
    return [{"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, *shape]}}, *layers]


def layer(class_name, **config):
    return {"class_name": class_name, "config": {"name": "row", **config}}


def test_weights_that_do_not_fit_into_the_memory_are_refused_before_anything_is_allocated():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    units = 2 * available_memory() // 12
    (found,) = mistakes(network(layer("Dense", units=units)))
    assert found.startswith("layers[1]: Dense 'row': its weights take ")
    assert "that the network's initial weights need" in found and "are available" in found
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 10_000  # KB


@pytest.mark.parametrize(
    "large",
    [
        layer("Dense", units=10**12),
        layer("Conv2D", filters=4, kernel_size=2_000_000_000, padding="same"),
        layer("Conv2D", filters=2**62, kernel_size=1),
        layer("UpSampling2D", size=10**6),
        layer("ZeroPadding2D", padding=2**62),
        layer("Resizing", height=10**9, width=10**9),
        layer("Conv2DTranspose", filters=1, kernel_size=1, strides=10**7),
    ],
)
def test_sizes_that_no_machine_has_are_refused_with_the_memory_that_they_take(large):
    (found,) = mistakes(network(large))
    assert found.startswith(f"layers[1]: {large['class_name']} 'row' on (3, 8, 8): its ")
    assert found.endswith("TB of memory")


def test_a_limit_of_the_process_counts_as_its_memory():
    code = """if True:
        import resource, rayrml
        from rayrml.memory import available_memory, _status
        resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData:") + 10**9, resource.RLIM_INFINITY))
        assert 0.9e9 < available_memory() <= 1e9, available_memory()
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_models_in_models_are_followed_as_deep_as_anybody_builds_them():
    layers = network(layer("Dense", units=2))
    for i in range(20):
        layers = [{"class_name": "Sequential", "config": {"name": f"model_{i}", "layers": layers}}]
    assert build_network(layers).num_parameters == 8
    for _ in range(1000):
        layers = [{"class_name": "Sequential", "config": {"layers": layers}}]
    (found,) = mistakes(layers)
    assert found.endswith("is nested too deeply. Expected at most 100 nested lists and objects")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nested(5000), "is nested too deeply"),
        (nested(5000, "{}"), "is nested too deeply"),
        (10**5000, "an integer with hundreds of digits is too large. Expected a 64-bit integer"),
        (-(2**63) - 1, "-9223372036854775809 is too large. Expected a 64-bit integer"),
        (float("nan"), "nan is not a finite number"),
        ("a\0b", 'neural_network.x: "a\\u0000b" contains a null character'),
        ("\ud800", "contains half of a surrogate pair"),
        ({1: 2}, "1 is not a key. Expected a string"),
        ({"path": object}, "is not JSON. Expected a number, a string, true, false, null, a list or an object"),
    ],
    ids=["lists", "objects", "digits", "bits", "nan", "code 0", "surrogate", "key", "class"],
)
def test_what_is_no_json_for_a_configuration_is_refused_with_its_place(value, message):
    with pytest.raises(ConfigError) as caught:
        rayrml.check({"neural_network": {"layers": "net.json", "data": {}, "x": value}})
    (found,) = caught.value.problems
    assert found.where.startswith("neural_network.x")
    assert message in str(found) and len(str(found)) <= 2100


@pytest.mark.parametrize("config", [5, None, [], [{}], 1.5, True])
def test_what_is_no_configuration_is_refused(config):
    with pytest.raises(ConfigError, match="configuration: expected an object with the key 'neural_network'"):
        rayrml.check(config)


def test_an_input_takes_nothing_from_other_layers():
    entry = {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, 4]}}
    looped = {**entry, "name": "in", "inbound_nodes": [[["in", 0, 0, {}]]]}
    assert mistakes([looped]) == [
        "layers[0].inbound_nodes: InputLayer 'in': an input layer cannot have inputs",
    ]


@pytest.mark.parametrize("name", ["training", "channels_first", "shapes", "_modules", "forward", "weight"])
def test_a_layer_may_have_the_name_of_an_attribute(name):
    layers = network({"class_name": "Dense", "config": {"name": name, "units": 2}})
    built = build_network(layers).eval().train()
    assert list(built.layers()) == [name]
    assert built(torch.zeros(1, 3, 8, 8)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize(
    ("function", "inputs", "operands"),
    [("math.add", 1, []), ("nn.relu", 1, [None, 1.0]), ("math.add", 2, [None, 3.0]), ("clip_by_value", 1, [None, 1.0])],
)
def test_operations_take_as_many_operands_as_they_have(function, inputs, operands):
    row = {
        "class_name": f"tf.{function}",
        "config": {"name": "row", "operands": operands},
        "inbound_nodes": [[["in", 0, 0, {}]] * inputs],
    }
    (found,) = mistakes(network(row))
    assert found.startswith("layers[1].config.operands: ") and "operands, null for each input, got" in found


@pytest.mark.parametrize("key", ["num_examples", "num_test_examples", "domain_size"])
def test_computed_samples_are_no_more_than_fit_into_memory(key):
    data = {"type": "pde", "domain_size": 64, "num_examples": 4, "bc_frequency": [1, 2], key: 10**12}
    rows = [layer("Conv1D", filters=1, kernel_size=3, padding="same")]
    with pytest.raises(ConfigError, match=rf"neural_network\.data\.{key}: must be less than or equal to 1"):
        prepare({"neural_network": {"layers": rows, "data": data}}, {})


@pytest.mark.parametrize("target", [[], [0, 3], [-1, -1], [-2]])
def test_a_shape_has_at_least_one_axis_and_no_axis_without_cells(target):
    (found,) = mistakes(network(layer("Reshape", target_shape=target), shape=(None, 1)))
    assert found.startswith("layers[1].config.target_shape: Reshape 'row'")
    with pytest.raises(ConfigError, match=r"layers\[0\]: .*expected an input shape"):
        build_network([layer("Dense", units=2)], ())


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("RandomUniform", {"minval": 1, "maxval": 0}),
        ("RandomUniform", {"minval": -1e308, "maxval": 1e308}),
        ("TruncatedNormal", {"stddev": -1}),
        ("VarianceScaling", {"scale": -1}),
        ("Constant", {"value": 1e308}),
    ],
)
def test_initial_weights_that_cannot_be_drawn_are_refused_with_their_place(class_name, config):
    initializer = {"class_name": class_name, "config": config}
    (found,) = mistakes(network(layer("Dense", units=2, kernel_initializer=initializer)))
    assert found.startswith("layers[1].config.kernel_initializer")


@pytest.mark.parametrize(("ends", "what"), [("input_layers", "inputs"), ("output_layers", "outputs")])
def test_a_model_has_inputs_and_outputs(ends, what):
    model = {"class_name": "Functional", "config": {"layers": network(layer("Flatten")), ends: [[]]}}
    assert mistakes(model) == [f"layers: the model has no {what}. Expected at least one"]


def test_a_damaged_checkpoint_says_what_is_wrong_in_it(tmp_path):
    saved = {"epoch": "3", "layers": [], "input_shape": (4,), "history": {}, "network": {"w": torch.zeros(1)}}
    torch.save(saved, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"a\.pt' is a damaged checkpoint: invalid epoch, history"):
        checkpoints.load(tmp_path / "a.pt")


@pytest.mark.parametrize("kind", ["images", "numpy", "hdf5", "mnist"])
def test_a_path_that_the_system_refuses_is_a_problem_of_the_key_that_names_it(kind, tmp_path):
    data = {"input_type": kind, "test_input_path": f"{tmp_path}/{'a' * 300}/x"}
    with pytest.raises(DataError, match=r"^neural_network\.data\.test_input_path: .*File name too long"):
        prepare({"neural_network": {"layers": network(layer("Flatten")), "data": data}}, {})


def test_the_inputs_of_a_model_are_input_layers():
    layers = [*network(layer("Flatten")), {"class_name": "Sequential", "name": "s", "config": network(layer("ReLU"))}]
    for name, shown in (("row", "[1]: Flatten 'row'"), ("s", "[2]: Sequential 's'")):
        model = {"class_name": "Functional", "config": {"layers": layers, "input_layers": [[name, 0, 0]]}}
        assert mistakes(model) == [
            f"layers.config.layers{shown} is listed as an input of its model. Expected an InputLayer"
        ]
