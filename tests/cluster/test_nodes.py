"""The present and the largest possible resources of nodes, from Ray's own data."""

from rayrml.cluster.capacity import add_up
from rayrml.cluster.nodes import launcher_capacity


def test_nodes_have_together_what_each_of_them_has():
    capacity = add_up([{"CPU": 2, "GPU": 1}, {"CPU": 4}])
    assert capacity.total == {"CPU": 6, "GPU": 1}
    assert capacity.suffices({"CPU": 6})
    assert not capacity.suffices({"CPU": 6, "TPU": 1})


def test_the_most_that_a_cluster_can_have_is_read_from_its_launchers_file():
    types = {
        "head": {"resources": {"CPU": 0}, "max_workers": 9},
        "small": {"resources": {"CPU": 8}, "max_workers": 5},
        "large": {"resources": {"CPU": 16, "GPU": 1}, "max_workers": 2},
    }
    config = {"head_node_type": "head", "available_node_types": types}
    assert launcher_capacity(config | {"max_workers": 4}).total == {"CPU": 2 * 16 + 2 * 8, "GPU": 2}
    assert launcher_capacity(config | {"max_workers": 20}).total == {"CPU": 2 * 16 + 5 * 8, "GPU": 2}
    assert launcher_capacity(config | {"max_workers": 1}).total == {"CPU": 16, "GPU": 1}
    assert launcher_capacity({"available_node_types": types | {"unknown": {}}}) is None
