"""Clusters of several nodes on this machine, started as users start them: by `ray start`."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tests.processes import free_ports

_WITHOUT = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
_HEAD = "f" * 51 + "00000"  # the head's name in Ray's stand-in for a cloud


class Cluster:
    """A head and nodes, each with its own raylet, protected by a token; `close` ends and removes them.

    With `grows_by`, the resources of a node, and `most`, the largest number of nodes, Ray's autoscaler starts nodes
    when they are requested and ends idle ones.

    Attributes:
        address: for drivers.
        client: the address for drivers outside the cluster.
        dashboard: the address that jobs are submitted to.
        metrics: the address where Prometheus reads the figures of the head and of the drivers there.
        environment: the variables that give drivers access.
    """

    def __init__(self, *, grows_by=None, most=0, **resources):
        port, dashboard, metrics, client = free_ports(4)
        self.address = f"127.0.0.1:{port}"
        self.client = f"ray://127.0.0.1:{client}"
        self.dashboard = f"http://127.0.0.1:{dashboard}"
        self.metrics = f"http://127.0.0.1:{metrics}/metrics"
        # Paths of sockets are limited to 107 characters.
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self.environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # A node that does not answer for this long is dead. Ray's own values are ten times as large.
        self.environment |= {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
        self._nodes = []
        self._commands = []
        ports = [
            f"--port={port}",
            f"--ray-client-server-port={client}",
            f"--dashboard-port={dashboard}",
            f"--metrics-export-port={metrics}",
        ]
        if grows_by:
            ports.append(f"--autoscaling-config={self._autoscaling(grows_by, most)}")
            self.environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
            # Only the head may have the head's name; nodes are given theirs.
            names = {"RAY_CLOUD_INSTANCE_ID": _HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD}
            self.environment |= {"RAY_enable_autoscaler_v2": "1"}
        self.head = self._start(["--head", *ports], resources, names=names if grows_by else None)

    def add(self, *, without=None, **resources):
        """Start another node with these resources, at least `CPU`; it does not see what is in the folder `without`."""
        prefix = [] if without is None else ["unshare", "--mount", "sh", "-c", _WITHOUT, str(without)]
        return self._start([f"--address={self.address}"], resources, prefix=prefix)

    @property
    def nodes(self):
        """The nodes that are alive, the head first."""
        return [node for node in self._nodes if node.poll() is None]

    @property
    def is_busy(self):
        """Whether a command of `run` has not ended."""
        return any(command.process.poll() is None for command in self._commands)

    def kill(self, node):
        """Kill a node: its raylet, and with it everything that runs there."""
        (raylet,) = [p for p in psutil.Process(node.pid).children() if "raylet" in p.name()]
        os.kill(raylet.pid, signal.SIGKILL)
        node.wait(timeout=60)

    def run(self, arguments, cwd):
        """Start a command that has access to the cluster; `close` ends it at the latest."""
        command = Command(arguments, env=self.environment, cwd=cwd)
        self._commands.append(command)
        return command

    def logs(self, pattern):
        """The contents of Ray's own log files of this pattern, for the message of a failing test."""
        files = sorted(Path(self._folder).glob(f"*/session_*/logs/{pattern}"))
        return "".join(f"== {file.name}\n{file.read_text(errors='replace')[-4000:]}\n" for file in files)

    def spilled_files(self):
        """The files that hold what did not fit into the nodes' object stores now."""
        return set(Path(self._folder).glob("*/session_*/ray_spilled_objects*/*"))

    def close(self):
        """End everything at once."""
        for process in (*(command.process for command in self._commands), *self._nodes):
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()
                process.kill()
                process.wait(timeout=30)
            if process.stdout is not None:
                process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _autoscaling(self, grows_by, most):
        """Write the configuration of Ray's autoscaler and its stand-in for a cloud, and return its path."""
        provider = {
            "type": "external",
            # Ray's own stand-in for a cloud, whose default configuration is missing from its wheel.
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "disable_node_updaters": True,
            "gcs_address": self.address,
            "head_node_id": _HEAD,
            "launch_multiple": True,
        }
        node = {"resources": grows_by, "node_config": {}, "min_workers": 0, "max_workers": most}
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        config = {
            "cluster_name": "growing",
            "max_workers": most,
            "idle_timeout_minutes": 0.1,
            "upscaling_speed": 1.0,
            "provider": provider,
            "available_node_types": {"node": node, "ray.head.default": head},
            "head_node_type": "ray.head.default",
            **{f"{who}setup_commands": [] for who in ("", "head_", "worker_")},
            **{f"{who}_start_ray_commands": [] for who in ("head", "worker")},
            **{key: [] for key in ("initialization_commands", "cluster_synced_files")},
            **{key: {} for key in ("auth", "docker", "file_mounts")},
        }
        path = f"{self._folder}/autoscaling.json"
        Path(path).write_text(json.dumps(config))
        return path

    def _start(self, options, resources, *, prefix=(), names=None):
        folder = f"{self._folder}/{len(self._nodes)}"
        own = {name: count for name, count in resources.items() if name != "CPU"}
        command = [
            *prefix,
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            *options,
            *(
                "--node-ip-address=127.0.0.1",
                f"--temp-dir={folder}",
                "--object-store-memory=100000000",
            ),
            *(f"--num-cpus={resources['CPU']}", f"--resources={json.dumps(own)}", "--disable-usage-stats"),
            *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
        ]
        node = subprocess.Popen(
            command, env=self.environment | (names or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._nodes.append(node)
        lines = []
        for line in node.stdout:
            lines.append(line)
            if "--block" in line:
                break
        else:
            raise RuntimeError("a node did not start:\n" + "".join(lines))
        threading.Thread(target=_drain, args=[node.stdout], daemon=True).start()
        return node


def _drain(pipe):
    """Read a pipe to its end, so that its writer does not block."""
    with contextlib.suppress(ValueError):  # it was closed
        for _line in pipe:
            pass


class Command:
    """A command that runs alongside the test, and the lines that it has written so far."""

    def __init__(self, arguments, **options):
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text, seconds, after=0):
        """The number of the first line with `text` from line `after` on; fails if none appears."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for number in range(after, len(self.lines)):
                if text in self.lines[number]:
                    return number
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.text}"
            time.sleep(0.1)
        raise AssertionError(f"no '{text}' within {seconds} seconds:\n{self.text}")

    def wait(self, seconds):
        """The exit code."""
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=10)
        return code

    @property
    def text(self):
        """Everything that was written."""
        return "".join(self.lines)

    def _read(self):
        with contextlib.suppress(ValueError):  # it was closed
            for line in self.process.stdout:
                self.lines.append(line)
