import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayrml.cluster.allocation import allocate
from rayrml.cluster.capacity import Capacity, add_up
from rayrml.config.cluster import Ray
from rayrml.errors import ClusterError, ConfigError


def allocated(resources, nodes=1, attached=False, limit=None, **settings):
    return allocate(Ray(**settings), [resources] * nodes, attached=attached, limit=limit and add_up([limit]))


@given(st.integers(1, 64), st.integers(1, 64), st.booleans())
def test_workers_always_leave_room_for_a_task_that_decodes(cpus, num_workers, attached):
    allocation = allocated({"CPU": cpus}, attached=attached, num_workers=num_workers)
    workers = 0 if allocation.in_driver else num_workers * allocation.resources_per_worker["CPU"]
    assert workers + allocation.decode_cpus <= cpus
    assert allocation.decode_cpus > 0


def test_one_worker_on_one_machine_is_the_driver():
    assert allocated({"CPU": 2}).in_driver
    assert not allocated({"CPU": 2}, num_workers=2).in_driver
    assert not allocated({"CPU": 2}, nodes=2).in_driver
    assert not allocated({"CPU": 2}, attached=True).in_driver
    assert not allocated({"CPU": 2}, num_workers=(1, 1)).in_driver
    assert not allocated({"CPU": 2}, env_vars={"A": "1"}).in_driver, "it has read its environment"


def test_without_a_number_every_gpu_has_a_worker():
    allocation = allocated({"CPU": 16, "GPU": 4})
    assert (allocation.num_workers, allocation.use_gpu, allocation.resources_per_worker["GPU"]) == (4, True, 1)
    assert allocated({"CPU": 16, "GPU": 4}, use_gpu=False).num_workers == 1


def test_a_gpu_that_is_not_there_is_refused_unless_the_cluster_may_grow():
    with pytest.raises(ClusterError, match=r"ray\.use_gpu: this machine has no GPU"):
        allocated({"CPU": 2}, use_gpu=True)
    assert allocated({"CPU": 2}, use_gpu=True, attached=True).use_gpu


def test_gpus_of_another_type_are_refused_unless_the_cluster_may_have_them():
    machine = {"CPU": 2, "GPU": 1, "accelerator_type:L4": 1}
    with pytest.raises(ClusterError, match=r"ray\.accelerator_type: this machine has no H100\. .* of type L4"):
        allocated(machine, accelerator_type="H100")
    with pytest.raises(ClusterError, match=r"ray\.accelerator_type: this machine has no GPU of type H100"):
        allocated({"CPU": 2}, accelerator_type="H100")
    assert allocated(machine, accelerator_type="L4").in_driver
    assert allocated(machine, accelerator_type="H100", attached=True).accelerator_type == "H100"


def test_workers_that_would_starve_decoding_are_refused_with_the_largest_share():
    with pytest.raises(
        ConfigError, match=r"ray\.resources_per_worker\.CPU: 2 workers with 1 CPUs each leave none of 2"
    ):
        allocated({"CPU": 2}, num_workers=2, resources_per_worker={"CPU": 1.0})
    assert allocated({"CPU": 2}, num_workers=2, resources_per_worker={"CPU": 0.9}).decode_cpus == pytest.approx(0.2)


@given(
    nodes=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    num_workers=st.integers(1, 9),
    asked=st.sampled_from([0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0]),
)
def test_on_a_cluster_workers_take_no_cpu_that_decoding_needs_wherever_they_are(nodes, num_workers, asked):
    def request(cpus, count):
        wish = Ray(num_workers=count, resources_per_worker={"CPU": cpus})
        return allocate(wish, [{"CPU": node} for node in nodes], attached=True)

    def all_leave_room(places, left, allocation):
        """Whether a decoding task fits, for each way to put `left` workers on the nodes from the first one on."""
        cpus = allocation.resources_per_worker["CPU"]
        if not places:
            return left > 0  # does not fit at all
        here = int(places[0] / cpus + 1e-9)
        return all(
            places[0] - cpus * count >= allocation.decode_cpus - 1e-6
            or all_leave_room(places[1:], left - count, allocation)
            for count in range(min(here, left) + 1)
        )

    places = sum(int(node / asked + 1e-9) for node in nodes)
    try:
        allocation = request(asked, num_workers)
    except ConfigError as error:
        assert places == num_workers
        if fewer := re.search(r"at most (\d+) worker", str(error)):
            allocation = request(asked, int(fewer[1]))
            assert all_leave_room(nodes, int(fewer[1]), allocation)
        return
    assert places < num_workers or all_leave_room(nodes, num_workers, allocation)


def test_on_a_cluster_workers_that_would_take_all_cpus_are_refused_with_both_cures():
    message = (
        r"ray\.resources_per_worker\.CPU: 2 workers with 1 CPUs each leave none of 2 for decoding\. "
        r"Expected at most 0\.9 each, or at most 1 worker$"
    )
    asked = {"resources_per_worker": {"CPU": 1.0}, "attached": True}
    for nodes in (1, 2):
        with pytest.raises(ConfigError, match=message):
            allocated({"CPU": 2 / nodes}, nodes=nodes, num_workers=2, **asked)
    with pytest.raises(ConfigError, match="2 workers with 1 CPUs"):
        allocated({"CPU": 2}, num_workers=(1, 4), **asked)  # Ray starts as many as there is room for
    with pytest.raises(ConfigError, match="4 workers with 1 CPUs"):
        allocated({"CPU": 1}, limit={"CPU": 4}, num_workers=4, **asked)
    assert allocated({"CPU": 2}, limit={"CPU": 4}, num_workers=2, **asked).decode_cpus == 1.0
    assert allocated({"CPU": 2}, num_workers=4, **asked).least_workers == 4  # waits for nodes


def test_only_nodes_with_gpus_count_as_places_of_workers_with_gpus():
    settings = {"num_workers": 2, "use_gpu": True, "resources_per_worker": {"CPU": 2.0}}
    with_gpus, without = {"CPU": 4, "GPU": 2}, {"CPU": 2}
    assert allocate(Ray(**settings), [with_gpus, without], attached=True).decode_cpus == 1.0
    with pytest.raises(ConfigError, match="2 workers with 2 CPUs each leave none of 4"):
        allocate(Ray(**settings), [with_gpus], attached=True)


def test_a_task_that_decodes_finds_room_on_one_of_the_nodes():
    workers = {"num_workers": 2, "resources_per_worker": {"CPU": 0.7, "place": 1}}
    assert allocated({"CPU": 1, "place": 1}, nodes=2, attached=True, **workers).decode_cpus == pytest.approx(0.3)
    assert allocated({"CPU": 2, "place": 1}, nodes=2, attached=True, **workers).decode_cpus == 1.0
    assert allocated({"CPU": 2, "place": 2}, nodes=2, attached=True, **workers).decode_cpus == pytest.approx(0.6)


def test_a_cluster_that_can_grow_need_not_have_anything_yet():
    limit = {"CPU": 32, "GPU": 4}
    allocation = allocated({"CPU": 0}, attached=True, limit=limit, num_workers=(1, 4))
    assert (allocation.use_gpu, allocation.resources_per_worker, allocation.decode_cpus) == (
        True,
        {"CPU": 1.0, "GPU": 1},
        1.0,
    )
    assert not allocated({"CPU": 0}, attached=True, limit=limit, use_gpu=False).use_gpu


def test_workers_are_planned_for_what_the_cluster_will_be():
    """With shares of the one CPU that is present now, they would all stay on it."""
    allocation = allocated({"CPU": 1}, attached=True, limit={"CPU": 4}, num_workers=(1, 4))
    assert (allocation.resources_per_worker, allocation.decode_cpus, allocation.one_machine) == (
        {"CPU": 0.5},
        0.5,
        False,
    )


def test_a_task_that_decodes_finds_room_on_a_node_that_may_come():
    limit = Capacity({"CPU": 2}, [{"CPU": 1}])
    allocation = allocate(
        Ray(num_workers=(1, 2), resources_per_worker={"CPU": 0.7}), [{"CPU": 0}], attached=True, limit=limit
    )
    assert allocation.decode_cpus == pytest.approx(0.3)


def test_an_empty_cluster_that_does_not_say_what_may_come_is_waited_for():
    allocation = allocated({"CPU": 0}, attached=True, use_gpu=True, num_workers=(1, 4))
    assert (allocation.resources_per_worker, allocation.decode_cpus, allocation.one_machine) == (
        {"CPU": 0.5, "GPU": 1},
        0.5,
        False,
    )
    assert not allocated({"CPU": 4}, attached=True, use_gpu=True, num_workers=2).one_machine
    assert allocated({"CPU": 4}, attached=True, num_workers=2).one_machine


def test_what_a_cluster_can_never_have_is_refused_with_both_numbers():
    limit = {"CPU": 32, "GPU": 4}
    message = r"ray\.num_workers: 8 workers need 8 CPU and 8 GPU, but the cluster can have at most 32 CPU and 4 GPU"
    with pytest.raises(ClusterError, match=message):
        allocated({"CPU": 0}, attached=True, limit=limit, num_workers=8)
    assert allocated({"CPU": 0}, attached=True, limit=limit, num_workers=(4, 8)).least_workers == 4
    assert allocated({"CPU": 2}, attached=True, num_workers=8, use_gpu=True).num_workers == 8


def test_a_cluster_without_cpus_is_refused():
    with pytest.raises(ClusterError, match="no CPU"):
        allocated({"GPU": 1})
