"""What several tests of runs start from."""

import pytest

from rayrml.planning.preparation import prepare
from tests.conftest import training_config
from tests.runs.test_detection import configuration, draw


@pytest.fixture
def plan(tmp_path, write_digits):
    """A plan for the digits 1, 4 and 7, twelve of each in either part."""
    for part in ("training", "testing"):
        write_digits(tmp_path / part, part, (1, 4, 7), 12)
    return prepare(training_config(tmp_path, tmp_path), {})


@pytest.fixture
def box_plan(tmp_path):
    """A plan for images with boxes: 4 in training, 16 in the test."""
    draw(tmp_path, "train", 4, seed=0)
    draw(tmp_path, "test", 16, seed=1)
    return prepare(configuration(tmp_path, tmp_path, detection={"score_threshold": 0.9}), {})
