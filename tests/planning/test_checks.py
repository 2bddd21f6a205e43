"""What samples and network reveal before a run."""

import copy

import numpy as np
import pytest
from PIL import Image

from rayrml.data.readers.images import read_header
from rayrml.errors import DataError
from rayrml.formatting import format_bytes
from rayrml.planning import checks
from rayrml.planning.preparation import prepare
from tests.conftest import dense_network, training_config, write_jpeg


@pytest.fixture
def plan_of(tmp_path, write_digits):
    """A function that plans training on so many digits of each class, with some keys of the data section changed."""
    numbers = iter(range(100))

    def plan(training, test, **data):
        folder = tmp_path / str(next(numbers))
        for part, name, counts in (("training", "training", training), ("testing", "testing", test)):
            for digit, count in counts.items():
                write_digits(folder / name, part, (digit,), count)
                if not count:
                    (folder / name / str(digit)).rmdir()
        config = training_config(folder, tmp_path / "out", **data)
        config["neural_network"]["layers"] = dense_network(len(training))
        return prepare(config, {})

    return plan


def test_classes_are_counted_side_by_side(plan_of):
    lines = list(checks.classes(plan_of({3: 4, 5: 6}, {3: 2, 5: 1})))
    assert [line.split() for line in lines[1:]] == [["3", "4", "2"], ["5", "6", "1"]]
    assert "Samples (training)" in lines[0]
    assert "Samples (test)" in lines[0]


def test_a_class_without_test_samples_is_named(plan_of):
    *_, line = checks.classes(plan_of({3: 4, 5: 6}, {3: 2}))
    assert line == "Warning: no test samples of: 5"


def test_sizes_of_images_are_shown_with_what_becomes_of_them(plan_of, tmp_path):
    plan = plan_of({3: 2, 5: 2}, {3: 2, 5: 1}, transforms=[{"resize": [28, 28]}])
    assert list(checks.image_sizes(plan))[1].split("  ")[-1].strip() == "no"
    write_jpeg(tmp_path / "0" / "training" / "3" / "large.jpg", np.zeros((50, 20), np.uint8))
    again = prepare(plan.config.model_dump(by_alias=True), {})
    _, training, test = checks.image_sizes(again)
    assert training.split() == ["training", "inputs", "28", "x", "20", "50", "x", "28", "5", "28", "x", "28"]
    assert test.split() == ["test", "inputs", "28", "x", "28", "28", "x", "28", "3", "no"]


def test_images_of_several_sizes_that_nobody_resizes_are_warned_of(plan_of, tmp_path):
    plan = plan_of({3: 2, 5: 2}, {3: 2, 5: 1})
    write_jpeg(tmp_path / "0" / "training" / "3" / "large.jpg", np.zeros((50, 20), np.uint8))
    *_, warning = checks.image_sizes(prepare(plan.config.model_dump(by_alias=True), {}))
    assert warning.startswith("Warning: training inputs have different sizes. ")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_an_image_is_that_of_the_upright_one(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("L", (30, 20)).save(tmp_path / "x.jpg", exif=exif)
    assert read_header(str(tmp_path / "x.jpg")).size == ((20, 30) if orientation < 5 else (30, 20))


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\xff\xd8\xff\xe0broken", b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 20]
)
def test_what_is_no_image_has_no_size(tmp_path, content):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.jpg"):
        read_header(str(tmp_path / "x.jpg"))


def test_memory_is_counted_part_by_part(plan_of):
    plan = plan_of({3: 5, 5: 6}, {3: 2, 5: 1}, preload=True)
    weights = plan.network.num_trainable_parameters
    # The input, both convolutions, the pooling between them, the flat row and the classes.
    outputs = 28 * 28 + 4 * 26 * 26 + 4 * 8 * 8 + 2 * 6 * 6 * 6 + 2
    parts = checks.memory_parts(plan, 2)
    batch = parts.pop("One batch in the network")
    assert parts == {
        "Weights": 4 * weights,
        "Gathered weights": 0,
        "Gradients": 4 * weights,
        "Optimizer state": 4 * weights,  # its momentum
        "Weight average": 0,
        "Preloaded samples": 28 * 28 * (6 + 2),
    }
    kept = 4 * 4 * outputs  # four of the eight samples, four bytes each
    assert kept < batch < 6 * kept  # there are also gradients, and gaps
    lines = checks.memory(plan, 1)
    assert lines[0].split() == ["Memory", "of", "a", "worker", "(estimate)", "Size"]
    assert [line.split()[0] for line in lines[-2:]] == ["Total", "Available"]
    assert [line[:18].strip() for line in checks.memory(plan, 2)[-3:]] == [
        "Total",
        "Total of 2 workers",
        "Available on this",
    ]
    assert checks.step_memory(plan, 2) == parts["Gradients"] + parts["Optimizer state"] + batch


@pytest.mark.parametrize("way", ["zero1", "fsdp"])
def test_what_workers_divide_is_not_counted_for_each(plan_of, way):
    plan = plan_of({3: 5, 5: 6}, {3: 2, 5: 1})
    whole = checks.memory_parts(plan, 4)
    divided = prepare(plan.config.model_dump(by_alias=True) | {"ray": {"sharding": way}}, {})
    parts = checks.memory_parts(divided, 4)
    assert 4 * parts["Optimizer state"] == whole["Optimizer state"]
    assert parts["Gradients"] == whole["Gradients"] // (4 if way == "fsdp" else 1)
    assert parts["Weights"] == whole["Weights"] // (4 if way == "fsdp" else 1)
    # In evaluations, each worker has all of them; in a step of so small a network, they and their gradients are whole.
    assert parts["Gathered weights"] == (2 * whole["Weights"] if way == "fsdp" else 0)
    saved = sum(whole.values()) - sum(parts.values())
    assert f"sharding saves {format_bytes(saved)} of each worker" in checks.memory(divided, 4)
    assert "sharding saves nothing: one worker" in checks.memory(divided, 1)
    assert checks.memory_parts(divided, 1) == checks.memory_parts(plan, 1)


def test_inference_needs_neither_gradients_nor_what_lies_behind(plan_of):
    raw = copy.deepcopy(plan_of({3: 2, 5: 2}, {3: 20, 5: 20}).config.model_dump(by_alias=True))
    raw["neural_network"]["data"] |= {"input_path": None, "target_type": None}
    parts = checks.memory_parts(prepare(raw | {"neural_network": raw["neural_network"]}, {}), 1)
    assert {name for name, size in parts.items() if size} == {"Weights", "One batch in the network"}
    least = 4 * 4 * (28 * 28 + 4 * 26 * 26)  # a convolution and its input
    assert least < parts["One batch in the network"] < 4 * least
