"""The order of samples that have a place in batches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rayrml.data.places import deal_places, in_rounds, in_turns

PLACES = st.lists(st.integers(0, 6), max_size=60).map(lambda places: np.array(places, int))


@given(PLACES, st.booleans(), st.data())
def test_each_round_has_one_sample_of_each_place_that_has_one_left(places, keyed, data):
    keys = np.array(data.draw(st.permutations(range(len(places)))), int) if keyed else None
    order = in_rounds(places, keys)
    assert sorted(order) == list(range(len(places)))
    left, expected = np.bincount(places, minlength=7), []
    while left.any():
        expected += np.flatnonzero(left).tolist()
        left = np.maximum(left - 1, 0)
    assert places[order].tolist() == expected
    for place in set(places.tolist()):
        own = order[places[order] == place]
        own = own if keys is None else keys[own]
        assert own.tolist() == sorted(own)


def test_all_samples_in_their_own_order_are_dealt_out_again_as_they_were():
    assert in_rounds(deal_places(23, 5)).tolist() == list(range(23))


def test_turns_are_evenly_spread():
    places = np.array([0, 0, 2, 2, 2, 2])
    assert places[in_turns(places)].tolist() in ([2, 0, 2, 2, 0, 2], [2, 0, 2, 2, 2, 0], [0, 2, 2, 0, 2, 2])
    assert in_turns(np.empty(0, int)).tolist() == []
