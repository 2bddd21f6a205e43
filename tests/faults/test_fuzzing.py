"""Hundreds of mutated networks, configurations, files, data and resumed runs: each is accepted, or refused in a line.

What is trained on data, and what a resumed run leaves, must also be what is right.

The cases are always the same; `pytest tests/faults/test_fuzzing.py --fuzz-cases 2500` tries ten times as many.
A failure names its cases; `python -m tests.faults.fuzzing KIND NUMBER` runs one again.
"""

import pytest

from tests.faults.fuzzing import findings

pytestmark = pytest.mark.faults


SHARES = {"networks": 0.48, "configurations": 0.32, "files": 0.2, "data": 0.16, "resumed": 0.24}


@pytest.mark.parametrize(("kind", "share"), SHARES.items())
def test_what_is_spoiled_is_accepted_or_refused_in_time_and_in_memory(kind, share, request):
    found = findings(kind, round(share * request.config.getoption("--fuzz-cases")))
    assert not found, "\n".join(found)
