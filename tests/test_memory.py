"""How much memory is available, also on systems that report less about it than Linux."""

import ctypes
import sys

import psutil
import pytest

from rayrml import memory


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A system without the files of Linux, such as macOS."""
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    return tmp_path


def test_without_the_files_of_linux_the_machines_memory_counts(elsewhere):
    assert 0 < memory.available_memory() <= psutil.virtual_memory().total


def test_without_limits_for_processes_the_machines_memory_counts(elsewhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert 0 < memory.available_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize(("limit", "free"), [("1000", 1000 - 400 + 30), ("max", None), ("300", 0)])
def test_a_container_may_have_less(elsewhere, limit, free):
    (elsewhere / "cgroup").mkdir()
    files = {"memory.max": limit, "memory.current": "400", "memory.stat": "anon 5\nactive_file 10\ninactive_file 20\n"}
    for name, content in files.items():
        (elsewhere / "cgroup" / name).write_text(content)
    found = memory.available_memory()
    assert found == free if free is not None else found > 1000


def test_another_c_library_keeps_memory_as_it_likes(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    memory.keep_freed_memory()
