import argparse
import io
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rayrml.errors import DataError
from rayrml.saving import checkpoints

EXPECTED = "Expected a checkpoint of rayrml, or what torch.save(network.state_dict(), FILE) writes"


class Net(nn.Linear):
    """A network of somebody's own."""


def torch_file(value):
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return content.getvalue()


def hdf5():
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["x"] = 1
    return content.getvalue()


def image(kind):
    content = io.BytesIO()
    Image.new("L", (3, 3)).save(content, kind)
    return content.getvalue()


def array(save, *values):
    content = io.BytesIO()
    save(content, *values)
    return content.getvalue()


HEADER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
STATE = nn.Linear(2, 2).state_dict()
FILES = {
    "It is empty": b"",
    "It is text": b"hello\nworld\n",
    "It is text. ": b'{"neural_network": {}}',
    "It is text. E": b".",
    "It is an HDF5 file. The name of a file of Keras weights must end with .h5": hdf5(),
    "It is an array of numpy": array(np.save, np.zeros(3)),
    "It is an archive of numpy arrays": array(np.savez, np.zeros(3)),
    "It is an image": image("PNG"),
    "It is an image. ": image("JPEG"),
    "It is a pickle of Python": pickle.dumps({"a": [1]}),
    "It is a zip archive": zipped("a/b"),
    "It is a model of Keras, whose name must end with .keras": zipped("config.json", "model.weights.h5"),
    "It begins like no known file": bytes(100),
    "It is incomplete: its end is missing": torch_file(STATE)[:-30],
    "'torch.nn.modules.linear.Linear', a Python object that could run code": torch_file(nn.Linear(2, 2)),
    "Net', a Python object that could run code": torch_file({"model": Net(2, 2), "epoch": 3}),
    "It holds 'argparse.Namespace'": torch_file({"args": argparse.Namespace(a=1), "state_dict": STATE}),
    "It holds a list": torch_file([1, 2]),
    "It holds a Tensor": torch_file(torch.zeros(3)),
}


@pytest.mark.parametrize(("described", "content"), FILES.items())
def test_a_file_that_is_no_checkpoint_is_named_with_what_is_expected(tmp_path, described, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        checkpoints.load(tmp_path / "x.pt", "checkpoints.load")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"checkpoints.load: '{tmp_path}/x.pt' is not a checkpoint")
    assert described in line
    assert line.endswith(EXPECTED)


def test_safetensors_are_named_with_what_converts_them(tmp_path):
    (tmp_path / "x.pt").write_bytes(len(HEADER).to_bytes(8, "little") + HEADER + bytes(4))
    with pytest.raises(DataError, match=r"It is a safetensors file\. Expected torch\.save\(safetensors\.torch"):
        checkpoints.load(tmp_path / "x.pt")
