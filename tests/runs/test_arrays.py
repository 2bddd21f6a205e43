"""Complete runs on arrays, slices and equations on the session's Ray."""

import gzip
import struct

import h5py
import numpy as np
import pytest
import torch

import rayrml
from rayrml.data import kept_arrays
from rayrml.errors import DataError
from rayrml.saving import checkpoints

pytestmark = pytest.mark.ray


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


def voxel_network(size, classes=3):
    return [
        layer("InputLayer", "input", batch_input_shape=[None, *size, 1]),
        layer("Conv3D", "conv", filters=4, kernel_size=3, padding="same", activation="relu"),
        layer("Conv3D", "classes", filters=classes, kernel_size=1, activation="log_softmax"),
    ]


@pytest.fixture(scope="session")
def volume(tmp_path_factory):
    """A folder with volumes of noise above, between and below two levels, and with their class numbers."""
    path = tmp_path_factory.mktemp("volume")
    random = np.random.default_rng(0)
    with h5py.File(path / "volumes.h5", "w") as file:
        for part, shape in (("training", (18, 9, 12)), ("test", (13, 9, 10))):
            classes = np.broadcast_to(np.arange(shape[2]) * 3 // shape[2], shape).astype(np.int64)
            file[f"{part}/amplitude"] = (classes + random.normal(0, 0.1, shape)).astype(np.float16)
            file[f"{part}/classes"] = classes
    return path


def slicing(volume, out, **slicer):
    return {
        "neural_network": {
            "num_epochs": 2,
            "layers": voxel_network((6, 4, 6)),
            "checkpoints": {"save": str(out / "model")},
            "data": {
                "type": "hdf5",
                "input_path": str(volume / "volumes.h5" / "training" / "amplitude"),
                "target_path": str(volume / "volumes.h5" / "training" / "classes"),
                "test_input_path": str(volume / "volumes.h5" / "test" / "amplitude"),
                "test_target_path": str(volume / "volumes.h5" / "test" / "classes"),
                "batch_size": 5,
                "test_batch_size": 4,
                "slicers": [{"sizes": [6, 4, 6], "strides": [4, 4, 3], **slicer}],
                "test_output_path": str(out / "predictions"),
                "hdf5_outfile": str(out / "assembled.h5"),
            },
            "optimizer": {"type": "SGD", "learning_rate": 0.1},
            "loss": {"function": "NLL"},
        }
    }


@pytest.fixture(scope="session")
def runs(ray_cluster, volume):
    results = {}
    for num_workers, preload in ((1, False), (2, False), (1, True)):
        out = volume / f"run_{num_workers}_{preload}"
        overrides = {"data.preload": preload}
        results[num_workers, preload] = (
            rayrml.run(slicing(volume, out), num_workers=num_workers, overrides=overrides, quiet=True),
            out,
        )
    return results


def weights(run):
    return checkpoints.load(run[0].checkpoints[-1]).network


def test_slices_train_the_same_network_with_one_and_two_workers(runs):
    alone, together = weights(runs[1, False]), weights(runs[2, False])
    for name, tensor in alone.items():
        assert torch.allclose(together[name], tensor, atol=1e-6), name
    assert runs[1, False][0].metrics["dice"] == pytest.approx(runs[2, False][0].metrics["dice"])


@pytest.mark.parametrize("key", [(1, False), (2, False), (1, True)])
def test_assembled_predictions_are_the_means_of_the_predictions_of_slices(runs, key):
    _, out = runs[key]
    shape = (13, 9, 10)
    sums, counts = np.zeros((*shape, 3)), np.zeros(shape)
    with h5py.File(out / "predictions" / "output_2.h5") as file:
        for name in file:
            starts, stops = np.array([span.split(":") for span in name.split(",")], int).T
            inside = tuple(slice(a, min(b, n)) for a, b, n in zip(starts, stops, shape, strict=True))
            part = file[name][()].transpose(1, 2, 3, 0)
            sums[inside] += part[tuple(slice(0, s.stop - s.start) for s in inside)]
            counts[inside] += 1
    with h5py.File(out / "assembled.h5") as file:
        np.testing.assert_allclose(file["slicer_0"][()], sums / counts[..., None], atol=1e-6)


OVERLAPPING = {"strides": [1, 2, 6]}  # ten slices have each cell


@pytest.fixture(scope="session")
def overlapping(ray_cluster, volume):
    results = {}
    for num_workers, preload in ((1, False), (1, True), (3, True)):
        out = volume / f"overlapping_{num_workers}_{preload}"
        config = slicing(volume, out, **OVERLAPPING)
        result = rayrml.run(config, num_workers=num_workers, overrides={"data.preload": preload}, quiet=True)
        results[num_workers, preload] = result, out
    return results


@pytest.mark.parametrize("num_workers", [1, 3])
def test_slices_of_kept_arrays_train_the_network_that_slices_from_the_file_train(overlapping, volume, num_workers):
    (result, _), (expected, _) = overlapping[num_workers, True], overlapping[1, False]
    plan = rayrml.check(slicing(volume, volume, **OVERLAPPING))
    assert kept_arrays.count_bytes(plan.training) and kept_arrays.count_bytes(plan.test)
    for name, tensor in weights((expected, None)).items():
        assert torch.allclose(weights((result, None))[name], tensor, atol=1e-6), name
    assert result.metrics["test_loss"] == pytest.approx(expected.metrics["test_loss"])


def test_a_resumed_run_on_kept_arrays_ends_as_one_that_was_not_interrupted(overlapping, volume, tmp_path):
    config = slicing(volume, tmp_path, **OVERLAPPING)
    config["neural_network"]["data"]["preload"] = True
    rayrml.run(config, num_workers=2, overrides={"num_epochs": 1}, quiet=True)
    resumed = rayrml.run(config, num_workers=3, resume=True, quiet=True)
    for name, tensor in weights(overlapping[1, False]).items():
        assert torch.allclose(weights((resumed, None))[name], tensor, atol=1e-6), name


def identity(size):
    return [
        layer("InputLayer", "input", batch_input_shape=[None, *size, 1]),
        layer("Activation", "same", activation="linear"),
    ]


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("precision", ["single", "half"])
def test_slicing_predicting_nothing_new_and_assembling_gives_the_array_back(
    ray_cluster, tmp_path, num_workers, precision
):
    array = np.random.default_rng(0).normal(size=(7, 11, 9)).astype(np.float32)
    np.save(tmp_path / "array.npy", array)
    config = {
        "neural_network": {
            "layers": identity((12, 6)),
            "data": {
                "input_type": "numpy",
                "test_input_path": str(tmp_path / "array.npy"),
                "test_batch_size": 3,
                "slicers": [
                    {"name": "yz", "sizes": [1, 10, 4], "padding": [0, 1, 1], "padding_mode": "neighbors"},
                    {
                        "name": "xz",
                        "sizes": [5, 1, 9],
                        "padded_sizes": [6, 1, 12],
                        "strides": [2, 1, 9],
                        "transpose": True,
                    },
                ],
                "hdf5_outfile": str(tmp_path / "out.h5"),
                "hdf5_precision": precision,
            },
        }
    }
    result = rayrml.run(config, num_workers=num_workers, quiet=True)
    assert result.predictions == [str(tmp_path / "out.h5")]
    expected = array if precision == "single" else array.astype(np.float16)
    with h5py.File(tmp_path / "out.h5") as file:
        for name in ("yz", "xz"):
            np.testing.assert_array_equal(file[name][..., 0], expected)


def test_a_slice_that_cannot_be_read_leaves_no_assembled_file(ray_cluster, tmp_path):
    (tmp_path / "arrays").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / "arrays" / f"{name}.npy", np.ones((4, 4)))
    config = {
        "neural_network": {
            "layers": identity((2, 2)),
            "data": {
                "input_type": "numpy",
                "test_input_path": str(tmp_path / "arrays"),
                "slicers": [{"sizes": [2, 2]}],
                "hdf5_outfile": str(tmp_path / "out.h5"),
                "test_output_path": str(tmp_path / "predictions"),
            },
        }
    }
    plan = rayrml.check(config)
    (tmp_path / "arrays" / "b.npy").write_bytes(b"damaged")
    from rayrml.cluster import connection
    from rayrml.inference import batch_job
    from rayrml.inference.outputs import destination_of

    nn = plan.config.neural_network
    job = batch_job.InferenceJob(
        config=nn,
        network=plan.network,
        source=plan.test,
        transforms=plan.datasets.transforms,
        loss=None,
        destination=destination_of(plan.test, nn, 1, ()),
    )
    with (
        connection.connect(plan.config.ray) as allocation,
        pytest.raises(DataError, match=r"4 of 8 samples have no prediction; the other 4 have"),
    ):
        batch_job.predict(job, allocation, lambda done: None)
    assert not (tmp_path / "out.h5").exists()
    with h5py.File(tmp_path / "predictions" / "output_1.h5") as file:
        assert list(file["a.npy"]) == ["0:2,0:2", "0:2,2:4", "2:4,0:2", "2:4,2:4"]


def test_arrays_that_do_not_fit_into_memory_are_refused_with_their_size(ray_cluster, tmp_path):
    # The file takes no space on the disk, as nothing is written to it.
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (4096, 4096, 4096))
    config = {
        "neural_network": {
            "layers": voxel_network((64, 4096, 4096), classes=2),
            "data": {
                "type": "numpy",
                "input_path": str(tmp_path / "large.npy"),
                "preload": True,
                "batch_size": 1,
                "slicers": [{"sizes": [64, 4096, 4096]}],
            },
            "optimizer": {"type": "SGD"},
            "loss": {"function": "MAE"},
        }
    }
    config["neural_network"]["layers"][-1]["config"] |= {"filters": 1, "activation": "sigmoid"}
    message = r"need 275 GB of memory in each worker, but .* are available\. Set \"preload\": false"
    with pytest.raises(DataError, match=message):
        rayrml.run(config, quiet=True)


def test_idx_files_train_a_classifier_of_digits(ray_cluster, digits, tmp_path):
    for part, name in (("training", "train"), ("testing", "t10k")):
        images, labels = digits[part]
        chosen = np.flatnonzero(labels < 3)[:300]
        for kind, array in (("images-idx3", images[chosen]), ("labels-idx1", labels[chosen].astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (tmp_path / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    config = {
        "neural_network": {
            "num_epochs": 3,
            "layers": [
                layer("InputLayer", "input", batch_input_shape=[None, 28, 28, 1]),
                layer("Flatten", "flat"),
                layer("Dense", "classes", units=3, activation="log_softmax"),
            ],
            "data": {
                "input_type": "mnist",
                "target_type": "labels",
                "input_path": str(tmp_path),
                "test_input_path": str(tmp_path),
                "test_output_path": str(tmp_path / "predictions"),
                "batch_size": 16,
                "preload": True,
            },
            "optimizer": {"type": "Adam", "learning_rate": 0.01},
            "loss": {"function": "NLL"},
        }
    }
    result = rayrml.run(config, quiet=True)
    assert result.metrics["accuracy"] > 0.95
    assert result.classes == ("0", "1", "2")
    with h5py.File(result.predictions[-1]) as file:
        assert sorted(map(int, file)) == list(range(300))


def poisson(folder, out, **more):
    return {
        "neural_network": {
            "app": "pde",
            "num_epochs": 4,
            "layers": [
                layer("InputLayer", "input", batch_input_shape=[None, 8, 8, 1]),
                layer("Conv2D", "conv", filters=4, kernel_size=3, padding="same", activation="tanh"),
                layer("Conv2D", "solution", filters=1, kernel_size=3, padding="same", activation="sigmoid"),
            ],
            "data": {
                "type": "numpy",
                "input_path": str(folder),
                "target_path": str(folder),
                "test_input_path": str(folder),
                "test_output_path": str(out),
                "batch_size": 4,
                "preload": True,
            },
            "optimizer": {"type": "Adam", "learning_rate": 0.03},
            "loss": {"function": "Poisson2D_PDE"},
            **more,
        }
    }


def test_a_solver_of_poissons_equation_learns_and_predicts_with_its_boundary_values(ray_cluster, tmp_path):
    folder = tmp_path / "diffusivity"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        # Without a channel axis, as scripts write them.
        np.save(folder / f"nu_{number}.npy", np.exp(random.normal(0, 0.3, (8, 8))))
    config = poisson(folder, tmp_path / "out")
    result = rayrml.run(config, quiet=True)
    losses = [epoch["train_loss"] for epoch in result.history]
    assert losses[-1] < 0.8 * losses[0]
    config["neural_network"] |= {"optimizer": None, "num_epochs": 1}
    config["neural_network"]["data"] |= {"input_path": None, "target_path": None, "input_type": "numpy", "type": None}
    config["neural_network"]["data"]["test_output_path"] = str(tmp_path / "alone")
    alone = rayrml.run(config, overrides={"checkpoints.load": None}, quiet=True)
    for path in (result.predictions[-1], alone.predictions[-1]):
        with h5py.File(path) as file:
            assert sorted(file) == sorted(f"nu_{n}.npy" for n in range(12))
            solution = file["nu_3.npy"][()]
        assert solution.shape == (1, 8, 8)
        assert (solution[0, 0] == 1).all()
        assert (solution[0, -1] == 0).all()
        assert (solution[0, 1:-1] > 0).all()


def test_a_solver_of_burgers_equation_learns_from_initial_conditions_alone(ray_cluster, tmp_path):
    config = {
        "neural_network": {
            "app": "pde",
            "outfile": str(tmp_path / "out.txt"),
            "num_epochs": 6,
            "layers": [
                layer("InputLayer", "input", batch_input_shape=[None, 16, 1]),
                layer("Conv1D", "conv", filters=8, kernel_size=5, padding="same", activation="relu"),
                layer("Flatten", "flat"),
                layer("Dense", "dense", units=128),
                layer("Reshape", "times", target_shape=[8, 16, 1]),
            ],
            "data": {
                "type": "pde",
                "domain_size": 16,
                "num_examples": 24,
                "batch_size": 6,
                "num_test_examples": 5,
                "bc_frequency": [1, 2],
                "bc_type": "random_uniform",
            },
            "optimizer": {"type": "Adam", "learning_rate": 0.01},
            "loss": {"function": "Burgers_pde", "diffusion_coeff": 0.01, "boundary_factor": 64},
        }
    }
    result = rayrml.run(config, num_workers=2, quiet=True)
    losses = [epoch["test_loss"] for epoch in result.history]
    assert losses[-1] < 0.5 * losses[0]
    assert len((tmp_path / "out_train.txt").read_text().splitlines()) == 24


SIDES = [
    {"name": "yz", "sizes": [1, 5, 6], "padded_sizes": [1, 6, 8]},
    {"name": "xz", "sizes": [4, 1, 10], "transpose": True},
]


def sections(volume, out, **keys):
    """A run on slices of two shapes, with a network that declares a third one."""
    config = slicing(volume, out)
    nn = config["neural_network"]
    nn["layers"] = [
        layer("InputLayer", "input", batch_input_shape=[None, 16, 16, 1]),
        layer("Conv2D", "conv", filters=4, kernel_size=3, padding="same", activation="relu"),
        layer("Conv2D", "classes", filters=3, kernel_size=1, activation="log_softmax"),
    ]
    nn["data"] |= {"slicers": SIDES, "batch_size": 7, "test_batch_size": 5, **keys}
    return config


@pytest.fixture(scope="session")
def two_shapes(ray_cluster, volume):
    results = {}
    for num_workers, preload in ((1, False), (2, False), (1, True)):
        out = volume / f"sections_{num_workers}_{preload}"
        config = sections(volume, out, preload=preload)
        results[num_workers, preload] = rayrml.run(config, num_workers=num_workers, quiet=True), out
    return results


def test_slices_of_two_shapes_train_the_same_network_with_one_and_two_workers(two_shapes):
    alone, together = weights(two_shapes[1, False]), weights(two_shapes[2, False])
    for name, tensor in alone.items():
        assert torch.allclose(together[name], tensor, atol=1e-6), name
    figures = [two_shapes[key][0].metrics for key in ((1, False), (2, False))]
    assert figures[0]["test_loss"] == pytest.approx(figures[1]["test_loss"])


@pytest.mark.parametrize("key", [(1, False), (2, False), (1, True)])
def test_each_slicer_has_a_dataset_of_its_slices_predictions(two_shapes, key):
    result, out = two_shapes[key]
    kept = checkpoints.load(result.checkpoints[-1])
    network = rayrml.build_network(kept.layers, kept.input_shape).eval()
    checkpoints.load_into(network, kept.network, "checkpoint")
    with h5py.File(out.parent / "volumes.h5") as file:
        array = torch.from_numpy(file["test/amplitude"][()].astype("f4"))
    with torch.no_grad(), h5py.File(out / "assembled.h5") as file:
        for y in (0, 8):
            section = torch.nn.functional.pad(array[:4, y, :10].T, (0, 0))
            expected = network(section[None, None])[0].permute(2, 1, 0)
            np.testing.assert_allclose(file["xz"][:4, y, :10], expected, atol=1e-6)
        assert file["yz"].shape == file["xz"].shape == (13, 9, 10, 3)
        assert not np.isnan(file["yz"][()]).any() and not np.isnan(file["xz"][()]).any()
    with h5py.File(out / "predictions" / "output_2.h5") as file:
        assert (len(file["yz"]), len(file["xz"])) == (13 * 2 * 2, 4 * 9)
        assert {member.shape for member in file["yz"].values()} == {(3, 6, 8)}
        assert {member.shape for member in file["xz"].values()} == {(3, 10, 4)}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_inference_gives_each_slicer_a_dataset(two_shapes, tmp_path, num_workers):
    result, out = two_shapes[1, False]
    config = sections(out.parent, tmp_path)["neural_network"]
    keys = ("type", "test_input_path", "slicers", "hdf5_outfile")
    data = {"input_type" if key == "type" else key: config["data"][key] for key in keys}
    checkpoint = {"load": str(result.checkpoints[-1])}
    rayrml.run(
        {"neural_network": {"layers": config["layers"], "checkpoints": checkpoint, "data": data}},
        num_workers=num_workers,
        quiet=True,
    )
    with h5py.File(tmp_path / "assembled.h5") as file, h5py.File(out / "assembled.h5") as expected:
        for name in ("yz", "xz"):
            np.testing.assert_allclose(file[name][()], expected[name][()], atol=1e-6)


def test_a_network_that_does_not_take_the_samples_of_a_slicer_is_refused_with_their_shape(volume, tmp_path):
    config = sections(volume, tmp_path)
    config["neural_network"]["layers"].insert(1, layer("MaxPooling2D", "down", pool_size=8))
    config["neural_network"]["layers"].insert(2, layer("UpSampling2D", "up", size=8))
    with pytest.raises(rayrml.errors.ConfigError, match=r"got \(1, 6, 8\) from .*MaxPooling2D 'down' on \(1, 6, 8\)"):
        rayrml.check(config)
