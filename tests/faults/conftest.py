"""What the tests of faults share."""

import pytest

from tests.faults.runs import CLASSES, NUM_TEST, NUM_TRAINING


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_digits):
    """Images to train on and to test with, and room for what runs write."""
    path = tmp_path_factory.mktemp("faults")
    write_digits(path / "training", "training", CLASSES, NUM_TRAINING // 3)
    write_digits(path / "testing", "testing", CLASSES, NUM_TEST // 3)
    return path
