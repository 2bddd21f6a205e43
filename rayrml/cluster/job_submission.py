"""Runs a configuration as a job on a running cluster: sends it with its network and follows its log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray.exceptions
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from rayrml import storage
from rayrml.cluster import ray_internals
from rayrml.config.reading import AnyConfiguration, list_network_files, read_configuration
from rayrml.config.sections import Config
from rayrml.config.variables import escape
from rayrml.errors import ClusterError, DataError, Problem

DASHBOARD = "http://127.0.0.1:8265"
# By default, Ray kills a stopped job after three seconds; a step, a checkpoint and Ray's shutdown may take longer.
_VARIABLES = {"PYTHONUNBUFFERED": "1", ray_internals.JOB_STOP_VARIABLE: "20"}
_PATIENCE = 60.0  # seconds until a cluster must have accepted a job
_ENDED = {JobStatus.STOPPED: 143, JobStatus.FAILED: 1, JobStatus.SUCCEEDED: 0}


def submit(
    config: AnyConfiguration,
    *,
    address: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    options: tuple[str, ...] = (),
    say: Callable[[str], None] = print,
    follow: bool = True,
) -> int:
    """Run a configuration as a job and return the job's exit code, 0 if it is not followed.

    Only the configuration and the network are sent, with the values of what it extends and of variables. Data and
    results are where the configuration says, under the same paths on all machines: relative paths are resolved on this
    machine.

    Args:
        config: path of a JSON, YAML or TOML file, or the contents of such a file.
        address: the dashboard's, `http://host:8265`; default: the variable RAY_API_SERVER_ADDRESS, or this machine's.
        overrides: values for dotted keys.
        options: additional arguments of `rayrml run`, such as `--resume`.
        say: receives lines about the job.
        follow: show the job's log, and wait for its end.

    Raises:
        ConfigError: mistakes in the configuration; all that can be found on this machine.
        DataError: the configuration or the network cannot be read.
        ClusterError: there is no cluster at the address, or it denies access.
    """
    document = read_configuration(config, overrides)
    checked = document.checked()
    place = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD
    client = _connect(place)
    name = f"{document.name}.json"
    with tempfile.TemporaryDirectory(prefix="rayrml-job-") as folder:
        with document.locating_mistakes():
            pack(checked, Path(folder), name)
        command = shlex.join(["rayrml", "run", name, *options])
        environment = {"working_dir": folder, "env_vars": _VARIABLES}
        job = _send(client, entrypoint=command, runtime_env=environment, metadata={"name": Path(name).stem})
    say(f"Job {job} at {place}")
    if not follow:
        return 0
    try:
        asyncio.run(_follow(client, job))
    except KeyboardInterrupt:
        say(f"The job continues: `ray job logs --follow {job}` shows its log, `ray job stop {job}` stops it cleanly")
        raise
    return _exit_code(client.get_job_info(job))


def pack(config: Config, folder: Path, name: str) -> None:
    """Write a job's files into a folder: the configuration with paths that are valid everywhere, and the network.

    Raises:
        DataError: the network cannot be read.
    """
    values = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for section, layers, where in list_network_files(config, values):
        if storage.is_uri(layers):
            continue
        network = f"{'critic' if 'critic' in where else 'network'}_of_{name}"
        try:
            shutil.copyfile(layers, folder / network)
        except OSError as error:
            raise DataError(Problem(where, f"cannot read '{layers}'. {error.strerror}")) from None
        section["layers"] = network
    (folder / name).write_text(json.dumps(escape(values), indent=4), encoding="utf-8")


def _connect(address: str) -> JobSubmissionClient:
    for logger in ray_internals.SUBMISSION_LOGGERS:
        logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = ""
        if "uthentic" in str(error) or "401" in str(error):
            hint = ". The cluster requires a token: export RAY_AUTH_MODE=token, with the token in ~/.ray/auth_token"
        raise ClusterError(f"cannot reach the jobs of the cluster at {address}. {reason}{hint}") from None


def _send(client: JobSubmissionClient, **job: Any) -> str:
    """Send a job and return its name; a cluster that has just started needs a moment until it accepts one.

    Raises:
        ClusterError: the cluster did not accept it.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return client.submit_job(**job)
        except RuntimeError as error:
            if not ray_internals.is_still_starting(error) or time.monotonic() > end:
                raise ClusterError(f"the cluster did not accept the job. {str(error).splitlines()[0]}") from None
        time.sleep(1)


async def _follow(client: JobSubmissionClient, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        sys.stdout.write(lines)
        sys.stdout.flush()


def _exit_code(details: JobDetails) -> int:
    code = getattr(details, "driver_exit_code", None)
    return int(code) if code and code > 0 else _ENDED.get(details.status, 1)
