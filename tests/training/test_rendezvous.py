"""How workers meet: through which interface, and what is said if they cannot."""

import pytest

from rayrml.errors import ClusterError
from rayrml.training import rendezvous
from rayrml.training.rendezvous import Rendezvous, check_interface, is_of_network

HERE = rendezvous._Node("a", "10.0.0.1", {"lo": ["127.0.0.1"], "eth0": ["10.0.0.1"], "down": []})
THERE = rendezvous._Node("b", "10.0.0.2", {"lo": ["127.0.0.1"], "ens5": ["10.0.0.2"]})


@pytest.mark.parametrize(
    ("interface", "nodes", "complaint"),
    [
        (
            "eth0",
            [HERE, HERE, THERE],
            r"node b \(10\.0\.0\.2\) has no network interface 'eth0'\. .*ens5 \(10\.0\.0\.2\)",
        ),
        ("down", [HERE], r"node a \(10\.0\.0\.1\) has no address at 'down'\. Its interfaces: lo .*, eth0 "),
        ("lo", [HERE, THERE], r"'lo' connects a node with itself alone, but the workers are on 2 nodes"),
    ],
)
def test_an_interface_that_does_not_connect_the_workers_is_refused(interface, nodes, complaint):
    with pytest.raises(ClusterError, match=rf"^ray\.interface: {complaint}") as caught:
        check_interface(interface, nodes)
    assert "\n" not in str(caught.value)


def test_an_interface_that_all_nodes_have_is_taken():
    check_interface("lo", [HERE, HERE])
    check_interface("eth0", [HERE, HERE._replace(name="c", address="10.0.0.3")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The client socket has timed out after 60000ms while trying to connect to (10.0.0.1, 4000).", True),
        ("[gloo/transport/tcp/pair.cc] connect: No route to host", True),
        ("Connection closed by peer [10.0.0.1]:4000", False),  # it was lost
        ("CUDA out of memory", False),
    ],
)
def test_errors_of_the_network_are_told_from_others(text, expected):
    assert is_of_network(text) == expected


@pytest.mark.ray
def test_workers_that_do_not_meet_are_named_in_one_line(ray_cluster):
    class Group:
        def __len__(self):
            return 2

        def execute_single_async(self, rank, function, **arguments):
            return ray_cluster.remote(function).options(num_cpus=0).remote(**arguments)

    def fail():
        raise RuntimeError("Gloo connectFullMesh failed with timed out connecting: remote=[10.0.0.2]:4000")

    group = Group()
    joining = [group.execute_single_async(rank, fail) for rank in range(2)]
    with pytest.raises(ClusterError) as caught:
        rendezvous._wait_for_all(joining, group, Rendezvous(seconds=45, interface="eth7"))
    (line,) = str(caught.value).splitlines()
    assert line.startswith("the workers could not connect to one another through the interface 'eth7' within 45 s. ")
    assert "Workers: 0, 1 on node " in line
    assert "reports: RuntimeError: Gloo connectFullMesh failed" in line
    assert line.endswith(rendezvous.NETWORK_HINT)
