"""Bad inputs and targets among images, arrays and slices, and many bad samples in a large dataset."""

import h5py
import numpy as np
import pytest
from PIL import Image

import rayrml
from tests.conftest import datasets_of, dense_network, write_jpeg

pytestmark = pytest.mark.ray

CONV = {"class_name": "Conv2D", "config": {"name": "conv", "filters": 1, "kernel_size": 1}}


def config(folder, out, shape, **data):
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, *shape, 1], "name": "input"}}
    return {
        "neural_network": {
            "outfile": str(out / "out.txt"),
            "num_epochs": 2,
            "layers": [first, CONV],
            "data": {
                "input_path": str(folder / "in"),
                "target_path": str(folder / "target"),
                "test_input_path": str(folder / "in"),
                "test_target_path": str(folder / "target"),
                "test_output_path": str(out / "predictions"),
                "batch_size": 3,
                "on_bad_sample": "skip",
                **data,
            },
            "optimizer": {"type": "SGD", "learning_rate": 0.01},
            "loss": {"function": "MSE"},
        }
    }


@pytest.mark.parametrize(("num_workers", "preload"), [(1, True), (2, False)])
def test_a_pair_of_images_is_bad_if_either_side_is(ray_cluster, tmp_path, capsys, num_workers, preload):
    for part in ("in", "target"):
        for number in range(9):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.new("L", (8, 6), 20 * number).save(tmp_path / part / f"{number}.png")
    (tmp_path / "in" / "0.png").write_bytes(b"")
    (tmp_path / "target" / "4.png").write_bytes(b"")
    for part in ("in", "target"):
        Image.new("L", (9, 6)).save(tmp_path / part / "7.png")
    images = {"type": "images", "grayscale": True, "preload": preload}
    result = rayrml.run(config(tmp_path, tmp_path, (6, 8), **images), num_workers=num_workers)
    assert sorted(datasets_of(result.predictions[-1])) == [f"{n}.png" for n in (1, 2, 3, 5, 6, 8)]
    log = capsys.readouterr().out
    for part in ("training", "test"):
        assert log.count(f"3 of 9 {part} samples cannot be used") == 1
        assert f"Skipping them: 6 {part} samples remain" in log


@pytest.mark.parametrize("kind", ["numpy", "hdf5"])
def test_arrays_are_skipped_where_their_files_are_damaged(ray_cluster, tmp_path, capsys, kind):
    for part in ("in", "target"):
        (tmp_path / part).mkdir()
        for number in range(7):
            arrays = {"x": np.full((6, 8), number, "f4"), "y": np.full((6, 8), -number, "f4")}
            if kind == "numpy":
                np.savez(tmp_path / part / f"{number}.npz", **arrays)
                continue
            with h5py.File(tmp_path / part / f"{number}.h5", "w") as file:
                for name, array in arrays.items():
                    file.create_dataset(name, data=array, compression="gzip")
    ending = "npz" if kind == "numpy" else "h5"
    (tmp_path / "in" / f"0.{ending}").write_bytes(b"damaged")
    (tmp_path / "target" / f"3.{ending}").write_bytes(b"")
    result = rayrml.run(config(tmp_path, tmp_path, (6, 8), type=kind, preload=kind == "numpy"))
    names = [f"{n}.{ending}/{name}" for n in (1, 2, 4, 5, 6) for name in ("x", "y")]
    assert sorted(datasets_of(result.predictions[-1])) == names
    log = capsys.readouterr().out
    assert log.count("2 of 12 training samples cannot be used") == 1
    assert log.count("2 of 12 test samples cannot be used") == 1


@pytest.mark.parametrize("preload", [True, False])
def test_slices_of_damaged_chunks_are_empty_cells_of_the_assembled_file(ray_cluster, tmp_path, capsys, preload):
    values = np.random.default_rng(0).normal(size=(8, 16)).astype("f4")
    with h5py.File(tmp_path / "volume.h5", "w") as file:
        dataset = file.create_dataset("x", data=values, chunks=(4, 4), fletcher32=True)
        place = dataset.id.get_chunk_info(2)
    content = bytearray((tmp_path / "volume.h5").read_bytes())
    content[place.byte_offset] ^= 0xFF
    (tmp_path / "volume.h5").write_bytes(content)
    data = {
        "type": "hdf5",
        "preload": preload,
        "slicers": [{"sizes": [4, 4]}],
        "hdf5_outfile": str(tmp_path / "together.h5"),
        "input_path": str(tmp_path / "volume.h5"),
        "target_path": str(tmp_path / "volume.h5"),
        "test_input_path": str(tmp_path / "volume.h5"),
        "test_target_path": str(tmp_path / "volume.h5"),
    }
    rayrml.run(config(tmp_path, tmp_path, (4, 4), **data), quiet=True)
    with h5py.File(tmp_path / "together.h5") as file:
        together = file["slicer_0"][..., 0]
        assert file["slicer_0"].attrs["uncovered"] == 16
    damaged = np.zeros((8, 16), bool)
    damaged[place.chunk_offset[0] :, place.chunk_offset[1] :][:4, :4] = True
    assert np.array_equal(np.isnan(together), damaged)


def test_many_bad_samples_among_many_are_counted_right(ray_cluster, tmp_path, capsys):
    random = np.random.default_rng(0)
    for number in range(6_000):
        path = tmp_path / "training" / "147"[number % 3] / f"{number:04}.jpg"
        if number % 30 == 7:
            path.write_bytes(b"no image")
        elif number < 30:
            write_jpeg(path, random.integers(0, 255, (28, 28), dtype=np.uint8))
        else:
            path.hardlink_to(path.with_name(f"{number % 30:04}.jpg"))
    for number, (num_workers, preload) in enumerate([(1, True), (2, False)]):
        out = tmp_path / str(number)
        result = rayrml.run(
            {
                "neural_network": {
                    "outfile": str(out / "out.txt"),
                    "layers": dense_network(3),
                    "data": {
                        "input_type": "images",
                        "target_type": "labels",
                        "input_path": str(tmp_path / "training"),
                        "batch_size": 64,
                        "grayscale": True,
                        "preload": preload,
                        "on_bad_sample": "skip",
                    },
                    "optimizer": {"type": "SGD", "learning_rate": 0.01},
                    "loss": {"function": "NLL"},
                }
            },
            num_workers=num_workers,
        )
        log = capsys.readouterr().out
        assert log.count("200 of 6000 training samples cannot be used") == 1
        assert log.count("0007.jpg: cannot be read") == 1
        assert "... and 190 more" in log
        rows = (out / "out_train.txt").read_text().splitlines()
        assert len(rows) == -(-(5_800 if preload else 6_000) // 64)
        assert np.isfinite(result.metrics["train_loss"])
