import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayrml.cluster.connection import allocate
from rayrml.cluster.nodes import Capacity, capacity_of, limit_of
from rayrml.config.sections import Ray
from rayrml.errors import ClusterError, ConfigError


def taken(resources, nodes=1, attached=False, limit=None, **settings):
    return allocate(Ray(**settings), [resources] * nodes, attached=attached, limit=limit and capacity_of([limit]))


@given(st.integers(1, 64), st.integers(1, 64), st.booleans())
def test_workers_always_leave_room_for_a_task_that_decodes(cpus, num_workers, attached):
    found = taken({"CPU": cpus}, attached=attached, num_workers=num_workers)
    workers = 0 if found.in_driver else num_workers * found.resources_per_worker["CPU"]
    assert workers + found.decode_cpus <= cpus
    assert found.decode_cpus > 0


def test_one_worker_on_one_machine_is_the_driver():
    assert taken({"CPU": 2}).in_driver
    assert not taken({"CPU": 2}, num_workers=2).in_driver
    assert not taken({"CPU": 2}, nodes=2).in_driver
    assert not taken({"CPU": 2}, attached=True).in_driver
    assert not taken({"CPU": 2}, num_workers=(1, 1)).in_driver


def test_without_a_number_every_gpu_has_a_worker():
    found = taken({"CPU": 16, "GPU": 4})
    assert (found.num_workers, found.use_gpu, found.resources_per_worker["GPU"]) == (4, True, 1)
    assert taken({"CPU": 16, "GPU": 4}, use_gpu=False).num_workers == 1


def test_a_gpu_that_is_not_there_is_refused_unless_the_cluster_may_grow():
    with pytest.raises(ClusterError, match=r"ray\.use_gpu: there is no GPU"):
        taken({"CPU": 2}, use_gpu=True)
    assert taken({"CPU": 2}, use_gpu=True, attached=True).use_gpu


def test_workers_that_would_starve_decoding_are_refused_with_the_largest_share():
    with pytest.raises(ConfigError, match=r"ray\.resources_per_worker\.CPU: 2 workers of 1 CPUs leave none of 2"):
        taken({"CPU": 2}, num_workers=2, resources_per_worker={"CPU": 1.0})
    assert taken({"CPU": 2}, num_workers=2, resources_per_worker={"CPU": 0.9}).decode_cpus == pytest.approx(0.2)


def test_a_task_that_decodes_finds_room_on_one_of_the_nodes():
    workers = {"num_workers": 2, "resources_per_worker": {"CPU": 0.7, "place": 1}}
    assert taken({"CPU": 1, "place": 1}, nodes=2, attached=True, **workers).decode_cpus == pytest.approx(0.3)
    assert taken({"CPU": 2, "place": 1}, nodes=2, attached=True, **workers).decode_cpus == 1.0
    assert taken({"CPU": 2, "place": 2}, nodes=2, attached=True, **workers).decode_cpus == pytest.approx(0.6)


def test_a_cluster_that_can_grow_need_not_have_anything_yet():
    limit = {"CPU": 32, "GPU": 4}
    found = taken({"CPU": 0}, attached=True, limit=limit, num_workers=(1, 4))
    assert (found.use_gpu, found.resources_per_worker, found.decode_cpus) == (True, {"CPU": 1.0, "GPU": 1}, 1.0)
    assert not taken({"CPU": 0}, attached=True, limit=limit, use_gpu=False).use_gpu


def test_workers_are_planned_for_what_the_cluster_will_be():
    """With shares of the one CPU that is there now they would all stay on it."""
    found = taken({"CPU": 1}, attached=True, limit={"CPU": 4}, num_workers=(1, 4))
    assert (found.resources_per_worker, found.decode_cpus, found.one_machine) == ({"CPU": 0.5}, 0.5, False)


def test_a_task_that_decodes_finds_room_on_a_node_that_may_come():
    limit = Capacity({"CPU": 2}, [{"CPU": 1}])
    found = allocate(
        Ray(num_workers=(1, 2), resources_per_worker={"CPU": 0.7}), [{"CPU": 0}], attached=True, limit=limit
    )
    assert found.decode_cpus == pytest.approx(0.3)


def test_an_empty_cluster_that_does_not_say_what_may_come_is_waited_for():
    found = taken({"CPU": 0}, attached=True, use_gpu=True, num_workers=(1, 4))
    assert (found.resources_per_worker, found.decode_cpus, found.one_machine) == ({"CPU": 0.5, "GPU": 1}, 0.5, False)
    assert not taken({"CPU": 4}, attached=True, use_gpu=True, num_workers=2).one_machine
    assert taken({"CPU": 4}, attached=True, num_workers=2).one_machine


def test_the_most_that_a_cluster_can_have_is_read_from_its_launchers_file():
    types = {
        "head": {"resources": {"CPU": 0}, "max_workers": 9},
        "small": {"resources": {"CPU": 8}, "max_workers": 5},
        "large": {"resources": {"CPU": 16, "GPU": 1}, "max_workers": 2},
    }
    config = {"head_node_type": "head", "available_node_types": types}
    assert limit_of(config | {"max_workers": 4}).total == {"CPU": 2 * 16 + 2 * 8, "GPU": 2}
    assert limit_of(config | {"max_workers": 20}).total == {"CPU": 2 * 16 + 5 * 8, "GPU": 2}
    assert limit_of(config | {"max_workers": 1}).total == {"CPU": 16, "GPU": 1}
    assert limit_of({"available_node_types": types | {"unknown": {}}}) is None


def test_what_a_cluster_can_never_have_is_refused_with_both_numbers():
    limit = {"CPU": 32, "GPU": 4}
    message = r"ray\.num_workers: 8 workers need 8 CPU and 8 GPU, but the cluster can have 32 CPU and 4 GPU at most"
    with pytest.raises(ClusterError, match=message):
        taken({"CPU": 0}, attached=True, limit=limit, num_workers=8)
    assert taken({"CPU": 0}, attached=True, limit=limit, num_workers=(4, 8)).least_workers == 4
    assert taken({"CPU": 2}, attached=True, num_workers=8, use_gpu=True).num_workers == 8


def test_a_cluster_without_cpus_is_refused():
    with pytest.raises(ClusterError, match="no CPU"):
        taken({"GPU": 1})
