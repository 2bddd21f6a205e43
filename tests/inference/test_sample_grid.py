"""The grid of samples, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from rayrml.errors import DataError
from rayrml.inference.sample_grid import can_draw, draw_grid, write_grid


def pixels(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 9), (1, 1, 1)])
@pytest.mark.parametrize("count", [64, 70, 11, 0])
def test_each_sample_is_in_its_place_and_all_else_is_black(shape, count):
    shades = pixels(count, shape)
    picture = np.asarray(draw_grid(shades / np.float32(255)))
    _, height, width = shape
    assert picture.shape == (8 * height + 14, 8 * width + 14) + ((3,) if shape[0] == 3 else ())
    rest = picture.copy()
    for number in range(min(count, 64)):
        top, left = number // 8 * (height + 2), number % 8 * (width + 2)
        place = slice(top, top + height), slice(left, left + width)
        assert np.array_equal(
            picture[place], shades[number].transpose(1, 2, 0).squeeze(axis=2 if shape[0] == 1 else ())
        )
        rest[place] = 0
    assert not rest.any()


def test_black_and_white_are_the_ends_of_the_range():
    shades = pixels(64, (1, 4, 4))
    expected = np.asarray(draw_grid(shades / np.float32(255)))
    assert np.array_equal(np.asarray(draw_grid(shades / np.float32(127.5) - 1, (-1.0, 1.0))), expected)


def test_what_is_beyond_the_range_is_cut_off_and_what_is_no_number_is_black():
    values = np.zeros((1, 1, 1, 5), np.float32)
    values[0, 0, 0] = [-3, 7, np.nan, np.inf, -np.inf]
    assert np.asarray(draw_grid(values))[0, :5].tolist() == [0, 255, 0, 255, 0]


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4, 4), (1, 4), (1, 4, 4, 4)])
def test_other_samples_cannot_be_drawn(shape):
    assert not can_draw(shape)
    with pytest.raises(ValueError, match="not gray or RGB"):
        draw_grid(np.zeros((3, *shape), np.float32))


def test_the_file_is_a_png_of_the_same_pixels(tmp_path):
    values = pixels(10, (3, 6, 6)) / np.float32(255)
    path = tmp_path / "samples" / "epoch_1.png"
    write_grid(str(path), values)
    with Image.open(path) as read:
        assert read.format == "PNG" and read.mode == "RGB"
        assert np.array_equal(np.asarray(read), np.asarray(draw_grid(values)))
    assert [file.name for file in path.parent.iterdir()] == ["epoch_1.png"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "samples").write_text("a file")
    with pytest.raises(DataError, match="cannot be written"):
        write_grid(str(tmp_path / "samples" / "epoch_1.png"), np.zeros((1, 1, 2, 2), np.float32))
