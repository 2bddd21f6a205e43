"""Whole runs on images in shards, compared with those on the folder that they are made of."""

import tarfile

import numpy as np
import pytest

import rayrml
from rayrml.data import packing
from tests.conftest import datasets_of, training_config

pytestmark = pytest.mark.ray

FIGURES = ("train_loss", "test_loss", "accuracy")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, write_digits):
    """The same images in folders, packed, and in tar files."""
    path = tmp_path_factory.mktemp("shards")
    for part in ("training", "testing"):
        write_digits(path / "folder" / part, part, (1, 4, 7), 7)
        (path / "packed").mkdir(exist_ok=True)
        files = sorted((path / "folder" / part).rglob("*.jpg"))
        source, out = str(path / "folder" / part), str(path / "packed" / part)
        packing.pack(source, out, shard_bytes=files[0].stat().st_size * 5, say=lambda done, found: None)
        (path / "tars" / part).mkdir(parents=True)
        for shard in range(3):
            with tarfile.open(path / "tars" / part / f"{shard}.tar", "w") as archive:
                for file in files[shard::3]:
                    archive.add(file, str(file.relative_to(path / "folder" / part)))
    return path


@pytest.mark.parametrize(("kind", "num_workers"), [("packed", 2), ("tars", 1)])
def test_a_run_on_shards_is_that_on_the_folder(ray_cluster, folders, kind, num_workers):
    results, predictions = [], []
    for name in ("folder", kind):
        out = folders / f"run_{name}_{num_workers}"
        out.mkdir()
        config = training_config(folders / name, out, preload=False)
        results.append(rayrml.run(config, num_workers=num_workers, quiet=True))
        predictions.append(datasets_of(out / "predictions" / "output_2.h5"))
    of_folder, of_shards = ([[row[name] for name in FIGURES] for row in result.history] for result in results)
    assert of_shards == of_folder
    assert list(predictions[0]) == list(predictions[1])
    assert all(np.array_equal(own, other) for own, other in zip(*(p.values() for p in predictions), strict=True))
