"""The lock on a run's folder: held by one run at a time, and by no dead one."""

import json
import os
import subprocess
import sys
import threading

import pytest

from rayrml.errors import DataError
from rayrml.saving import run_lock
from rayrml.saving.run_lock import LOCK_NAME, locked

HOLDER = """
import sys, time
from rayrml.saving.run_lock import locked
with locked(sys.argv[1], print):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_folder_is_free_before_and_after_a_run(tmp_path):
    for _ in range(2):
        with locked(str(tmp_path), print):
            assert [file.name for file in tmp_path.iterdir()] == [LOCK_NAME]
        assert not list(tmp_path.iterdir())


def test_a_second_run_is_refused_with_the_process_and_the_machine_of_the_first(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            message = rf"the run of process {process.pid} on \S+ is writing to this folder"
            with pytest.raises(DataError, match=message), locked(str(tmp_path), print):
                pass
            assert process.poll() is None
        finally:
            process.kill()
    with locked(str(tmp_path), pytest.fail):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["process"] == os.getpid()


def test_two_runs_of_one_process_do_not_share_a_folder(tmp_path):
    with locked(str(tmp_path), print):
        with pytest.raises(DataError, match="is writing to this folder"), locked(str(tmp_path), print):
            pass
        assert (tmp_path / LOCK_NAME).exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"process": "x"}', "\x00"])
def test_a_file_that_no_run_has_written_keeps_nobody_out(tmp_path, content):
    (tmp_path / LOCK_NAME).write_text(content)
    with locked(str(tmp_path), pytest.fail):
        pass


def test_a_process_of_the_same_number_that_started_later_is_another_one(tmp_path):
    with locked(str(tmp_path), print):
        holder = json.loads((tmp_path / LOCK_NAME).read_text())
    holder |= {"process": os.getppid(), "started": holder["started"] - 1000}
    (tmp_path / LOCK_NAME).write_text(json.dumps(holder))
    with locked(str(tmp_path), pytest.fail):
        pass


@pytest.mark.parametrize("lives", [True, False])
def test_a_holder_on_another_machine_is_watched_before_its_folder_is_taken(tmp_path, lives, monkeypatch):
    monkeypatch.setattr(run_lock, "_SECONDS_OF_SILENCE", 3.0)
    path = tmp_path / LOCK_NAME
    holder = {"run": "r", "host": "far", "machine": "far 1", "process": 7, "started": 1.0}
    path.write_text(json.dumps({**holder, "beats": 1}))
    timer = threading.Timer(1.5, lambda: path.write_text(json.dumps({**holder, "beats": 2})))
    if lives:
        timer.start()
    said = []
    try:
        with locked(str(tmp_path), said.append):
            assert not lives
    except DataError as error:
        assert lives
        assert "process 7 on far" in str(error)
    finally:
        timer.cancel()
    assert said == [f"Waiting to see whether the run of process 7 on far still uses {tmp_path}"]
