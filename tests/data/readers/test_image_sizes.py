import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from rayrml.data.readers import READERS
from rayrml.data.readers.image_sizes import read_size, read_sizes
from rayrml.data.readers.images import read_header
from rayrml.data.readers.masks import masks
from rayrml.errors import DataError

ENDINGS = ["jpg", "png", "bmp", "webp", "tif", "gif"]
XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def exif_of(orientation, byte_order="<"):
    exif = Image.Exif()
    exif.endian = byte_order
    exif[0x010F] = "a camera with a name"
    if orientation:
        exif[0x0112] = orientation
    return exif


def save(path, size, **options):
    Image.new("RGB", size[::-1]).save(path, **options)
    return str(path)


def decoded_size(path):
    """The size of the decoded image, which is that in its header and of the same file as a mask."""
    size = READERS["images"]().decode(path).shape[1:]
    assert size == masks().decode(path).shape[1:] == read_header(path).size
    return size


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_size_is_that_of_the_decoded_image(ending, tmp_path):
    path = save(tmp_path / f"a.{ending}", (30, 47))
    assert tuple(read_size(path)) == (30, 47, 1)
    assert decoded_size(path) == (30, 47)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
def test_turned_images_have_their_upright_size(ending, byte_order, orientation, tmp_path):
    path = save(tmp_path / f"a.{ending}", (30, 47), exif=exif_of(orientation, byte_order))
    size = read_size(path)
    assert size[:2] == decoded_size(path)
    assert size.orientation == (orientation if 1 <= orientation <= 8 else 1)
    assert size.is_turned == (5 <= orientation <= 8)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"xmp": XMP}, {"exif": exif_of(0), "xmp": XMP}])
def test_other_metadata_count_as_when_pixels_are_decoded(mode, options, tmp_path):
    path = str(tmp_path / "a.jpg")
    Image.new(mode, (47, 30)).save(path, **options)
    assert read_size(path)[:2] == decoded_size(path)


def test_orientations_in_xmp_count_where_pixels_are_turned_by_them(tmp_path):
    xmp = XMP.partition(b"\0")[2]
    texts, tags = PngImagePlugin.PngInfo(), TiffImagePlugin.ImageFileDirectory_v2()
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
    tags[700] = xmp
    for ending, options in (("png", {"pnginfo": texts}), ("tif", {"tiffinfo": tags}), ("webp", {"xmp": xmp})):
        path = save(tmp_path / f"a.{ending}", (30, 47), **options)
        assert read_size(path) == (47, 30, 6)
        assert decoded_size(path) == (47, 30)


def test_large_files_are_not_read_whole(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for ending in ("jpg", "png"):
        Image.fromarray(noise).save(tmp_path / f"a.{ending}", quality=100)
        assert (tmp_path / f"a.{ending}").stat().st_size > 100_000
    monkeypatch.setattr("rayrml.data.readers.image_sizes.read_header", None)
    assert [tuple(size) for size in read_sizes([str(tmp_path / f"a.{e}") for e in ("jpg", "png")])] == [
        (300, 400, 1)
    ] * 2


def test_long_metadata_come_before_the_size(tmp_path):
    path = save(tmp_path / "a.jpg", (30, 47), icc_profile=bytes(150_000))
    assert tuple(read_size(path)) == (30, 47, 1)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_damaged_files_are_errors_that_name_them(ending, tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (47, 30)).save(content, {"jpg": "JPEG"}.get(ending, ending), exif=exif_of(6))
    path = tmp_path / f"a.{ending}"
    for end in range(0, min(len(content.getvalue()), 400), 3):
        path.write_bytes(content.getvalue()[:end])
        try:
            assert all(read_size(str(path))[:2])
        except DataError as error:
            assert str(path) in str(error)


def test_what_cannot_be_read_is_told_among_the_others(tmp_path):
    good, text = save(tmp_path / "a.png", (3, 4)), tmp_path / "b.png"
    text.write_text("no image")
    sizes = read_sizes([good, str(text), str(tmp_path / "none.png"), good])
    assert sizes[0] == sizes[3] == (3, 4, 1)
    assert "b.png: cannot be read. It is not an image" in sizes[1]
    assert "none.png: cannot be read. No such file" in sizes[2]
