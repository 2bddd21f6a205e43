"""Files that describe a network, as Keras and its users write them."""

import io
import json
import zipfile

import h5py
import pytest

from rayrml.config.network_files import read_network_file
from rayrml.errors import RayrmlError

NETWORK = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {"units": 3}}]}}


def archive(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return content.getvalue()


@pytest.mark.parametrize("name", ["net.json", "net.keras", "net.txt"])
@pytest.mark.parametrize("kind", ["json", "json twice", "keras", "h5"])
def test_the_network_of_any_file_is_read_whatever_its_name(tmp_path, kind, name):
    path = tmp_path / name
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(NETWORK)
    else:
        once = json.dumps(NETWORK)
        contents = {"json": once.encode(), "json twice": json.dumps(once).encode()}
        path.write_bytes(contents.get(kind) or archive({"config.json": once, "model.weights.h5": ""}))
    assert read_network_file(path) == NETWORK


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive({"weights": "1"}), "archive without a network"),
        (archive({"config.json": "{"}), "config.json, line 1"),
        (b"PK\x03\x04" + bytes(50), "not a file of Keras, or damaged"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "not a file of Keras, or damaged"),
        (b'"text"', "not valid JSON"),
        (b'{"a": 1, "b": {"c": 1,\n"c": 2}}', "net.json:2: b.c: this key is given twice"),
    ],
)
def test_a_file_without_a_network_is_an_error_that_names_it(tmp_path, content, message):
    path = tmp_path / "net.json"
    path.write_bytes(content)
    with pytest.raises(RayrmlError, match=r"net\.json") as error:
        read_network_file(path)
    assert message in str(error.value)


def test_a_file_of_weights_alone_says_what_is_missing(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["dense"] = 1.0
    with pytest.raises(RayrmlError, match=r"holds weights but no network. Expected the file of model.save\(\)"):
        read_network_file(tmp_path / "w.h5")
