"""What the tests of faults share."""

import pytest

from tests.faults.runs import write_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    """Images to train on and to test with, and room for what runs write."""
    return write_images(tmp_path_factory.mktemp("faults"), write_digits)
