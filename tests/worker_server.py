"""Forks the processes of the session's Ray from one that has imported PyTorch, which takes each of them seconds.

    python -m tests.worker_server SOCKET                          serves until its standard input is closed
    python -S tests/worker_server.py SOCKET SCRIPT ARGUMENTS...   has the server run a script in a new process

The second is what Ray starts instead of Python (`py_executable` of its `runtime_env`). The new process has the
variables, the folder, the arguments and the files of the one that asked for it, which ends with it. Processes of the
commands that tests run are started as those of users, without this.
"""

import array
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

# What several of Ray's processes import, but nothing of Ray or of this package.
_IMPORTED = ("torch._dynamo", "torch.distributed.fsdp", "pandas", "pyarrow", "h5py")
_LENGTH = 8  # bytes


def serve(address: str) -> None:
    """Fork a process for each connection, until standard input is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print("listening", flush=True)
        for name in _IMPORTED:
            importlib.import_module(name)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listening.accept()
            asked, files = _receive(connection)
            if not os.fork():
                listening.close()
                _become(asked, files, connection)
            for file in (*files, connection.detach()):
                os.close(file)


def _receive(connection):
    head, ancillary, _, _ = connection.recvmsg(_LENGTH, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    body = bytearray()
    while len(body) < int.from_bytes(head, "big"):
        body += connection.recv(65536)
    return json.loads(body), files


def _become(asked, files, connection) -> None:
    """Run the script here; `connection` stays open until this process has ended, however it does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.sendall(str(os.getpid()).encode())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["variables"])
    os.chdir(asked["folder"])
    sys.argv = asked["arguments"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
    sys.exit()  # as a process that has run nothing else


def ask(address: str, arguments: list[str]) -> None:
    """Have the server run a script, and wait until it has ended."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        asked = {"arguments": arguments, "variables": dict(os.environ), "folder": str(Path.cwd())}
        body = json.dumps(asked).encode()
        files = array.array("i", [0, 1, 2])
        connection.sendmsg([len(body).to_bytes(_LENGTH, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        connection.sendall(body)
        pid = int(connection.recv(32))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: os.kill(pid, number))
        connection.recv(1)  # nothing comes until it ends


if __name__ == "__main__":
    if len(sys.argv) > 2:
        ask(sys.argv[1], sys.argv[2:])
    else:
        serve(sys.argv[1])
