"""Fixtures of tests on several nodes: a cluster of two, and the images for their runs."""

import pytest

from tests.clusters import Cluster
from tests.faults.runs import write_images

# Each has room for one worker and for decoding.
NODE = {"CPU": 1, "place": 1}


@pytest.fixture(scope="package")
def shared():
    """The cluster that tests use one after another, in a list that is empty before the first test."""
    clusters = []
    yield clusters
    for cluster in clusters:
        cluster.close()


@pytest.fixture
def cluster(shared):
    """A head and a node, as in `NODE`; a test that ends or adds nodes must return the cluster with two."""
    if not shared:
        shared.append(Cluster(**NODE))
        shared[0].add(**NODE)
    yield shared[0]
    if len(shared[0].nodes) != 2 or shared[0].is_busy:  # a test failed
        shared.pop().close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    """A folder with training and test images, and with room for the runs' files."""
    return write_images(tmp_path_factory.mktemp("cluster"), write_digits)
