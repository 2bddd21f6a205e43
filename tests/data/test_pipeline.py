import threading
import time

import numpy as np
import pytest
from PIL import Image

from rayrml.cluster import late_start
from rayrml.cluster.late_start import LateStart
from rayrml.config.tables import choose
from rayrml.data import decode_tasks, pipeline, task_sizes
from rayrml.data.decode_tasks import make_task
from rayrml.data.decoding import Decoding
from rayrml.data.discovery import Samples, find_samples
from rayrml.data.pipeline import Pipeline
from rayrml.data.readers import READERS
from rayrml.data.sources import Side, Source
from rayrml.data.transforms import parse_transforms, split_transforms
from rayrml.errors import ClusterError

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
    blocks = list(Pipeline(decode_cpus=0.5).decode(source, order, **options))
    for block in blocks:
        assert block.first == len(inputs)
        inputs += block.inputs[:, 0, 0].tolist()
        targets += block.targets[:, 0, 0].tolist()
        errors += [bool(error) for error in block.errors]
    return inputs, targets, errors, len(blocks)


@pytest.fixture
def in_tasks(monkeypatch):
    """Tasks decode all samples but the first ones, and there are several windows of several of them."""
    monkeypatch.setattr(pipeline, "_SECONDS_STREAMING", 0.0)
    monkeypatch.setattr(pipeline, "_SECONDS_WARM", 0.0)
    monkeypatch.setattr(pipeline, "_SECONDS_COLD", 0.0)
    monkeypatch.setattr(task_sizes, "_SECONDS", 1e-9)
    monkeypatch.setattr(task_sizes, "_FEWEST_SECONDS", 1e-9)
    monkeypatch.setattr(task_sizes, "_FIRST_SECONDS", 1e-9)
    monkeypatch.setattr(task_sizes, "_FIRST_WINDOW", 4)
    monkeypatch.setattr(task_sizes, "LARGEST_WINDOW", 8)


@pytest.mark.parametrize("here", [True, False])
def test_samples_come_in_the_order_asked_for_whoever_decodes_them(ray_cluster, source, request, here):
    order = np.random.default_rng(0).permutation(NUM_SAMPLES)
    if not here:
        request.getfixturevalue("in_tasks")
    inputs, targets, errors, num_blocks = decoded(source, order)
    assert num_blocks > 1
    for i, given, wanted, error in zip(order, inputs, targets, errors, strict=True):
        assert error == (i in (7, 19, 40))
        assert given == (0 if i in (7, 40) else i)
        assert wanted == (0 if i == 19 else i)


def test_this_process_decodes_until_a_ray_that_is_needed_has_started(ray_cluster, source, in_tasks, monkeypatch):
    for name, value in (("_SECONDS_OF_START", 0.0), ("_FIRST_SAMPLES", 4), ("_MOST_HERE", 4)):
        monkeypatch.setattr(pipeline, name, value)
    order = np.random.default_rng(0).permutation(NUM_SAMPLES)
    started, said, begun = threading.Event(), [], []
    resources = {**ray_cluster.nodes()[0]["Resources"], "CPU": 4.0}
    with late_start.offering(LateStart(lambda: begun.append(started.wait(10)), lambda: None, resources)):
        arriving = Pipeline(decode_cpus=0.5, say=said.append).decode(source, order)
        blocks = [next(arriving) for _ in range(5)]
        started.set()
        while not late_start.find_offer().is_up:
            time.sleep(0.01)
        blocks += arriving
    numbers = np.concatenate([block.inputs[:, 0, 0] for block in blocks])
    assert np.array_equal(numbers, np.where(np.isin(order, (7, 40)), 0, order))
    assert said == [f"Starting Ray, which decodes the other {NUM_SAMPLES - 1} samples faster"]
    assert begun == [True]
    assert len(blocks[4].inputs) == 4


def test_few_samples_need_no_ray(source):
    with late_start.offering(LateStart(lambda: None, lambda: None, {"CPU": 8})) as offer:
        inputs, *_ = decoded(source, np.arange(6))
        assert not offer.is_begun
    assert inputs == list(range(6))


def test_this_process_goes_on_where_ray_cannot_start(source, in_tasks, monkeypatch):
    for name, value in (("_SECONDS_OF_START", 0.0), ("_FIRST_SAMPLES", 1), ("_MOST_HERE", 1)):
        monkeypatch.setattr(pipeline, name, value)
    said = []

    def start():
        raise ClusterError("no room")

    with late_start.offering(LateStart(start, lambda: None, {"CPU": 8})):
        own = Pipeline(decode_cpus=0.5, say=said.append)
        arriving = own.decode(source, np.arange(NUM_SAMPLES))
        numbers = [next(arriving).inputs[0, 0, 0] for _ in range(7)]
        while not late_start.find_offer().is_begun or late_start.find_offer().is_starting:
            time.sleep(0.01)
        numbers += [block.inputs[0, 0, 0] for block in arriving]
        assert sum(len(block.inputs) for block in own.decode(source, np.arange(5))) == 5
    assert numbers == [0 if i in (7, 40) else i for i in range(NUM_SAMPLES)]
    assert said[1:] == ["This process goes on decoding by itself: no room"]


@pytest.mark.parametrize(
    ("cpus", "how", "starts"),
    [
        (1, {"at_once": True}, False),
        (2, {}, False),  # the consumer computes on these CPUs, too
        (2, {"on_gpu": True}, True),
        (2, {"at_once": True}, True),
        (8, {}, True),
    ],
)
def test_ray_starts_where_it_makes_decoding_faster(source, in_tasks, monkeypatch, cpus, how, starts):
    monkeypatch.setattr(pipeline, "_SECONDS_OF_START", 0.0)
    done = threading.Event()
    with late_start.offering(LateStart(lambda: done.wait(10) and None, lambda: None, {"CPU": cpus})) as offer:
        own = Pipeline(decode_cpus=0.5, on_gpu=how.get("on_gpu", False))
        arriving = own.decode(source, np.arange(NUM_SAMPLES), at_once=how.get("at_once", False))
        assert sum(len(block.inputs) for block in arriving) == NUM_SAMPLES
        assert offer.is_begun == starts
        done.set()


def test_samples_that_are_needed_at_once_come_each_once(ray_cluster, source, in_tasks):
    places = []
    for block in Pipeline(decode_cpus=0.5).decode(source, np.arange(NUM_SAMPLES), at_once=True):
        numbers = np.arange(block.first, block.first + len(block.inputs))
        good = block.errors == ""
        assert np.array_equal(block.inputs[good, 0, 0], numbers[good])
        places += numbers.tolist()
    assert sorted(places) == list(range(NUM_SAMPLES))


def test_a_part_of_the_samples_is_decoded_alone(ray_cluster, source):
    order = np.array([30, 3, 12])
    inputs, _, errors, _ = decoded(source, order, smallest_chunk=2)
    assert inputs == [30, 3, 12]
    assert not any(errors)


def test_the_first_sample_comes_before_most_of_very_many_are_described(ray_cluster, source, in_tasks, monkeypatch):
    described = []
    monkeypatch.setattr(decode_tasks, "make_task", lambda *task: described.append(task) or make_task(*task))
    found = Pipeline(decode_cpus=0.5).decode(source, np.zeros(100_000, int))
    for block in found:
        if block.first > pipeline._FIRST_SAMPLES:
            break
    found.close()
    assert len(described) < 30


def test_nothing_is_decoded_of_nothing(ray_cluster, source):
    assert list(Pipeline(decode_cpus=0.5).decode(source, np.array([], int))) == []


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


def test_random_numbers_of_samples_do_not_depend_on_tasks_and_order(ray_cluster, tmp_path, request):
    source = varying_sides(tmp_path).randomized()
    assert source.random
    indices = np.array([7, 0, 3, 8, 1])
    alone = list(Pipeline(decode_cpus=1).decode(source, indices, seed=5))
    other = np.concatenate([part.inputs for part in Pipeline(decode_cpus=1).decode(source, indices, seed=6)])
    request.getfixturevalue("in_tasks")
    tasks = list(Pipeline(decode_cpus=1).decode(source, indices[::-1].copy(), smallest_chunk=2, seed=5))
    first, second = (np.concatenate([part.inputs for part in parts]) for parts in (alone, tasks))
    assert np.array_equal(first, second[::-1])
    assert all(np.array_equal(part.inputs, part.targets) for part in [*alone, *tasks])
    assert (other != first).any((1, 2, 3)).all()


@pytest.mark.parametrize("here", [True, False])
def test_a_sample_that_is_used_again_has_other_random_numbers(ray_cluster, tmp_path, request, here):
    source = varying_sides(tmp_path).randomized()
    indices, uses = np.array([3, 0, 3, 3]), np.array([3, 0, 9, 10])
    (once,) = Pipeline(decode_cpus=1).decode(source, np.array([3]), seed=5)
    if not here:
        request.getfixturevalue("in_tasks")
    parts = Pipeline(decode_cpus=1).decode(source, indices, smallest_chunk=2, seed=5, uses=uses)
    first, _, again, third = np.concatenate([part.inputs for part in parts])
    assert np.array_equal(first, once.inputs[0])
    assert not np.array_equal(first, again)
    assert not np.array_equal(again, third)


def test_without_random_numbers_samples_are_decoded_as_in_evaluation(ray_cluster, tmp_path):
    source = varying_sides(tmp_path)
    assert not source.random
    both = [next(Pipeline(decode_cpus=1).decode(source, np.arange(3), seed=seed)).inputs for seed in (None, 5)]
    assert np.array_equal(*both)
    place = source.samples.place(0)
    assert np.array_equal(both[0][0], source.input.decoding.array(place))
