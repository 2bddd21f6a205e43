"""Which samples stay in memory, for all workers of one machine or GPU together."""

import pytest

from rayrml.memory import available_memory, machine_name, shared_memory
from rayrml.training.residence import Share, describe_lack, fits, share_of_machine

GB = 10**9


def machine(name, needed, free, **more):
    return Share(name, needed * GB, free * GB, **more)


def test_the_samples_of_all_workers_of_one_machine_are_compared_with_its_memory():
    shares = [machine("one", 97.5, 100)] * 8
    assert describe_lack(shares[:1]) is None
    assert describe_lack(shares) == (
        "97.5 GB of memory in each worker, 780 GB in all 8 of one machine, but 100 GB are available"
    )
    assert describe_lack([machine(name, 97.5, 100) for name in "abcdefgh"]) is None
    apart = [machine("large", 97.5, 800)] * 4 + [machine("small", 97.5, 100)]
    assert describe_lack(apart) is None
    assert "195 GB in all 2 of one machine, but 99 GB" in str(describe_lack([*apart, machine("small", 97.5, 99)]))


def test_a_limit_of_one_process_holds_for_that_process():
    limited = machine("one", 3, 100, own_limit=2 * GB)
    assert describe_lack([machine("one", 3, 100, own_limit=4 * GB)] * 8) is None
    assert describe_lack([limited]) == "3 GB of memory in each worker, but 2 GB are available"


@pytest.mark.parametrize(
    ("samples", "step", "resident"), [(50, 20, True), (80, 60, False), (20, 130, False), (100, 39, True)]
)
def test_samples_stay_on_a_gpu_that_has_room_for_a_step_beside_them(samples, step, resident):
    share = machine("gpu", samples + step, 139)
    assert fits(share, [share, machine("another gpu", 139, 139)]) == resident


def test_workers_that_share_a_gpu_are_added_up():
    half = machine("gpu", 60, 100)
    assert fits(half, [half])
    assert not fits(half, [half, half])


def test_workers_of_this_machine_share_its_memory():
    first, second = share_of_machine(5), share_of_machine(6)
    assert first.place == second.place == machine_name()
    assert 0 < available_memory() <= shared_memory() * 1.5
