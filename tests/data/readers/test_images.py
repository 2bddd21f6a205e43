import importlib.util
import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, features

from rayrml.data.discovery import describe_ignored, find_samples
from rayrml.data.readers import READERS
from rayrml.data.readers.images import find_bits, read_header
from rayrml.errors import DataError
from tests.conftest import write_jpeg

GRADIENT = np.linspace(0, 255, 20 * 30).reshape(20, 30).astype(np.uint8)
COLORS = np.stack([GRADIENT, GRADIENT[::-1], np.full_like(GRADIENT, 90)], axis=2)
DEEP = np.random.default_rng(0).integers(0, 2**16, (6, 5, 3), dtype=np.uint16)


def read(path, grayscale=False, **options):
    return READERS["images"](grayscale=grayscale, **options).decode(str(path))


def png(header, rows):
    """A PNG file as the specification describes it: (width, height, bit depth, colour type) and bytes of rows."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff(image):
    """An uncompressed 16-bit TIFF file (H, W, 3)."""
    height, width, channels = image.shape
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 14), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, image.nbytes),
    ]  # fmt: skip
    pixels = image.astype("<u2").tobytes()
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", 14 + len(pixels)) + struct.pack("<HHH", 16, 16, 16) + pixels + directory


def saved(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp", "gif"])
def test_lossless_formats_give_the_pixels_back(tmp_path, ending):
    path = tmp_path / f"image.{ending}"
    image = Image.fromarray(GRADIENT)
    image.save(path, **({"lossless": True} if ending == "webp" else {}))
    assert np.array_equal(read(path, grayscale=True), GRADIENT[None])


def test_color_images_are_channels_first(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "image.png")
    assert np.array_equal(read(tmp_path / "image.png"), COLORS.transpose(2, 0, 1))


def test_gray_images_get_three_equal_channels_unless_one_is_asked_for(tmp_path):
    path = write_jpeg(tmp_path / "image.jpg", GRADIENT)
    gray, color = read(path, grayscale=True), read(path)
    assert gray.shape == (1, 20, 30)
    assert np.array_equal(color, np.repeat(gray, 3, axis=0))


def test_jpeg_agrees_with_pillow_to_rounding(tmp_path):
    path = write_jpeg(tmp_path / "image.jpg", COLORS)
    pillow = np.asarray(Image.open(path)).transpose(2, 0, 1).astype(int)
    assert np.abs(read(path).astype(int) - pillow).max() <= 3
    pillow = np.asarray(Image.open(path).convert("L")).astype(int)
    assert np.abs(read(path, grayscale=True)[0].astype(int) - pillow).max() <= 3


def test_palette_and_alpha_become_colors(tmp_path):
    Image.fromarray(COLORS).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(COLORS).convert("P").save(tmp_path / "palette.png")
    assert np.array_equal(read(tmp_path / "alpha.png"), COLORS.transpose(2, 0, 1))
    assert read(tmp_path / "palette.png").shape == (3, 20, 30)


def test_a_palette_with_transparency_keeps_its_colors(tmp_path):
    palette = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    palette.save(tmp_path / "icon.png", transparency=bytes([0, 100, 255, 7]))
    assert read(tmp_path / "icon.png")[:, 0, 0].tolist() == [255, 0, 0]
    assert read(tmp_path / "icon.png")[:, 1, 1].tolist() == [9, 9, 9]


def test_gray_with_alpha_and_two_shades_become_gray(tmp_path):
    Image.fromarray(GRADIENT).convert("LA").save(tmp_path / "alpha.png")
    assert np.array_equal(read(tmp_path / "alpha.png", grayscale=True)[0], GRADIENT)
    Image.fromarray(GRADIENT > 99).save(tmp_path / "scan.png")
    assert np.array_equal(read(tmp_path / "scan.png", grayscale=True)[0], (GRADIENT > 99) * 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF"])
def test_16_bits_of_gray_are_fractions_of_white(tmp_path, kind):
    gray = DEEP[:, :, 0].astype(">u2" if kind.startswith("big") else "<u2")
    (tmp_path / "scan").write_bytes(saved(Image.fromarray(gray), kind.split()[-1]))
    for scale in (None, "range"):
        image = read(tmp_path / "scan", grayscale=True, scale=scale)
        assert image.dtype == np.float32
        assert np.array_equal(image[0], gray.astype(np.float32) / np.float32(65535))
    assert np.array_equal(read(tmp_path / "scan"), np.broadcast_to(image, (3, 6, 5)))
    assert find_bits(str(tmp_path / "scan")) == read_header(str(tmp_path / "scan")).bits == 16


def test_16_bits_of_a_color_are_all_read(tmp_path):
    (tmp_path / "scan.png").write_bytes(png((5, 6, 16, 2), [row.astype(">u2").tobytes() for row in DEEP]))
    (tmp_path / "scan.tiff").write_bytes(tiff(DEEP))
    for name in ("scan.png", "scan.tiff"):
        assert find_bits(str(tmp_path / name)) == 16
        image = read(tmp_path / name)
        assert np.array_equal(image, (DEEP / np.float32(65535)).transpose(2, 0, 1)), name
        gray = read(tmp_path / name, grayscale=True)[0]
        assert np.abs(gray - np.tensordot([0.299, 0.587, 0.114], image, 1)).max() < 1e-6, name


def test_transparency_of_16_bits_is_left_out(tmp_path):
    clear = np.concatenate([DEEP, DEEP[:, :, :1]], 2)
    (tmp_path / "scan.png").write_bytes(png((5, 6, 16, 6), [row.astype(">u2").tobytes() for row in clear]))
    assert np.array_equal(read(tmp_path / "scan.png"), (DEEP / np.float32(65535)).transpose(2, 0, 1))
    gray = clear[:, :, 2:]
    (tmp_path / "gray.png").write_bytes(png((5, 6, 16, 4), [row.astype(">u2").tobytes() for row in gray]))
    assert np.array_equal(read(tmp_path / "gray.png", grayscale=True)[0], DEEP[:, :, 2] / np.float32(65535))


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32])
def test_numbers_without_a_range_stay_as_they_are(tmp_path, kind):
    numbers = DEEP[:, :, 0].astype(np.int32).astype(kind)
    tifffile.imwrite(tmp_path / "depth.tiff", numbers)
    for scale in (None, "values", 1):
        assert np.array_equal(read(tmp_path / "depth.tiff", grayscale=True, scale=scale)[0], numbers)
    assert find_bits(str(tmp_path / "depth.tiff")) == 32
    with pytest.raises(DataError, match=r"depth\.tiff: .*or a sign, so \"scale\": \"range\" is unknown"):
        read(tmp_path / "depth.tiff", scale="range")


@pytest.mark.parametrize(
    ("scale", "expected"), [("max", 1.0), ("range", 4000 / 65535), (4000, 1.0), (8000, 0.5), (1, 4000.0)]
)
def test_a_scale_says_what_stands_for_white(tmp_path, scale, expected):
    Image.fromarray(np.array([[0, 4000]], np.uint16)).save(tmp_path / "dark.png")
    image = read(tmp_path / "dark.png", grayscale=True, scale=scale)
    assert image.ravel().tolist() == [0, pytest.approx(expected)]
    assert READERS["images"](scale=scale).pixels == (scale != 1)


def test_a_scale_makes_floats_of_bytes_too(tmp_path):
    path = write_jpeg(tmp_path / "image.jpg", GRADIENT)
    Image.fromarray(GRADIENT).save(tmp_path / "image.png")
    for name in (path, tmp_path / "image.png"):
        assert np.array_equal(read(name, scale="range"), read(name) / np.float32(255))
        assert read(name, scale=1).max() == read(name).max()
        with pytest.raises(DataError, match=r'8 bits per value, but "scale": 4095 is for more'):
            read(name, scale=4095)
        with pytest.raises(DataError, match=r'8 bits per value, but "scale": "values" is for 32 bits'):
            read(name, scale="values")


def test_a_black_image_has_no_maximum_to_divide_by(tmp_path):
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "black.png")
    assert not read(tmp_path / "black.png", scale="max").any()


def test_numbers_that_are_not_finite_and_negative_ones_have_no_fractions(tmp_path):
    for number, reason in ((np.nan, "not finite"), (-1, "at least 0")):
        tifffile.imwrite(tmp_path / "depth.tif", np.array([[number, 5]], np.float32))
        with pytest.raises(DataError, match=rf"depth\.tif: .*{reason}"):
            read(tmp_path / "depth.tif", scale="max")


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("number", [2, 4, 7])
def test_all_bands_of_a_tiff_are_channels(tmp_path, planar, kind, number):
    bands = np.random.default_rng(0).integers(0, 250, (number, 6, 5)).astype(kind)
    stored = bands if planar == "separate" else np.ascontiguousarray(bands.transpose(1, 2, 0))
    tifffile.imwrite(tmp_path / "scene.tif", stored, photometric="minisblack", planarconfig=planar)
    image = read(tmp_path / "scene.tif", scale="range" if kind == np.uint16 else None)
    assert image.dtype == (np.uint8 if kind == np.uint8 else np.float32)
    assert np.abs(image - bands / (65535 if kind == np.uint16 else 1)).max() < 1e-6
    with pytest.raises(DataError, match=rf'It has {number} bands, of which "grayscale" cannot make one'):
        read(tmp_path / "scene.tif", grayscale=True)


def test_further_bands_of_colors_are_not_dropped(tmp_path):
    scene = np.random.default_rng(0).integers(0, 250, (6, 5, 5), np.uint8)
    tifffile.imwrite(tmp_path / "scene.tif", scene, photometric="rgb")
    assert np.array_equal(read(tmp_path / "scene.tif"), scene.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "infrared.tif", scene[:, :, :4], photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(read(tmp_path / "infrared.tif"), scene[:, :, :4].transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "alpha.tif", scene[:, :, :4], photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read(tmp_path / "alpha.tif"), scene[:, :, :3].transpose(2, 0, 1))


def test_white_may_be_zero(tmp_path):
    tifffile.imwrite(tmp_path / "xray.tif", DEEP[:, :, 0], photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "xray.tif", grayscale=True)[0], (65535 - DEEP[:, :, 0]) / np.float32(65535))


@pytest.mark.parametrize(
    "options", [{"compression": "lzw"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}]
)
@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3), (40, 30, 6)])
def test_compressed_and_tiled_files_hold_the_same(tmp_path, options, shape):
    stored = np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)
    photometric = "rgb" if shape[2:] == (3,) else "minisblack"
    planar = "contig" if len(shape) == 3 else None
    tifffile.imwrite(tmp_path / "0.tif", stored, photometric=photometric, planarconfig=planar, **options)
    expected = stored.reshape(40, 30, -1).transpose(2, 0, 1) / np.float32(65535)
    image = read(tmp_path / "0.tif")
    assert np.array_equal(image, np.repeat(expected, 3, 0) if len(shape) == 2 else expected)


def test_the_first_of_several_frames_is_read(tmp_path):
    frames = [Image.fromarray(np.full((4, 5), shade, np.uint8)) for shade in (10, 200)]
    for ending in ("gif", "webp"):
        options = {"lossless": True} if ending == "webp" else {}
        frames[0].save(tmp_path / f"film.{ending}", save_all=True, append_images=frames[1:], **options)
        assert np.unique(read(tmp_path / f"film.{ending}", grayscale=True)).tolist() == [10]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True}])
def test_pages_are_read_as_the_key_says(tmp_path, kind, options):
    stack = np.random.default_rng(0).integers(0, 250, (4, 6, 5)).astype(kind)
    path = str(tmp_path / "stack.tif")
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    with pytest.raises(DataError, match=r'stack\.tif: .*It has 4 pages\. "pages": "first" reads one of them'):
        read(path)
    white = 1 if kind == np.uint8 else np.float32(65535)
    assert np.array_equal(read(path, pages="first"), np.repeat(stack[:1], 3, 0) / white)
    assert np.array_equal(read(path, pages="channels"), stack / white)
    reader = READERS["images"](grayscale=True, pages="samples")
    assert list(reader.contents(path)) == ["0000", "0001", "0002", "0003"]
    with reader.open(path) as opened:
        assert np.array_equal(opened("0002"), stack[2:3] / white)


def test_pages_of_a_file_with_one_are_no_matter(tmp_path):
    Image.fromarray(GRADIENT).save(tmp_path / "0.tif")
    path = write_jpeg(tmp_path / "1.jpg", GRADIENT)
    for name in (str(tmp_path / "0.tif"), path):
        for pages in ("first", "samples"):
            assert np.array_equal(read(name, pages=pages), read(name))
        assert READERS["images"](pages="samples").contents(name) == [""]


def test_previews_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(GRADIENT)
        file.write(GRADIENT[::2, ::2], subfiletype=1)
    assert np.array_equal(read(tmp_path / "slide.tif", grayscale=True)[0], GRADIENT)


def test_pages_of_different_sizes_are_no_channels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as file:
        file.write(GRADIENT)
        file.write(GRADIENT[::2])
    with pytest.raises(DataError, match="Its pages differ in size or type"):
        read(tmp_path / "mixed.tif", pages="channels")


def test_a_stack_without_pages_is_refused(tmp_path):
    # As ImageJ writes more than 4 GB: one page, and the others behind its pixels.
    description = "ImageJ=1.54f\nimages=9\nslices=9\n"
    tifffile.imwrite(tmp_path / "huge.tif", DEEP[:, :, 0], description=description, metadata=None)
    with pytest.raises(DataError, match=r"an ImageJ stack of 9 images in 1 page"):
        read(tmp_path / "huge.tif", pages="channels")


def test_the_content_counts_and_not_the_name(tmp_path):
    (tmp_path / "image.jpg").write_bytes(saved(Image.fromarray(COLORS), "PNG"))
    assert np.array_equal(read(tmp_path / "image.jpg"), COLORS.transpose(2, 0, 1))


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.fromarray(COLORS).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(read(tmp_path / "print.jpg").astype(int) - COLORS.transpose(2, 0, 1)).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_all_eight_orientations_are_followed(tmp_path, kind):
    upright = GRADIENT[:, :17]
    stored = [
        upright,
        np.fliplr(upright),
        np.rot90(upright, 2),
        np.flipud(upright),
        upright.T,
        np.rot90(upright),
        np.rot90(upright, 2).T,
        np.rot90(upright, -1),
    ]
    for orientation, pixels in enumerate(stored, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo = Image.fromarray(np.ascontiguousarray(pixels))
        (tmp_path / "photo").write_bytes(saved(photo, kind, exif=exif))
        image = read(tmp_path / "photo", grayscale=True)[0].astype(int)
        assert image.shape == upright.shape, orientation
        assert np.abs(image - upright).mean() < 4, orientation


@pytest.mark.parametrize("content", [b"", b"<html>no image</html>", b"\xff\xd8\xff\xe0 broken", b"%PDF-1.7"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.jpg: cannot be"):
        read(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_image_is_named(tmp_path, kind):
    whole = io.BytesIO()
    Image.fromarray(COLORS).resize((200, 200)).save(whole, kind)
    path = tmp_path / "half.jpg"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(DataError, match=r"half\.jpg: cannot be"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be read\. No such file"):
        read(tmp_path / "gone.jpg")


def test_what_is_no_image_is_told_what_is_expected(tmp_path):
    (tmp_path / "page.jpg").write_bytes(b"<html></html>")
    with pytest.raises(DataError) as raised:
        read(tmp_path / "page.jpg")
    message = "It is not an image, or damaged. Expected JPEG, PNG, BMP, TIFF, WEBP or GIF"
    assert str(raised.value) == f"{tmp_path}/page.jpg: cannot be read. {message}"


def test_an_empty_file_and_a_folder_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty\.png: cannot be read\. The file is empty"):
        read(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"cannot be read\. Is a directory"):
        read(tmp_path)


def test_decompression_bombs_are_refused(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png((60_000, 60_000, 8, 0), [b""]))
    jpeg = bytearray(saved(Image.fromarray(GRADIENT), "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 60_000, 60_000)
    (tmp_path / "bomb.jpg").write_bytes(jpeg)
    for name in ("bomb.png", "bomb.jpg"):
        with pytest.raises(DataError, match=rf"{name}: cannot be decoded\. Image size \(3600000000 pixels\)"):
            read(tmp_path / name)


def test_an_image_that_pillow_warns_of_is_read_without_a_word(tmp_path):
    # Large enough for Pillow's warning, but smaller than a decompression bomb.
    large = Image.new("1", (10_000, 9_000), 1)
    large.save(tmp_path / "large.png")
    assert read(tmp_path / "large.png", grayscale=True).shape == (1, 9_000, 10_000)


def whole_files():
    turned = Image.Exif()
    turned[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for kind in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"):
        yield kind, saved(image, kind)
    yield "Exif JPEG", saved(image, "JPEG", exif=turned)
    yield "CMYK JPEG", saved(image.convert("CMYK"), "JPEG")
    yield "Exif PNG", saved(image, "PNG", exif=turned)
    yield "palette PNG", saved(image.convert("P"), "PNG", transparency=bytes(range(100)))
    yield "16-bit PNG", png((5, 6, 16, 2), [row.astype(">u2").tobytes() for row in DEEP])
    yield "LZW TIFF", saved(image, "TIFF", compression="tiff_lzw")


@pytest.mark.parametrize(("kind", "whole"), list(whole_files()), ids=lambda x: x if isinstance(x, str) else "")
def test_a_damaged_file_is_an_image_or_is_named(tmp_path, kind, whole):
    random = np.random.default_rng(1)
    path = tmp_path / "damaged.jpg"
    failed = 0
    for number in range(80):
        damaged = bytearray(whole)
        if number % 4 == 0:
            del damaged[random.integers(len(whole)) :]
        else:  # most errors are in the header
            reach = len(whole) if number % 4 == 1 else min(len(whole), 200)
            for place in random.integers(0, reach, random.integers(1, 6)):
                damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            image = read(path)
        except DataError as error:
            assert str(error).startswith(f"{path}: cannot be ")
            failed += 1
        else:
            assert image.dtype in (np.uint8, np.float32)
            assert image.ndim == 3
    assert failed


@pytest.mark.parametrize("ending", ["jfif", "jpe", "pjpeg", "JFIF"])
def test_other_endings_of_jpeg_files_belong_to_images(tmp_path, ending):
    write_jpeg(tmp_path / f"0.{ending}", GRADIENT)
    assert find_samples(str(tmp_path), READERS["images"]().extensions, "input_path").names == [f"0.{ending}"]
    assert read(tmp_path / f"0.{ending}", grayscale=True).shape == (1, 20, 30)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_images_are_read(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "0.avif", quality=100)
    assert np.abs(read(tmp_path / "0.avif").transpose(1, 2, 0).astype(int) - COLORS).mean() < 3
    assert find_samples(str(tmp_path), READERS["images"]().extensions, "input_path").names == ["0.avif"]


def test_heic_images_are_read_if_the_extra_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(COLORS)).save(tmp_path / "0.heic", quality=100)
    assert np.abs(read(tmp_path / "0.heic").transpose(1, 2, 0).astype(int) - COLORS).mean() < 8
    assert find_samples(str(tmp_path), READERS["images"]().extensions, "input_path").names == ["0.heic"]


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="the extra is installed")
def test_heic_images_without_the_extra_are_left_out_with_the_extra_that_reads_them(tmp_path):
    (tmp_path / "0.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "1.heic").touch()
    write_jpeg(tmp_path / "2.jpg", GRADIENT)
    samples = find_samples(str(tmp_path), READERS["images"]().extensions, "input_path")
    assert samples.names == ["2.jpg"]
    assert describe_ignored(samples.ignored) == (
        "2 files with other endings left out: 2 .heic (the package pillow_heif is not installed. "
        "Install it with `pip install 'rayrml[heic]'`)"
    )
    with pytest.raises(DataError, match=r"It is HEIF, and the package pillow_heif is not installed"):
        read(tmp_path / "0.heic")
