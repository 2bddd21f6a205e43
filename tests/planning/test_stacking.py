import h5py
import numpy as np
import pytest

from rayrml.errors import ConfigError, DataError
from rayrml.planning.preparation import prepare


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def images_to_images(shape=(8, 8, 1), filters=1):
    conv = layer("Conv2D", "conv", filters=filters, kernel_size=3, padding="same")
    return [layer("InputLayer", "in", batch_input_shape=[None, *shape]), conv]


def classifier(shape=(8, 8, 1), units=3, activation="log_softmax", *, declared=True):
    first = [layer("InputLayer", "in", batch_input_shape=[None, *shape])] if declared else []
    return [*first, layer("Flatten", "flat"), layer("Dense", "out", units=units, activation=activation)]


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name, shape in {"x": (6, 8, 8), "x1": (6, 1, 8, 8), "last": (6, 8, 8, 1), "x7": (7, 8, 8)}.items():
        np.save(tmp_path / f"{name}.npy", random.random(shape))
    for name, values in {
        "y": [0, 1, 2, 0, 1, 2],
        "column": [[0], [1], [2], [0], [1], [2]],
        "floats": [0.0, 1.0, 2.0, 0.0, 1.0, 2.0],
        "bools": [False, True, True, False, True, False],
        "y7": [0, 1, 2, 0, 1, 2, 0],
        "wrong": [0, 1, 3, 0, -1, 2],
        "broken": [0, 1.5, 2, 0, np.nan, 2],
        "alike": [1] * 6,
        "one_hot": np.eye(3)[[0, 1, 2, 0, 1, 2]],
        "numbers": random.random(6),
        "texts": list("abcabc"),
        "objects": np.array([0, 1, 2, 0, 1, "a"], object),
    }.items():
        np.save(tmp_path / f"{name}.npy", np.asarray(values))
    np.savez(tmp_path / "both.npz", x=random.random((6, 8, 8)), y=np.array([0, 1, 2, 0, 1, 2]))
    with h5py.File(tmp_path / "both.h5", "w") as file:
        file["group/x"] = random.random((6, 8, 8))
        file["y"] = np.array([0, 1, 2, 0, 1, 2])
    return tmp_path


def config(folder, layers, loss, inputs, targets=None, **data):
    paths = {"input_path": inputs, "target_path": targets}
    section = {"input_type": "numpy", "target_type": "numpy", "batch_size": 4, **data}
    section |= {key: str(folder / name) for key, name in paths.items() if name}
    section |= {key: str(folder / section[key]) for key in ("test_input_path", "test_target_path") if key in section}
    parts = {"optimizer": {"type": "SGD"}, "loss": {"function": loss}}
    return {"neural_network": {"layers": layers, "data": section, **parts}}


def mistakes(*args, **data):
    with pytest.raises((ConfigError, DataError)) as caught:
        prepare(config(*args, **data))
    return "\n".join(map(str, caught.value.problems))


@pytest.mark.parametrize("inputs", ["x.npy", "x1.npy"])
def test_an_array_with_another_axis_than_the_network_takes_is_many_samples(folder, inputs):
    plan = prepare(config(folder, images_to_images(), "MSE", inputs, "x1.npy"))
    assert (len(plan.training.samples), plan.datasets.shape, plan.datasets.target_shape) == (6, (1, 8, 8), (1, 8, 8))
    assert plan.training.target.samples.place(5).address.endswith("x1.npy[5]")


def test_an_array_that_the_network_takes_as_it_is_is_one_sample(folder):
    plan = prepare(config(folder, images_to_images((8, 8, 6), 6), "MSE", "x.npy", "x.npy"))
    assert (len(plan.training.samples), plan.datasets.shape) == (1, (6, 8, 8))
    assert plan.training.samples.name(0) == "x.npy"


def test_arrays_that_are_their_own_targets_are_many_samples_too(folder):
    plan = prepare(config(folder, images_to_images(), "MSE", "x.npy"))
    assert (len(plan.training.samples), plan.training.target) == (6, None)


def test_transforms_may_change_the_sizes_of_what_the_network_takes(folder):
    layers = images_to_images((4, 4, 1))
    plan = prepare(config(folder, layers, "MSE", "x1.npy", transforms=[{"center_crop": [4, 4]}]))
    assert (len(plan.training.samples), plan.datasets.shape) == (6, (1, 4, 4))


@pytest.mark.parametrize("labels", ["y.npy", "column.npy", "floats.npy", "both.npz/y", "both.h5/y"])
@pytest.mark.parametrize("inputs", ["x.npy", "both.npz/x", "both.h5/group/x"])
def test_classes_are_numbers_in_an_array(folder, labels, inputs):
    types = {"input_type": "hdf5" if ".h5" in inputs else "numpy", "target_type": "labels"}
    plan = prepare(config(folder, classifier(), "NLL", inputs, labels, **types))
    assert plan.training.samples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert (plan.classes, plan.datasets.target_shape) == (("0", "1", "2"), ())


@pytest.mark.parametrize("labels", ["y.npy", "column.npy", "floats.npy", "bools.npy"])
def test_class_numbers_may_also_be_read_as_arrays(folder, labels):
    plan = prepare(config(folder, classifier(), "NLL", "x.npy", labels))
    assert plan.datasets.target_shape == (1,)
    assert plan.training.target.dtype == np.uint8
    assert "(6 of 6 sampled)" in plan.observations["training"].target_values


def test_a_class_without_a_sample_is_still_a_class(folder):
    layers = classifier(units=5)
    assert prepare(config(folder, layers, "NLL", "x.npy", "y.npy", target_type="labels")).classes == tuple("01234")


def test_two_classes_of_one_output(folder):
    layers = classifier(units=1, activation="sigmoid")
    for kind in ("labels", "numpy"):
        assert len(prepare(config(folder, layers, "BCE", "x.npy", "bools.npy", target_type=kind)).training.samples) == 6


def test_numbers_are_targets_of_one_output(folder):
    plan = prepare(config(folder, classifier(units=1, activation="linear"), "MSE", "x.npy", "numbers.npy"))
    assert plan.datasets.target_shape == (1,)


def test_the_labels_of_the_test_are_those_of_training(folder):
    found = config(folder, classifier(), "NLL", "x.npy", "y.npy", target_type="labels")
    found["neural_network"]["data"] |= {
        "test_input_path": str(folder / "x7.npy"),
        "test_target_path": str(folder / "y7.npy"),
    }
    plan = prepare(found)
    assert plan.test.samples.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert plan.test.samples.classes == plan.training.samples.classes


@pytest.mark.parametrize("kind", ["labels", "numpy"])
@pytest.mark.parametrize(
    ("targets", "complaints"),
    [
        ("y7.npy", ["y7.npy: holds 7 along its first axis, but '", "x.npy' 6. Expected a target for each sample"]),
        (
            "wrong.npy",
            ["wrong.npy[2]: holds 3. Expected class numbers from 0 to 2", "wrong.npy[4]: holds -1", "2 of 6"],
        ),
        ("broken.npy", ["broken.npy[1]: holds 1.5", "broken.npy[4]: holds 1 of 1 values that are not finite"]),
        ("one_hot.npy", ["one-hot", "argmax"]),
        ("texts.npy", ["texts.npy: holds values of type <U1. Expected integers or floats"]),
        ("objects.npy", ["objects.npy: cannot be read. It holds Python objects, not numbers"]),
    ],
)
def test_targets_that_do_not_fit_are_refused(folder, kind, targets, complaints):
    found = mistakes(folder, classifier(), "NLL", "x.npy", targets, target_type=kind)
    for complaint in complaints:
        assert complaint in found


def test_labels_of_one_class_are_refused(folder):
    assert "all training samples are of the class '1'" in mistakes(
        folder, classifier(), "NLL", "x.npy", "alike.npy", target_type="labels"
    )


def test_samples_with_a_wrong_label_are_skipped_if_that_is_wanted(folder):
    found = config(folder, classifier(), "NLL", "x.npy", "wrong.npy", target_type="labels", on_bad_sample="skip")
    samples = prepare(found).training.samples
    assert list(samples.names) == ["x/0000000", "x/0000001", "x/0000003", "x/0000005"]
    assert samples.labels.tolist() == [0, 1, 0, 2]
    assert [reason.split(": ", 1)[1] for reason in samples.unreadable] == [
        "holds 3. Expected class numbers from 0 to 2",
        "holds -1. Expected class numbers from 0 to 2",
    ]


def test_what_may_be_one_sample_or_many_is_refused_until_a_key_decides(folder):
    layers = classifier(declared=False)
    assert "neural_network.data.stacked: '" in mistakes(folder, layers, "NLL", "x.npy", "y.npy")
    plan = prepare(config(folder, layers, "NLL", "x.npy", "y.npy", stacked=True))
    assert len(plan.training.samples) == 6
    assert "the target has shape (6,)" in mistakes(folder, layers, "NLL", "x.npy", "y.npy", stacked=False)


def test_labels_decide_that_an_array_holds_many_samples(folder):
    found = config(folder, classifier(declared=False), "NLL", "x.npy", "y.npy", target_type="labels")
    plan = prepare(found)
    assert (len(plan.training.samples), plan.classes) == (6, ("0", "1", "2"))


def test_several_arrays_of_many_samples_need_the_key(folder):
    for name in ("in", "out"):
        (folder / name).mkdir()
        for part, rows in (("a", slice(0, 2)), ("b", slice(2, 6))):
            np.save(folder / name / f"{part}.npy", np.load(folder / "x1.npy")[rows])
    assert '2 samples in one array: "stacked": true reads each' in mistakes(
        folder, images_to_images(), "MSE", "in", "out"
    )
    plan = prepare(config(folder, images_to_images(), "MSE", "in", "out", stacked=True))
    assert [plan.training.samples.name(i) for i in (1, 2)] == ["a/0000001", "b/0000000"]


def test_a_file_of_several_arrays_gets_the_path_of_one_as_its_cure(folder):
    assert f"'{folder}/both.npz/x', also does" in mistakes(folder, classifier(), "NLL", "both.npz", "both.npz")


def test_channels_that_are_last_are_named(folder):
    found = mistakes(folder, images_to_images(), "MSE", "last.npy", "x1.npy")
    assert "got (8, 8, 1) from" in found
    assert 'last.npy[0]\'. Its channels are last: "channels": "last" reads them so' in found


def test_samples_without_targets_are_found_alike(folder):
    found = config(folder, classifier(), "NLL", None, target_type=None, test_input_path="x1.npy")
    found["neural_network"] |= {"optimizer": None}
    plan = prepare(found)
    assert (plan.is_inference, len(plan.test.samples), plan.test.samples.name(3)) == (True, 6, "x1/0000003")


@pytest.mark.parametrize("kind", ["numpy", "hdf5"])
@pytest.mark.parametrize("many", [True, False])
def test_channels_that_are_last_come_first(tmp_path, kind, many):
    random = np.random.default_rng(0)
    inputs, targets = (random.normal(size=(6, 4, 5, number)).astype(np.float32) for number in (3, 2))
    suffix = {"numpy": "npy", "hdf5": "h5"}[kind]
    for name, arrays in (("x", inputs), ("y", targets)):
        folder = tmp_path / name
        folder.mkdir()
        for number, array in [("all", arrays)] if many else list(enumerate(arrays)):
            if kind == "numpy":
                np.save(folder / f"{number}.npy", array)
            else:
                with h5py.File(folder / f"{number}.h5", "w") as file:
                    file["a"] = array
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4, 5, 3]}},
        {"class_name": "Conv2D", "config": {"filters": 2, "kernel_size": 1}},
    ]
    paths = {f"{side}_path": str(tmp_path / name) for side, name in (("input", "x"), ("target", "y"))}
    whole = {
        "neural_network": {
            "layers": layers,
            "data": {"type": kind, "channels": "last", **paths},
            "optimizer": {"type": "SGD"},
            "loss": {"function": "MSE"},
        }
    }
    plan = prepare(whole)
    for side, arrays in (("input", inputs), ("target", targets)):
        found = getattr(plan.training, side)
        places = [found.samples.place(i) for i in range(6)]
        rows = np.zeros((6, *found.shape), found.dtype)
        assert found.decoding.fill(places[::-1], rows) == [""] * 6
        assert np.array_equal(rows[::-1], np.moveaxis(arrays, -1, 1)), (side, suffix)
