import os

import pytest

from rayrml import cpus
from rayrml.cpus import count_cpus


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity on this system")
def test_cpus_that_the_process_may_not_run_on_do_not_count():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert count_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= count_cpus() <= len(before)


@pytest.mark.parametrize(
    ("content", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 1000), ("", 1000)]
)
def test_a_containers_quota_counts(tmp_path, monkeypatch, content, most):
    (tmp_path / "cpu.max").write_text(content)
    monkeypatch.setattr(cpus, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(cpus, "_OLD_QUOTA", tmp_path / "none")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert count_cpus() == min(allowed, most)
