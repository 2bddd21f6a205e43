import numpy as np
import pytest
import ray.data

from rayrml.data import ray_tasks

pytestmark = pytest.mark.ray


def test_the_next_window_begins_before_the_last_samples_of_one_are_used(ray_cluster):
    begun = []

    def dataset(window):
        begun.append(window)
        return ray.data.from_items([{"place": i} for i in range(window[0][0], window[-1][1])])

    found = ray_tasks.in_sequence(iter([[(0, 3), (3, 6)], [(6, 7)], [(7, 9)]]), dataset, share_left=0.5)
    assert begun == []
    assert sorted(np.concatenate([block["place"] for block in found]).tolist()) == list(range(9))
    assert len(begun) == 3
    assert list(ray_tasks.in_sequence(iter([]), dataset)) == []
