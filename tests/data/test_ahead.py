import threading

import pytest

from rayrml.data.ahead import Ahead


def test_items_come_as_they_would_without():
    assert list(Ahead(iter(range(100)), most=3)) == list(range(100))
    assert list(Ahead(iter(()))) == []


def test_the_first_items_are_made_before_they_are_asked_for_but_no_more_than_may_wait():
    made, third = [], threading.Event()

    def items():
        for i in range(10):
            made.append(i)
            if i == 2:
                third.set()
            yield i

    ahead = Ahead(items(), most=2)
    assert third.wait(10)  # two that wait, and one that is made but does not fit into the queue
    assert made == [0, 1, 2]
    assert list(ahead) == list(range(10))


def test_an_error_is_raised_when_its_turn_comes():
    def items():
        yield 1
        raise ValueError("no second one")

    ahead = Ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="no second one"):
        next(ahead)
    assert list(ahead) == []


def test_nothing_is_made_after_the_end():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    ahead = Ahead(items())
    assert next(ahead) == 0
    ahead.close()
    assert closed.wait(10)
    assert list(ahead) == []
