"""Fixtures of the fault tests."""

import pytest

from tests.faults.runs import write_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    """A folder with training and test images, and with room for the runs' files."""
    return write_images(tmp_path_factory.mktemp("faults"), write_digits)
