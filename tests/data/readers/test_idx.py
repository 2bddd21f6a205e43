import gzip
import struct

import numpy as np
import pytest

from rayrml.data.readers import READERS
from rayrml.errors import DataError


def idx(array, kind=0x08):
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, part="train", count=6, pack=False):
    images = np.arange(count * 12, dtype=np.uint8).reshape(count, 3, 4)
    labels = (np.arange(count) % 3).astype(np.uint8)
    for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        (folder / (name + ".gz" * pack)).write_bytes(gzip.compress(idx(array)) if pack else idx(array))
    return images, labels


@pytest.mark.parametrize("pack", [False, True])
def test_idx_files_hold_many_images_and_their_labels(tmp_path, pack):
    images, labels = write_idx(tmp_path, pack=pack)
    write_idx(tmp_path, "t10k", count=2, pack=pack)
    reader = READERS["mnist"]()
    (path,) = reader.find(str(tmp_path), "training")
    assert len(reader.find(str(tmp_path), "test")) == 1
    assert reader.find(str(tmp_path), "test") != [path]
    assert len(reader.contents(path)) == 6
    np.testing.assert_array_equal(reader.decode(path, "4"), images[4][None])
    np.testing.assert_array_equal(reader.labels(path, None), labels)
    assert reader.pixels


def test_numbers_of_idx_files_are_in_the_machines_byte_order(tmp_path):
    (tmp_path / "train-images-idx3").write_bytes(idx(np.zeros((2, 2, 2), np.uint8)))
    (tmp_path / "labels").write_bytes(idx(np.array([258, -3], ">i4"), 0x0C))
    reader = READERS["mnist"]()
    assert reader.labels(str(tmp_path / "train-images-idx3"), str(tmp_path / "labels")).tolist() == [258, -3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file"),
        (b"\0\0\x08", "is not an IDX file"),
        (b"\0\0\x08\x03\0\0", "ends inside its header"),
        (idx(np.zeros((2, 2, 2), np.uint8))[:-1], "truncated"),
        (idx(np.zeros((2, 2), np.uint8)), "Expected bytes with 3 axes"),
        (b"\x1f\x8b damaged", "cannot be"),
    ],
)
def test_damaged_idx_files_are_refused_by_name(tmp_path, content, message):
    (tmp_path / "train-images-idx3").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        READERS["mnist"]().contents(str(tmp_path / "train-images-idx3"))
    assert "train-images-idx3" in str(caught.value)


def test_images_without_labels_are_refused(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no label file next to it"):
        READERS["mnist"]().labels(str(tmp_path / "train-images-idx3-ubyte"), None)
