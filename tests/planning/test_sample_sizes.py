import numpy as np
import pytest
from PIL import Image

from rayrml.data.discovery import Samples
from rayrml.data.readers import READERS
from rayrml.planning.sample_sizes import have_different_sizes


def written(folder, sizes):
    """Images of these sizes, and what lists them."""
    for i, size in enumerate(sizes):
        Image.fromarray(np.zeros(size, np.uint8)).save(folder / f"{i}.png")
    return Samples(str(folder), [f"{i}.png" for i in range(len(sizes))])


@pytest.mark.parametrize(
    ("sizes", "differ"), [([(5, 6)] * 3, False), ([(5, 6), (5, 6), (6, 5)], True), ([(5, 6)], False)]
)
def test_headers_tell_whether_sizes_differ(tmp_path, sizes, differ):
    assert have_different_sizes(written(tmp_path, sizes), READERS["images"]()) == differ


def test_images_that_cannot_be_read_have_no_size(tmp_path):
    samples = written(tmp_path, [(5, 6)] * 3)
    (tmp_path / "1.png").write_bytes(b"nothing")
    assert not have_different_sizes(samples, READERS["images"]())


def test_arrays_have_sizes_too(tmp_path):
    for i, size in enumerate([(4, 5), (4, 5), (4, 6)]):
        np.save(tmp_path / f"{i}.npy", np.zeros(size))
    names = [f"{i}.npy" for i in range(3)]
    assert not have_different_sizes(Samples(str(tmp_path), names[:2]), READERS["numpy"]())
    assert have_different_sizes(Samples(str(tmp_path), names), READERS["numpy"]())
