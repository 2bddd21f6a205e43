import bisect
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayrml.data import names as module
from rayrml.data.names import Names, take_names

NAMES = ["", "a/b.png", "ä/ö 1.jpg", "caf\udce9.png", "x" * 300]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_names_are_those_that_went_in(names):
    found = Names.of(names)
    assert list(found) == names
    assert found == names
    assert [found[i] for i in range(len(names))] == names
    assert found[:] == names


@pytest.fixture
def several_parts(monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 2)


def test_names_of_several_parts(several_parts):
    found = Names.of(iter(NAMES))
    assert len(found) == 5
    assert list(found) == NAMES
    assert found[-1] == NAMES[-1]
    assert found[1:3] == NAMES[1:3]
    assert found[::2] == NAMES[::2]
    assert found[4:1] == []
    with pytest.raises(IndexError):
        found[5]


def test_taken_names_may_come_several_times():
    found = Names.of(NAMES).take(np.array([3, 0, 3]))
    assert found == [NAMES[3], "", NAMES[3]]
    assert Names.of(NAMES).take([]) == []
    assert take_names(NAMES, [2, 2]) == take_names(Names.of(NAMES), [2, 2]) == [NAMES[2]] * 2


def test_names_are_sequences():
    names = sorted(NAMES[:3])
    assert bisect.bisect_left(Names.of(names), "a/c") == bisect.bisect_left(names, "a/c")
    assert "a/b.png" in Names.of(NAMES)
    assert Names.of(NAMES) == Names.of(NAMES)
    assert Names.of(NAMES) != Names.of(NAMES[::-1])
    assert Names.of(["ab", "c"]) != Names.of(["a", "bc"])
    assert Names.of(NAMES) != NAMES[:2]
    assert repr(Names.of(["a"])) == "Names('a')"


def test_other_processes_share_them_without_a_copy():
    found = Names.of([f"{number}.png" for number in range(100_000)])
    shared: list[pickle.PickleBuffer] = []
    alone = pickle.dumps(found, protocol=5, buffer_callback=shared.append)
    assert len(alone) < 1000
    assert sum(buffer.raw().nbytes for buffer in shared) < 20 * len(found)
    assert pickle.loads(alone, buffers=shared) == found


def test_names_are_taken_without_an_index_for_each_byte_of_all_of_them(monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 1000)
    names = Names.of(f"a folder/of_{number:06}.jpg" for number in range(200_000))
    tracemalloc.start()
    try:
        taken = names.take(np.arange(1, 200_000, 2))
        assert tracemalloc.get_traced_memory()[1] < 3 * len(taken.encoded())
    finally:
        tracemalloc.stop()
    assert taken[-1] == "a folder/of_199999.jpg"
    assert list(names.take([])) == []
    assert list(Names.of(["a", "é", ""]).encoded_each()) == [b"a", "é".encode(), b""]
