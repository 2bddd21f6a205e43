"""Images of more than 8 bits, from files to what the network gets."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from rayrml.data.reader_keys import describe_reading
from rayrml.errors import ConfigError, DataError
from rayrml.planning import summary
from rayrml.planning.preparation import prepare
from rayrml.reporting.console import Console

SIZE = 8


def config(folder, channels=3, layers=(), **data):
    return {
        "neural_network": {
            "layers": [
                {"class_name": "InputLayer", "config": {"batch_input_shape": [None, SIZE, SIZE, channels]}},
                *layers,
                {"class_name": "GlobalAveragePooling2D", "config": {}},
                {"class_name": "Dense", "config": {"units": 2, "activation": "log_softmax"}},
            ],
            "data": {"input_type": "images", "target_type": "labels", "input_path": str(folder), **data},
            "optimizer": {"type": "SGD"},
            "loss": {"function": "NLL"},
        }
    }


def write(folder, arrays, ending="png", **options):
    """Arrays as files of two classes in turn."""
    for number, array in enumerate(arrays):
        path = folder / "ab"[number % 2] / f"{number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if ending == "tif":
            tifffile.imwrite(path, array, photometric="minisblack", **options)
        else:
            Image.fromarray(array).save(path, **options)


def flat(number, kind):
    return np.full((SIZE, SIZE), number, kind)


def samples(plan):
    side = plan.training.input
    places = [side.samples.place(i) for i in range(len(side.samples))]
    rows = np.zeros((len(places), *side.shape), side.dtype)
    assert set(side.decoding.fill(places, rows)) == {""}
    return {name: float(row.max()) for name, row in zip(side.samples.names, rows, strict=True)}


def test_bytes_stay_bytes(tmp_path):
    write(tmp_path, [flat(9, np.uint8)] * 4)
    plan = prepare(config(tmp_path))
    assert plan.training.input.dtype == np.uint8
    assert plan.config.neural_network.data.input_scale is None


def test_each_file_of_a_mixed_folder_is_divided_by_its_own_range(tmp_path):
    for name, first in (("x", np.uint8), ("y", np.uint16)):
        second = np.uint16 if first == np.uint8 else np.uint8
        write(tmp_path / name, [flat(np.iinfo(kind).max, kind) for kind in (first, second, first, second)])
        plan = prepare(config(tmp_path / name))
        assert plan.training.input.dtype == np.float32
        assert set(samples(plan).values()) == {1.0}


def test_a_file_of_16_bits_that_was_not_looked_at_is_refused_and_not_shortened(tmp_path):
    write(tmp_path, [flat(9, np.uint8)] * 4, "bmp")
    Image.fromarray(flat(9999, np.uint16)).save(tmp_path / "a" / "9.bmp", "PNG")
    side = prepare(config(tmp_path)).training.input
    rows = np.zeros((5, *side.shape), side.dtype)
    errors = side.decoding.fill([side.samples.place(i) for i in range(5)], rows)
    assert [error for error in errors if error] == [
        f"{tmp_path}/a/9.bmp: holds float32, but {tmp_path}/a/0.bmp holds uint8. "
        '"scale": "range" reads images of 8 and 16 bits alike'
    ]
    found = samples(prepare(config(tmp_path, scale="range")))
    assert found["a/0.bmp"] == pytest.approx(9 / 255)
    assert found["a/9.bmp"] == pytest.approx(9999 / 65535)


def test_numbers_of_32_bits_are_no_pixels(tmp_path):
    write(tmp_path, [flat(-number, np.float32) for number in range(4)], "tif")
    plan = prepare(config(tmp_path))
    assert not plan.training.input.pixels
    assert samples(plan) == {"a/0.tif": 0, "a/2.tif": -2, "b/1.tif": -1, "b/3.tif": -3}
    with pytest.raises(ConfigError, match="works on image pixels, but samples are arrays of other numbers"):
        prepare(config(tmp_path, input_transforms=[{"convert_color": "RGB2HSV"}]))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    write(tmp_path, [flat(np.nan, np.float32)] * 4, "tif")
    with pytest.raises(DataError, match="not finite"):
        prepare(config(tmp_path))


def test_floats_beside_bytes_need_a_scale(tmp_path):
    write(tmp_path, [flat(5, np.float32), flat(200, np.uint8)] * 2, "tif")
    with pytest.raises(
        DataError, match=r'0\.tif\' has values of 32 bits, or with a sign, but .* of 8 bits\. "scale": "max"'
    ):
        prepare(config(tmp_path))
    assert set(samples(prepare(config(tmp_path, scale="max"))).values()) == {1.0}


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_what_was_found_is_how_predictions_read(tmp_path, kind):
    write(tmp_path, [flat(5, kind)] * 4, "tif")
    data = prepare(config(tmp_path)).config.neural_network.data
    assert describe_reading(data)["scale"] == ("range" if kind == np.uint16 else "values")


def test_colors_are_converted_alike_in_all_depths(tmp_path):
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    write(tmp_path / "x", [colors] * 4)
    hsv = [{"convert_color": "RGB2HSV"}]
    own = prepare(config(tmp_path / "x", input_transforms=hsv)).training.input
    deep = prepare(config(tmp_path / "x", input_transforms=hsv, scale="range")).training.input
    arrays = [side.decoding.array(side.samples.place(0)) for side in (own, deep)]
    assert np.abs(arrays[0] / 255 - arrays[1]).max() < 1e-6


def test_a_layer_that_divides_by_255_again_is_told_of(tmp_path):
    write(tmp_path, [flat(50_000, np.uint16)] * 4)
    plan = prepare(config(tmp_path, layers=[{"class_name": "Rescaling", "config": {"scale": 1 / 255, "offset": 0}}]))
    assert "divides by 255 again" in plan.warnings[0]


def test_pages_stop_a_run_until_a_key_says_what_they_are(tmp_path):
    pages = np.stack([flat(number, np.uint8) for number in range(3)])
    write(tmp_path, [pages] * 4, "tif")
    with pytest.raises(DataError, match=r'0\.tif: .*It has 3 pages\. "pages": "first" reads one of them, "channels"'):
        prepare(config(tmp_path))
    assert set(samples(prepare(config(tmp_path, pages="first"))).values()) == {0}
    assert prepare(config(tmp_path, pages="channels")).training.shape == (3, SIZE, SIZE)
    plan = prepare(config(tmp_path, 1, grayscale=True, pages="samples"))
    assert plan.training.samples.labels.tolist() == [0] * 6 + [1] * 6
    assert plan.training.samples.names[:3] == ["a/0.tif/0000", "a/0.tif/0001", "a/0.tif/0002"]
    assert list(samples(plan).values()) == [0, 1, 2] * 4


def test_pages_of_images_and_masks_are_pairs(tmp_path):
    for number in range(2):
        stack = np.stack([flat(page, np.uint16) for page in range(3)])
        for folder in ("x", "y"):
            (tmp_path / folder).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / folder / f"{number}.tif", stack, photometric="minisblack")
    network = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, SIZE, SIZE, 1]}},
        {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 1, "activation": "log_softmax"}},
    ]
    whole = config(tmp_path / "x", grayscale=True, pages="samples", target_type="images")
    whole["neural_network"]["layers"] = network
    whole["neural_network"]["data"]["target_path"] = str(tmp_path / "y")
    target = prepare(whole).training.target
    classes = [target.decoding.array(target.samples.place(i)).max() for i in range(6)]
    assert classes == [0, 1, 2] * 2


@pytest.mark.parametrize(
    ("scale", "shown"),
    [
        (None, "float32, fractions of the type's range"),
        ("max", "float32, fractions of each maximum"),
        (4095, "float32, divided by 4095"),
    ],
)
def test_the_screen_says_what_became_of_the_values(tmp_path, capsys, scale, shown):
    write(tmp_path, [flat(4000, np.uint16)] * 4)
    plan = prepare(config(tmp_path, channels=1, grayscale=True, **({} if scale is None else {"scale": scale})))
    summary.plan(Console(stamped=False), plan, 1)
    assert f"Sample type                 : {shown}\n" in capsys.readouterr().out


def test_bytes_are_no_special_type_on_the_screen(tmp_path, capsys):
    write(tmp_path, [flat(9, np.uint8)] * 4)
    summary.plan(Console(stamped=False), prepare(config(tmp_path)), 1)
    assert "Sample type" not in capsys.readouterr().out
