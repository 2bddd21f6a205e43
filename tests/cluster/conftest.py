"""What tests on several nodes share: a cluster of two, and the images of their runs."""

import pytest

from tests.clusters import Cluster
from tests.faults.runs import write_images

# Room for one worker on each, and for decoding.
NODE = {"CPU": 1, "place": 1}


@pytest.fixture(scope="package")
def shared():
    """The cluster that tests use one after the other, in a list that is empty before the first."""
    clusters = []
    yield clusters
    for cluster in clusters:
        cluster.close()


@pytest.fixture
def cluster(shared):
    """A head and a node, as `NODE` says; who ends nodes or adds some gives the cluster back with two."""
    if not shared:
        shared.append(Cluster(**NODE))
        shared[0].add(**NODE)
    yield shared[0]
    if len(shared[0].nodes) != 2 or shared[0].is_busy:  # a test failed
        shared.pop().close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    """Images to train on and to test with, and room for what runs write."""
    return write_images(tmp_path_factory.mktemp("cluster"), write_digits)
