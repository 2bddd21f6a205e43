"""What a look at some samples finds before a run: class numbers, values that no loss can take, unused pixels."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from rayrml.errors import RayrmlError
from rayrml.planning.preparation import prepare

SIZE = 8


def unet(classes, activation):
    """The layers of a network with an output for each pixel."""
    out = {"name": "out", "filters": classes, "kernel_size": 1, "activation": activation}
    return [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, SIZE, SIZE, 3], "name": "input"}},
        {"class_name": "Conv2D", "config": out},
    ]


@pytest.fixture
def segmentation(tmp_path):
    """A function that writes images with these masks, and gives a configuration that trains on them."""

    def make(masks, *, classes=3, activation="log_softmax", loss=None, **data):
        for name in ("x", "y"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            (tmp_path / name).mkdir()
        noise = np.random.default_rng(0)
        for number, mask in enumerate(masks):
            Image.fromarray(noise.integers(0, 255, (SIZE, SIZE, 3), np.uint8)).save(tmp_path / "x" / f"{number}.png")
            image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
            image.save(tmp_path / "y" / f"{number}.png")
        return {
            "neural_network": {
                "num_epochs": 1,
                "layers": unet(classes, activation),
                "data": {
                    "input_type": "images",
                    "target_type": "images",
                    "input_path": str(tmp_path / "x"),
                    "target_path": str(tmp_path / "y"),
                    **data,
                },
                "optimizer": {"type": "SGD"},
                "loss": loss or {"function": "NLL"},
            }
        }

    return make


def mask(*values):
    """A mask with as many pixels of each of the values."""
    return np.resize(np.repeat(np.array(values, np.uint8), SIZE * SIZE // len(values)), (SIZE, SIZE))


def labels_of(plan):
    """The class numbers in the training targets, as the loss gets them."""
    side = plan.training.target
    return [np.unique(side.decoding.array(side.samples.place(i))).tolist() for i in range(len(side.samples))]


def problems_of(config):
    with pytest.raises(RayrmlError) as caught:
        prepare(config)
    return [str(problem) for problem in caught.value.problems]


def test_class_numbers_are_read_as_they_are_whatever_the_form_of_the_file(segmentation):
    palette = Image.fromarray(mask(0, 1, 2)).convert("L")
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    deep = Image.fromarray(mask(0, 1, 2).astype(np.uint16))
    plan = prepare(segmentation([mask(0, 1, 2), palette, deep, mask(2)]))
    assert labels_of(plan) == [[0, 1, 2]] * 3 + [[2]]
    seen = plan.observations["training"].target_values
    assert re.fullmatch(r"0: 2\d\.\d%, 1: 2\d\.\d%, 2: \d\d\.\d% \(4 of 4 sampled\)", seen)
    assert not plan.warnings
    assert plan.training.target.shape == (1, SIZE, SIZE)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_black_and_white_are_the_two_classes_whichever_file_comes_first(segmentation, order):
    masks = [mask(0, 255), mask(0, 1)]
    plan = prepare(segmentation([masks[i] for i in order], classes=2))
    assert labels_of(plan) == [[0, 1], [0, 1]]


def test_resizing_does_not_mix_class_numbers(segmentation):
    large = Image.fromarray(mask(0, 2)).resize((31, 29), Image.Resampling.NEAREST)
    config = segmentation([large], transforms=[{"resize": [SIZE, SIZE]}])
    assert labels_of(prepare(config)) == [[0, 2]]


def test_with_normalize_shares_of_white_are_rounded(segmentation):
    config = segmentation([mask(0, 1, 2)], target_transforms=[{"normalize": {"std": 0.00392}}], target_grayscale=True)
    plan = prepare(config)
    assert labels_of(plan) == [[0, 1, 2]], "pixels stay bytes, and become class numbers in batches"
    assert plan.training.target.pixels
    assert plan.observations["training"].target_values.startswith("0: ")


def test_masks_whose_classes_are_rounded_away_are_refused_with_the_cure(segmentation):
    config = segmentation([mask(0, 1, 2)] * 3, target_transforms=[{"normalize": {"std": 1}}], target_grayscale=True)
    (problem,) = problems_of(config)
    assert "all training targets become class 0, but their files hold 0, 1, 2 (3 of 3 sampled)" in problem
    assert "without 'normalize'" in problem


def test_a_number_of_no_class_is_named_with_its_file_and_how_to_ignore_it(segmentation):
    first, rest = problems_of(segmentation([mask(0, 1), mask(0, 255), mask(2)]))
    assert "y/1.png: holds 255. Expected class numbers from 0 to 2" in first
    assert '"ignore_index": 255 in the loss' in first
    assert rest == "1 of 3 samples that were looked at cannot be used"
    plan = prepare(segmentation([mask(0, 255)], loss={"function": "NLL", "ignore_index": 255}))
    assert plan.observations["training"].target_values == "0: 100.0%, ignored: 50.0% (1 of 1 sampled)"


def test_samples_of_no_class_are_left_to_the_run_that_skips_them(segmentation):
    plan = prepare(segmentation([mask(0, 1), mask(0, 255), mask(0)], on_bad_sample="skip"))
    seen = plan.observations["training"].target_values
    assert seen.endswith("(3 of 3 sampled, without 1 that cannot be used)")


@pytest.mark.parametrize("classes", [3, 2])
def test_masks_in_colour_are_named_as_such_with_the_cure(segmentation, classes):
    masks = [Image.fromarray(mask(0, 1)).convert("RGB")]
    (problem,) = problems_of(segmentation(masks, classes=classes, target_transforms=[{"normalize": {"std": 0.00392}}]))
    assert "the target images have 3 channels, but the loss takes one class number for each pixel" in problem
    assert '"target_grayscale": true' in problem
    assert "y/0.png" in problem


def test_a_first_target_of_another_size_is_named(segmentation):
    large = Image.fromarray(mask(0, 1)).resize((16, 16), Image.Resampling.NEAREST)
    (problem,) = problems_of(segmentation([large, mask(0, 1)]))
    assert "the target has shape (16, 16), but for an output (3, 8, 8) the loss needs (8, 8)" in problem
    assert "y/0.png')" in problem


@pytest.mark.parametrize("function", ["Dice", "Jaccard", "Focal"])
def test_shades_of_gray_are_no_classes(segmentation, function):
    config = segmentation([mask(0, 90, 128, 255)], classes=1, activation="sigmoid", loss={"function": function})
    assert '"normalize": {"std": 1}} in target_transforms rounds shades of gray' in problems_of(config)[0]


def test_bce_takes_class_numbers_of_masks_and_refuses_what_is_nearly_black(segmentation):
    bce = {"classes": 1, "activation": "sigmoid", "loss": {"function": "BCE"}, "target_grayscale": True}
    plan = prepare(segmentation([mask(0, 1)], target_is_mask=True, **bce))
    assert labels_of(plan) == [[0, 1]]
    (problem,) = problems_of(segmentation([mask(0, 1)], **bce))
    assert "nearly black: their pixels are 0 to 1 of 255" in problem
    assert '"target_is_mask": true' in problem
    assert prepare(segmentation([mask(0, 255)], **bce)).training.target.pixels


def test_targets_of_one_class_are_told_of(segmentation):
    plan = prepare(segmentation([mask(1)] * 2))
    assert plan.observations["training"].warnings == ("all training targets are of class 1 alone (2 of 2 sampled)",)


def write_arrays(folder, arrays):
    folder.mkdir()
    for number, array in enumerate(arrays):
        np.save(folder / f"{number}.npy", array)
    return str(folder)


@pytest.mark.parametrize(
    ("target", "loss", "activation", "message"),
    [
        ([0, 255], "NLL", "log_softmax", "holds 255. Expected class numbers from 0 to 1"),
        ([0, 0.5], "NLL", "log_softmax", "holds 0.5. Expected class numbers from 0 to 1"),
        ([0, 255], "BCE", "sigmoid", r"holds 255. BCE compares outputs with targets in [0, 1]"),
        ([0, np.nan], "MSE", None, "values that are not finite numbers (NaN)"),
        ([0, np.inf], "MSE", None, "values that are not finite numbers (infinite)"),
    ],
)
def test_arrays_that_the_loss_cannot_take_are_named(tmp_path, target, loss, activation, message):
    channels, zeros = 2 if loss == "NLL" else 1, np.zeros((1, SIZE, SIZE))
    config = {
        "neural_network": {
            "layers": unet(channels, activation),
            "data": {
                "type": "numpy",
                "input_path": write_arrays(tmp_path / "x", [np.zeros((3, SIZE, SIZE), np.float32)] * 2),
                "target_path": write_arrays(tmp_path / "y", [zeros, np.resize(target, zeros.shape)]),
            },
            "optimizer": {"type": "SGD"},
            "loss": {"function": loss},
        }
    }
    first, *_ = problems_of(config)
    assert "y/1.npy: holds" in first
    assert message in first


def test_inputs_that_are_not_finite_are_named(tmp_path):
    zeros = np.zeros((3, SIZE, SIZE))
    config = {
        "neural_network": {
            "layers": unet(1, None),
            "data": {
                "type": "numpy",
                "input_path": write_arrays(tmp_path / "x", [zeros, np.full(zeros.shape, np.nan)]),
                "target_path": write_arrays(tmp_path / "y", [np.zeros((1, SIZE, SIZE))] * 2),
            },
            "optimizer": {"type": "SGD"},
            "loss": {"function": "MSE"},
        }
    }
    assert "x/1.npy: holds 192 of 192 values that are not finite" in problems_of(config)[0]


# Images


def classifier(folder, **data):
    return {
        "neural_network": {
            "layers": [
                {"class_name": "Flatten", "config": {"name": "flat"}},
                {"class_name": "Dense", "config": {"name": "out", "units": 2, "activation": "log_softmax"}},
            ],
            "data": {"input_type": "images", "target_type": "labels", "input_path": str(folder), **data},
            "optimizer": {"type": "SGD"},
            "loss": {"function": "NLL"},
        }
    }


def write_classes(folder, make, suffix, **options):
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            make(number).save(folder / label / f"{number}.{suffix}", **options)


def gray(number, dtype=np.uint8):
    return Image.fromarray(np.full((SIZE, SIZE), number, dtype))


def warnings_of(config):
    return prepare(config).observations["training"].warnings


def test_frames_that_are_not_read_are_told_of(tmp_path):
    write_classes(tmp_path, gray, "gif", save_all=True, append_images=[gray(9)])
    (warning,) = warnings_of(classifier(tmp_path))
    assert warning == "6 of 6 training inputs sampled have several frames: only the first is read"


def test_transparency_that_is_not_read_is_told_of(tmp_path):
    write_classes(tmp_path, lambda number: gray(number).convert("RGBA"), "png")
    (warning,) = warnings_of(classifier(tmp_path))
    assert warning == "6 of 6 training inputs sampled have transparency, which is not read: colors stay"


def test_16_bits_of_cameras_with_fewer_are_told_of_with_the_scale(tmp_path):
    write_classes(tmp_path, lambda number: gray(4000 + number, np.uint16), "png")
    (warning,) = warnings_of(classifier(tmp_path))
    values = "values up to 4,002 of 65,535: nearly black"
    counted = "6 of 6 training inputs sampled have 16 bits per value"
    assert warning == f'{counted}, and {values}. "scale": 4095 makes them bright'
    assert warnings_of(classifier(tmp_path, scale=4095)) == ()
    assert warnings_of(classifier(tmp_path, scale="max")) == ()
    (warning,) = warnings_of(classifier(tmp_path, scale=4000))
    assert warning == f'{counted}, and values up to 4,002, above white, which is 4000 by "scale"'


def test_16_bits_that_use_their_range_have_no_warning(tmp_path):
    write_classes(tmp_path, lambda number: gray(40_000 + number, np.uint16), "png")
    assert warnings_of(classifier(tmp_path)) == ()


def test_plain_images_have_no_warning(tmp_path):
    write_classes(tmp_path, gray, "png")
    assert warnings_of(classifier(tmp_path)) == ()


def test_a_photo_that_is_turned_and_its_mask_that_is_not_are_told_of(segmentation, tmp_path):
    config = segmentation([mask(0, 1)], transforms=[{"resize": [SIZE, SIZE]}])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((6, 12, 3), np.uint8)).save(tmp_path / "x" / "0.jpg", exif=exif)
    (tmp_path / "x" / "0.png").unlink()
    Image.fromarray(np.resize(mask(0, 1), (6, 12))).save(tmp_path / "y" / "0.png")
    (warning,) = warnings_of(config)
    assert "0.jpg' is 12 x 6 (height x width), but its target" in warning
    assert "is 6 x 12" in warning
    assert "the input is turned (EXIF orientation 6)" in warning


def test_folders_of_one_name_in_several_places_are_told_of_with_the_tag(tmp_path):
    for animal in ("cats", "dogs"):
        for place in ("kaggle", "wild"):
            (tmp_path / "train" / animal / place).mkdir(parents=True)
            gray(1).save(tmp_path / "train" / animal / place / "0.png")
    (warning,) = warnings_of(classifier(tmp_path / "train"))
    assert "'cats/kaggle', 'dogs/kaggle' are one class, 'kaggle'" in warning
    tag = json.loads("{" + warning.partition(": ")[2].strip() + "}")
    plan = prepare(classifier(tmp_path / "train", **tag))
    assert plan.classes == ("cats", "dogs")
    assert plan.observations["training"].warnings == ()


def test_a_single_class_is_one_sentence(tmp_path):
    (tmp_path / "a").mkdir()
    gray(1).save(tmp_path / "a" / "0.png")
    (problem,) = problems_of(classifier(tmp_path))
    assert "all training samples are of the class 'a'. Expected a folder for each of several classes" in problem


def test_masks_whose_compression_changes_numbers_are_told_of(segmentation, tmp_path):
    config = segmentation([mask(1)] * 2)
    assert not [text for text in warnings_of(config) if "compression" in text]
    for number in range(2):
        (tmp_path / "y" / f"{number}.png").unlink()
        Image.fromarray(mask(1)).save(tmp_path / "y" / f"{number}.jpg", quality=100)
    (warning,) = [text for text in warnings_of(config) if "compression" in text]
    assert warning.startswith("2 of 2 training targets sampled are JPEG files")


@pytest.mark.parametrize("position", [0, 2])
def test_an_unlabelled_255_beside_two_classes_is_not_taken_for_white(segmentation, position):
    masks = [mask(0, 1), mask(0, 1), mask(0, 1)]
    masks[position] = mask(0, 1, 255)
    first, _ = problems_of(segmentation(masks, classes=2))
    assert f"y/{position}.png: holds 255. Expected class numbers from 0 to 1" in first
    assert '"ignore_index": 255 in the loss' in first


def test_black_and_white_masks_in_jpeg_files_are_two_classes(segmentation, tmp_path):
    config = segmentation([mask(0, 255)], classes=2)
    (tmp_path / "y" / "0.png").unlink()
    Image.fromarray(np.eye(SIZE, dtype=np.uint8) * 255).save(tmp_path / "y" / "0.jpg", quality=95)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "y" / "0.jpg"))).tolist()) - {0, 255}
    assert labels_of(prepare(config)) == [[0, 1]]
