"""Evaluation of a generator: the same for any number of workers, and as it is computed by hand."""

import numpy as np
import pytest
import torch

from rayrml.data.noise import inputs_of_samples
from rayrml.data.shards import Batch
from rayrml.inference.generation_step import Generation, GenerationStep, generate_first
from rayrml.metrics import METRICS
from rayrml.metrics.sliced_wasserstein import make_directions, sliced_wasserstein
from rayrml.networks.network import build_network
from rayrml.workers import Workers

SEED, NUM_REAL = 3, 21


def networks(ending="sigmoid"):
    """A generator of images (1, 4, 4) from 5 random numbers, and a critic of them."""
    torch.manual_seed(0)
    generator = build_network(
        [
            {"class_name": "Dense", "config": {"units": 16, "name": "a", "batch_input_shape": [None, 5]}},
            {"class_name": "BatchNormalization", "config": {"name": "n", "axis": -1}},
            {"class_name": "Activation", "config": {"activation": ending, "name": "e"}},
            {"class_name": "Reshape", "config": {"target_shape": [4, 4, 1], "name": "r"}},
        ]
    )
    critic = build_network(
        [
            {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, 4, 4, 1]}},
            {"class_name": "Dense", "config": {"units": 1, "name": "s"}},
        ]
    )
    return generator.eval(), critic


def real_images():
    return torch.rand(NUM_REAL, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def evaluated(workers=Workers(), num_samples=NUM_REAL, batch_size=8, ending="sigmoid", values=(0.0, 1.0)):  # noqa: B008
    """The figures of an evaluation, and the generated samples by their numbers."""
    generator, critic = networks(ending)
    how = Generation(num_samples, batch_size, SEED)
    step = GenerationStep(generator, METRICS["swd"](), how, values=values, critic=critic, workers=workers)
    low, high = values
    images = real_images() * (high - low) + low
    parts = []
    for start in range(0, NUM_REAL, 7):
        places = np.arange(start, min(start + 7, NUM_REAL))[workers.rank :: workers.size]
        parts.append((images[places], None, Batch(images[places], None, places, places)))
    found, count = {}, 0
    for numbers, samples in step.run(parts):
        count += 1
        if len(numbers):
            found |= dict(zip(numbers.tolist(), step.written(samples), strict=True))
    done = step.result(torch.device("cpu"))
    return {done.metric: done.value, **done.others}, found, count


def evaluated_by_all(workers):
    return evaluated(workers), evaluated(workers, num_samples=NUM_REAL + 11)


@pytest.fixture(scope="module")
def by_size(on_workers):
    return on_workers(evaluated_by_all, 2, 3)


def test_figures_are_those_of_the_samples_themselves():
    figures, samples, _ = evaluated()
    generator, critic = networks()
    expected = generator(torch.from_numpy(inputs_of_samples(SEED, np.arange(NUM_REAL), (5,)))).detach()
    assert np.stack([samples[number] for number in range(NUM_REAL)]) == pytest.approx(expected.numpy(), abs=1e-6)
    directions = make_directions(16)
    projections = [images.flatten(1).double().numpy() @ directions.T for images in (real_images(), expected)]
    assert figures["swd"] == pytest.approx(sliced_wasserstein(*projections), abs=1e-7)
    difference = (critic(real_images()).mean() - critic(expected).mean()).item()
    assert figures["test_wasserstein"] == pytest.approx(difference, abs=1e-6)


@pytest.mark.parametrize("number", [0, 1])
def test_any_number_of_workers_finds_the_same_swd_to_the_last_bit(by_size, number):
    expected, samples, _ = evaluated(num_samples=NUM_REAL + 11 * number)
    for results in by_size.values():
        together = {}
        counts = set()
        for result in results:
            figures, own, count = result[number]
            assert figures["swd"] == expected["swd"]
            assert figures["test_wasserstein"] == pytest.approx(expected["test_wasserstein"], abs=1e-6)
            together |= own
            counts.add(count)
        assert len(counts) == 1  # otherwise some would wait for others
        assert sorted(together) == sorted(samples)
        assert all(np.array_equal(together[key], sample) for key, sample in samples.items())


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_sample_follows_from_its_number_whatever_the_batches_are(batch_size):
    _, expected, _ = evaluated()
    _, found, _ = evaluated(batch_size=batch_size)
    assert sorted(found) == sorted(expected)
    assert all(found[number] == pytest.approx(sample, abs=1e-6) for number, sample in expected.items())


def test_the_first_ones_of_both_are_compared_if_their_numbers_differ():
    few, _, _ = evaluated(num_samples=8)
    directions = make_directions(16)
    samples = generate_first(networks()[0], SEED, 8)
    projections = [i.reshape(len(i), -1).astype(float) @ directions.T for i in (real_images().numpy(), samples)]
    assert few["swd"] == pytest.approx(sliced_wasserstein(*projections), abs=1e-7)


def test_samples_between_minus_one_and_one_are_compared_as_those_from_zero_to_one():
    """tanh(x) is 2 sigmoid(2 x) - 1, so twice the weights make the same images."""
    expected, _, _ = evaluated()
    generator, _ = networks("tanh")
    with torch.no_grad():
        for name in ("a.weight", "a.bias"):
            generator.get_parameter(name).mul_(0.5)
    step = GenerationStep(generator, METRICS["swd"](), Generation(NUM_REAL, 8, SEED), values=(-1.0, 1.0))
    images, places = real_images() * 2 - 1, np.arange(NUM_REAL)
    for _ in step.run([(images, None, Batch(images, None, places, places))]):
        pass
    assert step.result(torch.device("cpu")).value == pytest.approx(expected["swd"], abs=1e-6)


def test_without_real_samples_there_are_no_figures():
    generator, _ = networks()
    step = GenerationStep(generator, None, Generation(3, 8, SEED))
    assert [numbers.tolist() for numbers, _ in step.run([])] == [[0, 1, 2]]
    assert step.result(torch.device("cpu")).figures == {}


def test_what_is_not_finite_has_no_distance():
    generator, critic = networks()
    with torch.no_grad():
        generator.get_parameter("a.weight").fill_(torch.nan)
    step = GenerationStep(generator, METRICS["swd"](), Generation(4, 8, SEED), critic=critic)
    images, places = real_images(), np.arange(NUM_REAL)
    for _ in step.run([(images, None, Batch(images, None, places, places))]):
        pass
    assert step.result(torch.device("cpu")).value is None
