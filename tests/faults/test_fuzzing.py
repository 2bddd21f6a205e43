"""Thousands of spoiled networks, configurations and files: each is accepted, or refused with a line that says where.

The cases are always the same. A failure names its cases; `python -m tests.faults.fuzzing KIND NUMBER` runs one again.
"""

import pytest

from tests.faults.fuzzing import findings

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(("kind", "count"), [("networks", 1200), ("configurations", 800), ("files", 500)])
def test_what_is_spoiled_is_accepted_or_refused_in_time_and_in_memory(kind, count):
    found = findings(kind, count)
    assert not found, "\n".join(found)
