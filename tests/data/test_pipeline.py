import numpy as np
import pytest
from PIL import Image

from rayrml.config.tables import choose
from rayrml.data import pipeline
from rayrml.data.decoding import Decoding
from rayrml.data.discovery import Samples, find_samples
from rayrml.data.readers import READERS
from rayrml.data.sources import Side, Source
from rayrml.data.transforms import parse_transforms, split_transforms

pytestmark = pytest.mark.ray
NUM_SAMPLES = 50


@pytest.fixture
def source(tmp_path):
    """Pairs of arrays filled with the sample's number, of which three cannot be read."""
    sides = []
    for name, shape in (("input", (2, 3)), ("target", (1, 4))):
        (tmp_path / name).mkdir()
        for i in range(NUM_SAMPLES):
            np.save(tmp_path / name / f"{i:03}.npy", np.full(shape, i, np.float32))
        samples = find_samples(str(tmp_path / name), {".npy"}, "input_path")
        decoding = Decoding(choose(READERS, {"type": "numpy"}, "data"), shape, np.dtype("f4"), samples.path(0))
        sides.append(Side(samples, decoding, pixels=False))
    for name, i in (("input", 7), ("target", 19), ("input", 40)):
        (tmp_path / name / f"{i:03}.npy").write_bytes(b"damaged")
    return Source(*sides, "training")


def decoded(source, order, **options):
    """Numbers of inputs and targets, and whether each has an error, in the order in which they arrive."""
    inputs, targets, errors = [], [], []
    blocks = list(pipeline.decode(source, order, decode_cpus=0.5, **options))
    for block in blocks:
        assert block.first == len(inputs)
        inputs += block.inputs[:, 0, 0].tolist()
        targets += block.targets[:, 0, 0].tolist()
        errors += [bool(error) for error in block.errors]
    return inputs, targets, errors, len(blocks)


@pytest.mark.parametrize("seconds", [None, 0.0, 100.0])
def test_samples_come_in_the_order_asked_for_whoever_decodes_them(ray_cluster, source, monkeypatch, seconds):
    order = np.random.default_rng(0).permutation(NUM_SAMPLES)
    if seconds is not None:
        monkeypatch.setattr(pipeline, "_SECONDS_STREAMING", seconds)  # 0: the first few here, the others in tasks
    inputs, targets, errors, num_blocks = decoded(source, order, alone=seconds is not None)
    assert num_blocks > 1
    for i, given, wanted, error in zip(order, inputs, targets, errors, strict=True):
        assert error == (i in (7, 19, 40))
        assert given == (0 if i in (7, 40) else i)
        assert wanted == (0 if i == 19 else i)


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_a_part_of_the_samples_is_decoded_alone(ray_cluster, source, monkeypatch, seconds):
    monkeypatch.setattr(pipeline, "_SECONDS_STREAMING", seconds or 0.0)
    order = np.array([30, 3, 12])
    inputs, _, errors, _ = decoded(source, order, alone=seconds is not None, smallest_chunk=2)
    assert inputs == [30, 3, 12]
    assert not any(errors)


def test_nothing_is_decoded_of_nothing(ray_cluster, source):
    assert list(pipeline.decode(source, np.array([], int), decode_cpus=0.5)) == []


def varying_sides(tmp_path, count=9):
    """Images of different sizes, each its own target, that are turned and cropped when they are decoded."""
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 256, (20 + i, 30 - i, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
    samples = Samples(str(tmp_path), [f"{i}.png" for i in range(count)])
    chosen = parse_transforms([{"random_rotate": 30}, {"random_resized_crop": {"size": [8, 9]}}], "t")
    operations = split_transforms(chosen, varying=("input",)).input
    decoding = Decoding(
        choose(READERS, {"type": "images"}, "data"), (3, 8, 9), np.dtype("u1"), "first", vary=operations.varying
    )
    return Source(Side(samples, decoding), Side(samples, decoding), "varying")


def test_random_numbers_of_samples_do_not_depend_on_tasks_and_order(ray_cluster, tmp_path):
    source = varying_sides(tmp_path).randomized()
    assert source.random
    indices = np.array([7, 0, 3, 8, 1])
    alone = list(pipeline.decode(source, indices, decode_cpus=1, alone=True, seed=5))
    tasks = list(pipeline.decode(source, indices[::-1].copy(), decode_cpus=1, smallest_chunk=2, seed=5))
    first, second = (np.concatenate([part.inputs for part in parts]) for parts in (alone, tasks))
    assert np.array_equal(first, second[::-1])
    assert all(np.array_equal(part.inputs, part.targets) for part in [*alone, *tasks])
    (other,) = pipeline.decode(source, indices, decode_cpus=1, alone=True, seed=6)
    assert (other.inputs != first).any((1, 2, 3)).all()


def test_a_sample_that_is_used_again_has_other_random_numbers(ray_cluster, tmp_path):
    source = varying_sides(tmp_path).randomized()
    indices, uses = np.array([3, 0, 3, 3]), np.array([3, 0, 9, 10])
    for options in ({"alone": True}, {"smallest_chunk": 2}):
        parts = pipeline.decode(source, indices, decode_cpus=1, seed=5, uses=uses, **options)
        first, _, again, third = np.concatenate([part.inputs for part in parts])
        (once,) = pipeline.decode(source, np.array([3]), decode_cpus=1, alone=True, seed=5)
        assert np.array_equal(first, once.inputs[0])
        assert not np.array_equal(first, again)
        assert not np.array_equal(again, third)


def test_without_random_numbers_samples_are_decoded_as_in_evaluation(ray_cluster, tmp_path):
    source = varying_sides(tmp_path)
    assert not source.random
    both = [
        next(pipeline.decode(source, np.arange(3), decode_cpus=1, alone=True, seed=seed)).inputs for seed in (None, 5)
    ]
    assert np.array_equal(*both)
    place = source.samples.place(0)
    assert np.array_equal(both[0][0], source.input.decoding.array(place))
