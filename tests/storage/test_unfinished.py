"""Files that are being written: what killed processes leave behind, and what must not be touched."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rayrml import storage

WRITE = """
import sys, time
from rayrml import storage
file = storage.Unfinished(sys.argv[1])
file.write(b"half")
print("writing", flush=True)
time.sleep(600)
"""


def unfinished(folder):
    return [name for name in (p.name for p in folder.iterdir()) if name.endswith(".unfinished")]


@pytest.fixture
def writer(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITE, tmp_path / "o.h5"], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.faults
def test_what_a_killed_process_left_goes_with_the_next_that_writes_the_file(tmp_path, writer):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    (tmp_path / ".other.h5.host.1-0.unfinished").write_bytes(b"")
    assert len(unfinished(tmp_path)) == 2
    storage.write(tmp_path / "o.h5", b"whole")
    assert unfinished(tmp_path) == [".other.h5.host.1-0.unfinished"]
    assert (tmp_path / "o.h5").read_bytes() == b"whole"


def test_what_another_process_writes_is_left_alone(tmp_path, writer):
    storage.write(tmp_path / "o.h5", b"whole")
    assert len(unfinished(tmp_path)) == 1
    with storage.Unfinished(tmp_path / "o.h5") as own:
        storage.write(tmp_path / "o.h5", b"again")
        assert Path(own.path).exists()


def test_what_another_machine_writes_is_left_alone_for_a_day(tmp_path):
    path = tmp_path / ".o.h5.another-machine.7-0.unfinished"
    path.write_bytes(b"")
    storage.write(tmp_path / "o.h5", b"whole")
    assert path.exists()
    os.utime(path, (time.time() - 100_000,) * 2)
    storage.write(tmp_path / "o.h5", b"whole")
    assert not path.exists()


def test_a_file_that_cannot_take_its_place_leaves_nothing(tmp_path):
    (tmp_path / "o.h5").mkdir()
    with pytest.raises(OSError, match="directory"):
        storage.write(tmp_path / "o.h5", b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["o.h5"]


def test_a_process_that_ends_takes_its_unfinished_files_along(tmp_path):
    code = (
        "import sys, numpy; from rayrml.inference.prediction_files import PredictionFile\n"
        "file = PredictionFile(sys.argv[1]); file.write(['a'], numpy.zeros((1, 3)))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "o.h5"], check=False)
    assert done.returncode == 0
    assert not unfinished(tmp_path)


def test_all_abandoned_files_of_a_folder_can_be_removed_at_once(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    mine = f"{socket.gethostname()}.{process.pid}-0.unfinished"
    for name in (f".a.png.{mine}", f".b.c.png.{mine}", ".a.png.elsewhere.1-0.unfinished", "b.unfinished", ".c"):
        (tmp_path / name).touch()
    storage.remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.png.elsewhere.1-0.unfinished", ".c", "b.unfinished"]
    storage.remove_abandoned(tmp_path / "missing")


@pytest.mark.parametrize("name", ["x" * 255, "ж" * 127])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    storage.write(tmp_path / name, b"content")
    assert [path.name for path in tmp_path.iterdir()] == [name]
