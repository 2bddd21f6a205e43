import threading
import time

import pytest

from rayrml.cluster.late_start import LateStart, find_offer, offering
from rayrml.errors import ClusterError


class Steps:
    """What a Ray that is started late has done, and in which thread."""

    def __init__(self, error=None):
        self.go_on = threading.Event()
        self.done = []
        self.thread = None
        self._error = error

    def start(self):
        self.thread = threading.current_thread()
        self.go_on.wait(10)
        if self._error is not None:
            raise self._error
        self.done.append("started")

    def offer(self):
        return LateStart(self.start, lambda: self.done.append("stopped"), {"CPU": 2})


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_not_needed_is_not_started():
    steps = Steps()
    with offering(steps.offer()):
        assert find_offer() is not None
        assert not find_offer().is_begun
    assert steps.done == []
    assert find_offer() is None


def test_the_thread_that_has_started_ray_lives_until_ray_has_ended():
    steps = Steps()
    with offering(offer := steps.offer()):
        assert not offer.is_ready()
        assert (offer.is_begun, offer.is_up) == (True, False)
        steps.go_on.set()
        wait_until(offer.is_ready)
        assert offer.is_up
        assert steps.thread.is_alive()
    assert steps.done == ["started", "stopped"]
    assert not offer.is_ready(), "a thread that outlives its run starts nothing"
    assert not offer.is_up
    steps.thread.join(10)
    assert not steps.thread.is_alive()


def test_a_ray_that_is_still_starting_is_stopped_too():
    steps = Steps()
    threading.Timer(0.2, steps.go_on.set).start()
    with offering(offer := steps.offer()):
        assert not offer.is_ready()
    assert steps.done == ["started", "stopped"]


def test_an_error_of_the_start_is_raised_where_ray_is_needed_and_nowhere_else():
    steps = Steps(ClusterError("cannot start"))
    steps.go_on.set()
    with offering(offer := steps.offer()):
        with pytest.raises(ClusterError, match="cannot start"):
            wait_until(offer.is_ready)
        assert not offer.is_up
    assert steps.done == []


def test_runs_that_overlap_share_one_ray_until_the_last_of_them_ends():
    first, second = Steps(), Steps()
    first.go_on.set()
    one, other = offering(first.offer()), offering(second.offer())
    one.__enter__()
    other.__enter__()
    wait_until(find_offer().is_ready)
    one.__exit__(None, None, None)
    assert first.done == ["started"]
    assert find_offer().is_up
    other.__exit__(None, None, None)
    assert first.done == ["started", "stopped"]
    assert second.done == []


def test_who_needs_ray_at_once_waits_for_the_start():
    steps = Steps()
    threading.Timer(0.1, steps.go_on.set).start()
    with offering(steps.offer()) as offer:
        offer.start()
        assert offer.is_up
        offer.start()
    assert steps.done == ["started", "stopped"]
    failing = Steps(ClusterError("cannot start"))
    failing.go_on.set()
    with offering(failing.offer()) as offer, pytest.raises(ClusterError, match="cannot start"):
        offer.start()


def test_a_ray_is_starting_until_it_has_started_or_failed():
    for error in (None, ClusterError("cannot start")):
        steps = Steps(error)
        with offering(steps.offer()) as offer:
            assert not offer.is_starting
            offer.is_ready()
            assert offer.is_starting
            steps.go_on.set()
            wait_until(lambda offer=offer: not offer.is_starting)


def test_a_run_that_begins_while_ray_is_shut_down_gets_another_one():
    ends, may_end, begun = threading.Event(), threading.Event(), []
    second = LateStart(lambda: None, lambda: None, {})

    def stop():
        ends.set()
        may_end.wait(10)

    def run_again():
        with offering(second) as offer:
            begun.append((offer, may_end.is_set()))

    def run():
        with offering(LateStart(lambda: None, stop, {})) as offer:
            offer.start()

    first, other = threading.Thread(target=run), threading.Thread(target=run_again)
    first.start()
    assert ends.wait(10)
    other.start()
    other.join(0.2)
    may_end.set()
    first.join(10)
    other.join(10)
    assert begun == [(second, True)]
    assert find_offer() is None
