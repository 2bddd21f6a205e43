import numpy as np
import pytest
import torch

from rayrml.data.draws import Draws
from rayrml.data.transforms import parse_transforms, split_transforms
from rayrml.data.transforms.partners import find_partners

COUNT = 11
SECTIONS = {
    "mixup": [{"mixup": 0.5}],
    "cutmix": [{"cutmix": 1.0}],
    "both": [{"random_horizontal_flip": 0.5}, {"mixup": 0.5}, {"cutmix": 1.0}, {"normalize": {"mean": 0.5}}],
}


def batch(positions, *, images):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (COUNT, 3, 8, 9), dtype=torch.uint8, generator=generator)
    targets = inputs.flip(2) if images else torch.arange(COUNT) % 4
    return inputs[positions], targets[positions]


def mixed(positions, section, *, images, workers=None):
    """position -> its mixed input and target."""
    chosen = parse_transforms(SECTIONS[section], "t")
    kinds = {} if images else {"target_is_label": True, "num_classes": 4}
    transforms = split_transforms(chosen, chosen if images else (), **kinds).batched
    more = () if workers is None else (workers,)
    if len(positions):
        input, target = transforms(*batch(positions, images=images), Draws(7, positions), *more)
    else:
        input, target = transforms(torch.empty(0), None, Draws(7, positions), *more)
    return {p: (input[i].numpy(), target[i].numpy()) for i, p in enumerate(positions.tolist())}


CASES = [(section, images) for section in SECTIONS for images in (False, True)]


def parts(workers):
    """What a worker gets of batches that are dealt out in turn, in another order, and to the last worker alone."""
    rank, size = workers.rank, workers.size
    dealt = np.arange(COUNT)[rank::size]
    some = [dealt, dealt[::-1].copy(), dealt if rank == size - 1 else dealt[:0]]
    return [[mixed(p, section, images=images, workers=workers) for p in some] for section, images in CASES]


def test_samples_are_mixed_alike_by_any_number_of_workers(on_workers):
    everything = np.arange(COUNT)
    for size, results in on_workers(parts, 1, 2, 3).items():
        for case, (section, images) in enumerate(CASES):
            for number, positions in enumerate((everything, everything, everything[size - 1 :: size])):
                alone = mixed(positions, section, images=images)
                together = {p: pair for worker in results for p, pair in worker[case][number].items()}
                assert sorted(together) == sorted(alone)
                for position, pair in alone.items():
                    assert all(map(np.array_equal, pair, together[position]))


def test_one_sample_in_each_worker_is_mixed_with_those_of_others(on_workers):
    for worker in on_workers(one_each, 3)[3]:
        assert ((worker > 0).sum(1) == 2).all()


def one_each(workers):
    transforms = split_transforms(parse_transforms([{"mixup": 1}], "t"), target_is_label=True, num_classes=3).batched
    position = np.array([workers.rank])
    _, target = transforms(torch.zeros(1, 1, 2, 2), torch.from_numpy(position), Draws(0, position), workers)
    return target.numpy()


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_partners_are_a_cycle_that_the_order_does_not_change(count):
    keys, positions = Draws(3).uniform(count, 1)[:, 0] // 0.2, np.arange(count)  # some keys are equal
    partners = find_partners(keys, positions)
    assert sorted(partners) == list(range(count))
    if count > 1:
        assert (partners != positions).all()
    order = np.random.default_rng(0).permutation(count)
    assert np.array_equal(order[find_partners(keys[order], order)], partners[order])
