"""Files that were made to do harm: nothing is run, no other file is read or written, no memory is taken."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import rayrml
from rayrml.data.discovery import find_samples
from rayrml.data.naming import check_names
from rayrml.data.readers import READERS
from rayrml.data.slicers import slicer
from rayrml.errors import ConfigError, DataError
from rayrml.inference.slice_assembly import SliceAssembly
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.saving.keras_weights import export_weights, load_weights
from tests.conftest import dense_network
from tests.inference.test_slice_assembly import contents, parts_of, read_all

NUMPY, HDF5, IMAGES, MNIST = (READERS[name]() for name in ("numpy", "hdf5", "images", "mnist"))


class Bomb:
    """An object whose unpickling writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refused(message, call, *arguments, most_bytes=50e6):
    """Check that a call ends with a DataError, and takes little memory for that."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message) as caught:
            call(*arguments)
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()
    assert len(str(caught.value).splitlines()) == 1


def test_pickles_are_not_loaded_from_anywhere(tmp_path):
    trap = np.array([Bomb(tmp_path / "harm")], object)
    np.save(tmp_path / "a.npy", trap)
    np.savez(tmp_path / "a.npz", x=trap)
    torch.save(Bomb(tmp_path / "harm"), tmp_path / "a.pt")
    refused("Python objects", NUMPY.decode, str(tmp_path / "a.npy"))
    refused("Python objects", NUMPY.decode, str(tmp_path / "a.npz"), "x")
    refused("not a checkpoint", checkpoints.load, tmp_path / "a.pt")
    assert not (tmp_path / "harm").exists()


def zipped(path, name, content, *, claimed=None, kind=zipfile.ZIP_DEFLATED):
    """An archive of one member, whose size may be a lie."""
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(name, content)
        if claimed is not None:
            archive.infolist()[0].file_size = claimed
    return path


def npy_header(shape, dtype="<f8"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize("shape", [(10**5, 10**5), (2**62, 2**62)])
def test_arrays_that_announce_more_than_they_hold_are_refused_before_memory_is_taken(tmp_path, shape):
    content = npy_header(shape) + bytes(80)
    (tmp_path / "a.npy").write_bytes(content)
    zipped(tmp_path / "a.npz", "x.npy", content)
    zipped(tmp_path / "b.npz", "x.npy", content, claimed=10**13)
    refused(r"a\.npy: cannot be read", NUMPY.decode, str(tmp_path / "a.npy"))
    refused(r"a\.npz: x: cannot be read\. It contains less", NUMPY.decode, str(tmp_path / "a.npz"), "x")
    refused(r"b\.npz: x: cannot be read\. It claims to hold 10 TB", NUMPY.decode, str(tmp_path / "b.npz"), "x")


def test_more_than_the_memory_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("rayrml.storage.archives.available_memory", lambda: 10**8)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(150_000_000, np.uint8))
    refused(r"a\.npz: x: cannot be read\. It needs 150 MB of memory", NUMPY.decode, str(tmp_path / "a.npz"), "x")
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb", 1) as file:
        file.write(struct.pack(">HBBIII", 0, 8, 3, 20_000, 100, 100))
    path = str(tmp_path / "train-images-idx3-ubyte.gz")
    refused(r"idx3-ubyte\.gz: cannot be read\. It needs 200 MB of memory", MNIST.contents, path)


def test_a_packed_file_is_read_no_further_than_its_header_says(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(struct.pack(">HBBIII", 0, 8, 3, 2, 2, 2) + bytes(200_000_000))
    refused("is truncated, or longer", MNIST.contents, str(path))


def png(width, height):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def bombs():
    saved = {}
    for kind in ("JPEG", "BMP", "TIFF", "GIF", "WEBP"):
        file = io.BytesIO()
        Image.new("L", (16, 16)).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
        saved[kind] = bytearray(file.getvalue())
    side = struct.pack("<HH", 10_000, 10_000)
    jpeg, bmp, gif, tiff, webp = (saved[kind] for kind in ("JPEG", "BMP", "GIF", "TIFF", "WEBP"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 10_000, 10_000)
    bmp[18:26] = struct.pack("<ii", 10_000, 10_000)
    gif[6:10] = side
    for tag in (256, 257):
        entry = next(i for i in range(8, len(tiff), 2) if tiff[i : i + 2] == struct.pack("<H", tag))
        tiff[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 10_000)
    webp[21:25] = struct.pack("<I", 9_999 | 9_999 << 14)
    extended = bytearray(saved["WEBP"][:12]) + b"VP8X" + struct.pack("<II", 10, 0)
    extended += (9_999).to_bytes(3, "little") * 2 + saved["WEBP"][12:]
    lossy = bytearray(saved["WEBP"][:12]) + b"VP8 " + struct.pack("<I", 10) + b"\x10\x00\x00\x9d\x01\x2a" + side
    return {"PNG": png(10_000, 10_000), **saved, "WEBP of any kind": extended, "lossy WEBP": lossy}


@pytest.mark.parametrize(("kind", "content"), list(bombs().items()), ids=list(bombs()))
@pytest.mark.parametrize("grayscale", [True, False])
def test_images_of_100_megapixels_are_refused_before_memory_is_taken(tmp_path, kind, content, grayscale):
    (tmp_path / "bomb.jpg").write_bytes(content)
    reader = READERS["images"](grayscale=grayscale)
    refused(r"bomb\.jpg: cannot be decoded\. It is 10000x10000 pixels", reader.decode, str(tmp_path / "bomb.jpg"))


def test_files_that_are_too_large_for_images_are_not_read(tmp_path):
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(10**13)
    refused(r"huge\.jpg: cannot be read\. Its size is 10 TB", IMAGES.decode, str(tmp_path / "huge.jpg"))


@pytest.mark.parametrize(("reader", "ending"), [(IMAGES, "jpg"), (NUMPY, "npy"), (NUMPY, "npz"), (HDF5, "h5")])
def test_nobody_waits_for_a_pipe(tmp_path, reader, ending):
    os.mkfifo(tmp_path / f"pipe.{ending}")
    refused(rf"pipe\.{ending}: cannot be read", reader.decode, str(tmp_path / f"pipe.{ending}"))
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / f"link.{ending}").symlink_to(tmp_path / f"pipe.{ending}")
    with pytest.raises(DataError, match="no files to read"):
        find_samples(str(tmp_path), {f".{ending}x"}, "input_path")


def test_links_in_circles_are_files_that_cannot_be_read(tmp_path):
    for own, other in (("a", "b"), ("b", "a")):
        (tmp_path / own).mkdir()
        (tmp_path / own / "there").symlink_to(tmp_path / other)
        (tmp_path / own / "self.jpg").symlink_to("self.jpg")
    names = find_samples(str(tmp_path), {".jpg"}, "input_path").names
    assert {"a/self.jpg", "b/self.jpg"} <= set(names)
    assert len(names) < 10
    refused("cannot be read", IMAGES.decode, str(tmp_path / "a" / "self.jpg"))


def test_checkpoints_are_no_bombs(tmp_path):
    torch.save({"x": torch.zeros(1000)}, tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for info in whole.infolist():
            bomb.writestr(info.filename, whole.read(info))
            bomb.infolist()[-1].file_size = 10**13
    refused("It claims to hold 10 TB", checkpoints.load, tmp_path / "a.pt")


def test_a_file_that_nobody_may_read_is_named():
    own = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        path.touch(0o000)
        Path(folder).chmod(0o755)
        try:
            if own == 0:  # who may read everything
                os.seteuid(65534)
            refused(r"a\.jpg: cannot be read\. Permission denied", IMAGES.decode, str(path))
        finally:
            os.seteuid(own)


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with h5py.File(tmp_path / "elsewhere" / "secret.h5", "w") as file:
        file["x"] = np.arange(4.0)
    np.arange(4.0).tofile(tmp_path / "elsewhere" / "secret.raw")
    return tmp_path / "elsewhere"


def virtual(file, name, *sources):
    """A virtual dataset of the sources' values, added in rows: (file, dataset) each."""
    layout = h5py.VirtualLayout((4,) if len(sources) == 1 else (len(sources), 4), "f8")
    for i, source in enumerate(sources):
        layout[... if len(sources) == 1 else i] = h5py.VirtualSource(*source, shape=(4,))
    file.create_virtual_dataset(name, layout)


def test_hdf5_files_lead_to_no_other_files(tmp_path, secret):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file["own"] = np.arange(4.0)
        file["link"] = h5py.ExternalLink(str(secret / "secret.h5"), "/x")
        file["group"] = h5py.ExternalLink(str(secret / "secret.h5"), "/")
        file["soft"] = h5py.SoftLink("/link")
        file.create_dataset("raw", (4,), "f8", external=[(str(secret / "secret.raw"), 0, 32)])
        virtual(file, "virtual", (str(secret / "secret.h5"), "x"))
        virtual(file, "twice", (".", "virtual"))
        virtual(file, "linked", (".", "link"))
    for name in ("link", "group/x", "soft", "raw", "virtual", "twice", "linked"):
        refused(r"secret\.(h5|raw)'. Other files are not read", HDF5.decode, path, name)
    assert sorted(HDF5.contents(path)) == ["linked", "own", "raw", "twice", "virtual"]
    for inside in ("link", "group/x"):
        config = {"neural_network": {"layers": dense_network(3), "data": data_in(f"{path}/{inside}", tmp_path)}}
        with pytest.raises(DataError, match="no dataset or group"):
            rayrml.check(config)


def data_in(path, out):
    return {"input_type": "hdf5", "test_input_path": str(path), "test_output_path": str(out / "predictions")}


def test_links_and_views_inside_of_a_file_are_followed_unless_they_go_in_circles(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file["deep/own"] = np.arange(4.0)
        file["soft"] = h5py.SoftLink("/deep")
        file["softer"] = h5py.SoftLink("soft/own")
        file["round"] = h5py.SoftLink("/round/and/round")
        virtual(file, "view", (".", "deep/own"))
    for name in ("soft/own", "softer", "view"):
        assert HDF5.decode(path, name).tolist() == [0, 1, 2, 3]
    refused("is a link to itself", HDF5.decode, path, "round")


VIEWS = """
import sys
import h5py
from rayrml.data.readers import READERS
from rayrml.errors import DataError
path, *names = sys.argv[1:]
reader = READERS["hdf5"]()
assert set(names) - {"through"} <= set(reader.contents(path))  # of two names of one, it has one
for name in names:
    try:
        print(name, reader.decode(path, name).tolist())
    except DataError as error:
        print(error)
"""


def test_virtual_datasets_that_have_no_end_are_refused_before_hdf5_looks_for_it(tmp_path):
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        virtual(file, "itself", (".", "itself"))
        virtual(file, "first", (".", "second"))
        virtual(file, "second", (".", "first"))
        virtual(file, "through", (".", "hard"))
        file["hard"] = file["through"]
        layout = h5py.VirtualLayout((4,), "f8", maxshape=(None,))
        source = h5py.VirtualSource(".", "grows", shape=(4,), maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        file.create_virtual_dataset("grows", layout)
        file["0"] = np.arange(4.0)
        for i in range(1500):
            virtual(file, str(i + 1), (".", str(i)))
        file["wide0"] = np.arange(4.0)
        for i in range(8):
            virtual(file, f"wide{i + 1}", *[(".", f"wide{i}")] * 5)
        file["pattern%%"] = np.arange(4.0)
        virtual(file, "named", (".", "pattern%%"))
    names = ["itself", "first", "through", "grows", "8", "9", "1500", "wide8", "named"]
    ended = subprocess.run([sys.executable, "-c", VIEWS, path, *names], capture_output=True, text=True, check=True)
    endless, found = "is a virtual dataset that refers to itself", ended.stdout.splitlines()
    assert found[:4] == [f"{path}: {name}: {endless}" for name in names[:4]]
    assert found[4] == "8 [0.0, 1.0, 2.0, 3.0]"
    for line, name in zip(found[5:], ("9", "1500"), strict=False):
        assert line == f"{path}: {name}: is a virtual dataset nested more than 8 levels deep"
    assert found[7] == f"{path}: wide8: is a virtual dataset of more than 100000 others"
    assert "Patterns are not read" in found[8]


def test_unknown_filters_are_named_and_not_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    path = str(tmp_path / "a.h5")
    with h5py.File(path, "w") as file:
        file.create_dataset("good", data=np.arange(100.0), compression="lzf", shuffle=True, fletcher32=True)
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((10,))
        creation.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((100,))
        h5py.h5d.create(file.id, b"zstd", h5py.h5t.NATIVE_DOUBLE, space, creation)
    assert HDF5.decode(path, "good").tolist() == list(range(100))
    refused(r"a\.h5: zstd: is compressed by the unknown filter .*number 32015\. ", HDF5.decode, path, "zstd")
    assert h5py.h5pl.size() == 0


@pytest.fixture
def network():
    return build_network(dense_network(3))


def test_weights_lead_to_no_other_files(tmp_path, secret, network):
    path = tmp_path / "w.h5"
    export_weights(network, path)
    with h5py.File(path, "a") as file:
        del file["dense"]
        file["dense"] = h5py.ExternalLink(str(secret / "secret.h5"), "/")
    refused(r"secret\.h5'. Other files are not read", load_weights, network, path, "load")


def test_weights_are_no_bombs(tmp_path, network):
    with h5py.File(tmp_path / "inner.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (2**20, 2**20), "f8", chunks=(64, 64))
    inner = (tmp_path / "inner.h5").read_bytes()
    config = json.dumps({"class_name": "Sequential", "config": {"layers": dense_network(3)}})
    for name, claimed in (("model.weights.h5", None), ("model.weights.h5", 10**13)):
        with zipfile.ZipFile(tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", config)
            archive.writestr("../../escaped.h5", b"")
            archive.writestr(name, inner)
            archive.infolist()[-1].file_size = claimed or len(inner)
        message = (
            "cannot be read. It claims to hold 10 TB" if claimed else "0: cannot be read. It needs 8.8 TB of memory"
        )
        refused(rf"w\.keras: model\.weights\.h5: {message}", load_weights, network, tmp_path / "w.keras", "load")
    assert not list(tmp_path.parent.glob("**/escaped.h5"))


@pytest.mark.parametrize(
    "content", [b"PK\x05\x06" + bytes(18), b"PK\x03\x04" * 9, b"", b"\x89HDF\r\n\x1a\n", b"x" * 99]
)
def test_damaged_weights_are_one_error(tmp_path, network, content):
    for name in ("w.keras", "w.h5"):
        (tmp_path / name).write_bytes(content)
        refused("not a Keras weights file", load_weights, network, tmp_path / name, "load")


@pytest.mark.parametrize(
    "names",
    [["../x"], ["a/../../x"], ["/etc/passwd"], ["a//b"], ["a/"], ["."], ["a/./b"], ["a\0b"], [""]],
)
def test_names_that_are_paths_elsewhere_are_refused(names):
    with pytest.raises(DataError, match="predictions cannot be stored under"):
        check_names(["good", *names], "input_path")


def test_names_that_collide_are_refused():
    check_names(["a/b", "a/c", "a.b", "..a", "a/..b/c...", "b"], "input_path")
    with pytest.raises(DataError, match="several samples have the same name: 'a'"):
        check_names(["a", "b", "a"], "input_path")
    with pytest.raises(DataError, match="'a/b' would be a dataset and contain another, 'a/b/c/d'"):
        check_names(["a/b/c/d", "x", "a/b"], "input_path")


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a//b", "good/.."])
def test_hostile_members_of_archives_are_refused_before_anything_is_computed(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for member in ("good", name):
            archive.writestr(f"{member}.npy", npy_header((2,)) + bytes(16))
    data = data_in(tmp_path / "a.npz", tmp_path) | {"input_type": "numpy"}
    layers = [{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 2]}}, dense(3)]
    with pytest.raises(DataError, match="predictions cannot be stored under") as caught:
        rayrml.check({"neural_network": {"layers": layers, "data": data}})
    assert name in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz"]


def dense(units):
    return {"class_name": "Dense", "config": {"name": "d", "units": units}}


def lambda_layer(code):
    return {"class_name": "Lambda", "config": {"name": "l", "function": code}}


@pytest.mark.parametrize(
    "layer",
    [
        lambda_layer(["4wEAAAAAAAAAAAAAAAEAAACj", None, None]),
        lambda_layer("os.system"),
        {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": "os>system"},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
        {"class_name": "Dense", "config": {"name": "d", "units": 3, "activation": "os.system"}},
        {
            "class_name": "Dense",
            "config": {
                "name": "d",
                "units": 3,
                "kernel_initializer": {"module": "subprocess", "class_name": "Popen", "config": {"args": "true"}},
            },
        },
        {"class_name": "TFOpLambda", "config": {"name": "t", "function": "io.write_file"}},
    ],
)
def test_a_network_file_names_no_code(layer):
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 2], "name": "i"}}
    with pytest.raises(ConfigError) as caught:
        build_network([first, layer])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("strides", [(2, 2), (4, 4), (3, 4)])
def test_slices_that_are_missing_leave_their_cells_to_others_or_empty(tmp_path, strides):
    grid = slicer(sizes=(4, 4), strides=strides).grid((9, 11))
    array = np.random.default_rng(0).normal(size=(1, 9, 11)).astype("f4")
    outputs = read_all(parts_of([grid]), array)
    kept = [i for i in range(len(grid)) if i not in (0, 3, len(grid) - 1)]
    assembly = SliceAssembly(tmp_path / "o.h5", parts_of([grid, grid]), partial=True)
    assembly.write(np.array(kept), outputs[kept])
    assembly.close()
    covered = np.zeros((9, 11), bool)
    for i in kept:
        covered[grid.region(i)] = True
    together, attributes = contents(tmp_path / "o.h5")["part_0"]
    np.testing.assert_allclose(together[..., 0], np.where(covered, array[0], np.nan), rtol=1e-6)
    assert attributes["uncovered"] == np.count_nonzero(~covered)
    nothing, attributes = contents(tmp_path / "o.h5")["part_1"]
    assert np.isnan(nothing).all()
    assert attributes["uncovered"] == 99
