"""Small files of every kind that a configuration can name, and mutations of them."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from PIL import Image

from rayrml.config.json_files import read_json
from rayrml.config.reading import override, parse
from rayrml.config.tables import choose
from rayrml.data.addresses import Place
from rayrml.data.decoding import Decoding, read_sample
from rayrml.data.readers import READERS
from rayrml.errors import ConfigError, DataError
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.keras_weights import export_weights, load_weights
from tests.faults.fuzzing import Case
from tests.faults.mutations import spoiled

LAYERS = [
    {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 4]}},
    {"class_name": "Dense", "config": {"name": "first", "units": 3}},
    {"class_name": "BatchNormalization", "config": {"name": "norm"}},
    {"class_name": "Dense", "config": {"name": "second", "units": 2}},
]


class File(NamedTuple):
    """A valid file, and the function that reads files of its kind."""

    name: str
    content: bytes
    read: Callable[[Path], Any]


def corpus(folder: Path) -> list[File]:
    """Files of every kind; a kind that is to be tried more often is listed several times."""
    return [*_weights(folder), *_arrays(folder), *_idx(), *_images(), *_texts()]


def _weights(folder: Path) -> list[File]:
    network = build_network(LAYERS)
    export_weights(network, folder / "made.h5")
    saved = checkpoints.Checkpoint(
        3, network.state_dict(), LAYERS, (4,), history=[{"loss": 0.5}], optimizer={"state": {}}
    )
    checkpoints.save(folder / "made.pt", saved)
    torch.save(network.state_dict(), folder / "state.pt")
    torch.save(network.state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    with h5py.File(folder / "made.weights.h5", "w") as file:
        for name, values in (("dense", (4, 3)), ("dense_1", (3, 2))):
            for i, shape in enumerate((values, values[1:])):
                file[f"layers/{name}/vars/{i}"] = np.ones(shape, np.float32)
        for i in range(4):
            file[f"layers/batch_normalization/vars/{i}"] = np.ones(3, np.float32)
    keras = io.BytesIO()
    with zipfile.ZipFile(keras, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": LAYERS}}))
        archive.writestr("model.weights.h5", (folder / "made.weights.h5").read_bytes())
    return [
        *(
            File(name, (folder / name).read_bytes(), _load_checkpoint)
            for name in ("made.pt", "made.pt", "state.pt", "old.pt")
        ),
        *(File(name, (folder / name).read_bytes(), _load_keras) for name in ("made.h5", "made.weights.h5") * 2),
        File("made.keras", keras.getvalue(), _load_keras),
    ]


def _load_checkpoint(path: Path) -> None:
    loaded = checkpoints.load(path)
    network = build_network(LAYERS if loaded.layers is None else loaded.layers)
    checkpoints.load_into(network, loaded.network, path)


def _load_keras(path: Path) -> None:
    load_weights(build_network(LAYERS), path)


def _arrays(folder: Path) -> list[File]:
    array = np.arange(240, dtype=np.float32).reshape(2, 12, 10)
    made: dict[str, bytes] = {}
    for name, write in (("a.npy", np.save), ("a.npz", np.savez), ("packed.npz", np.savez_compressed)):
        content = io.BytesIO()
        write(content, array)
        made[name] = content.getvalue()
    for name, version in (("old.h5", "earliest"), ("new.h5", "latest")):
        with h5py.File(folder / name, "w", libver=version) as file:
            file["plain"] = array
            file.create_dataset("group/chunked", data=array, chunks=(1, 4, 5), compression="gzip", shuffle=True)
            file["group/soft"] = h5py.SoftLink("/plain")
            file.attrs["note"] = ["some", "words"]
            if version == "latest":
                for own, source in (("view", "plain"), ("second", "view")):
                    layout = h5py.VirtualLayout(array.shape, array.dtype)
                    layout[:] = h5py.VirtualSource(".", source, shape=array.shape)
                    file.create_virtual_dataset(own, layout)
        made[name] = (folder / name).read_bytes()
    counts = {"old.h5": 3, "new.h5": 3}
    return [
        File(name, content, _reading("hdf5" if name.endswith("h5") else "numpy"))
        for name, content in made.items()
        for _ in range(counts.get(name, 1))
    ]


def _idx() -> list[File]:
    images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 4]) + bytes(range(40))
    reading = _reading("mnist")
    return [File("a-images-idx3", images, reading), File("a-images-idx3.gz", gzip.compress(images), reading)]


def _images() -> list[File]:
    pixels = np.arange(20 * 16 * 3, dtype=np.uint8).reshape(20, 16, 3)
    files: list[File] = []
    for name, kind, more in (
        ("a.jpg", "JPEG", {}), ("b.jpg", "JPEG", {"progressive": True, "exif": Image.Exif()}), ("a.png", "PNG", {}),
        ("a.bmp", "BMP", {}), ("a.tif", "TIFF", {}), ("lzw.tif", "TIFF", {"compression": "tiff_lzw"}),
        ("a.webp", "WEBP", {}), ("a.gif", "GIF", {}),
    ):  # fmt: skip
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, kind, **more)
        files.append(File(name, content.getvalue(), _reading("images")))
    return files


def _texts() -> list[File]:
    text = json.dumps({"neural_network": {"layers": LAYERS, "data": {"input_path": "x"}, "num_epochs": 3}}).encode()
    return [File("config.json", text, _parse), File("network.json", json.dumps(LAYERS).encode(), build_network)] * 2


def _parse(path: Path) -> None:
    _, mistakes = parse(override(read_json(path), {}))
    if mistakes:
        raise ConfigError(*mistakes)


def _reading(kind: str) -> Callable[[Path], None]:
    """A function that reads every array of a file like decoding tasks do."""

    def read(path: Path) -> None:
        reader = READERS[kind]()
        # Arrays may have any shape before they are prepared.
        decoding = Decoding(choose(READERS, {"type": kind}, ""), (), np.dtype("f4"), "the first", np.asarray)
        names = reader.contents(str(path)) if reader.contents else [""]
        with reader.open(str(path)) as get:
            for name in names:
                read_sample(get, Place(str(path), name), decoding)

    return read


def cases(folder: Path) -> Case:
    """A mutated file is read, or refused with its name in each line; the original is valid."""
    files = corpus(folder)
    for number, file in enumerate(files):
        path = folder / f"right_{number}_{file.name}"
        path.write_bytes(file.content)
        file.read(path)

    def case(r: random.Random) -> None:
        file = r.choice(files)
        # A unique name: files are cached in memory by name.
        path = folder / f"{r.getrandbits(64)}_{file.name}"
        path.write_bytes(spoiled(r, file.content))
        try:
            file.read(path)
        except (ConfigError, DataError) as error:
            places = (str(path), "layers", "neural_network")  # the last two are places in JSON
            if not all(any(place in str(problem) for place in places) for problem in error.problems):
                raise RuntimeError(f"the file is not named: {error}") from None
            raise
        finally:
            path.unlink()

    return case
