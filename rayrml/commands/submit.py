"""`rayrml submit`: run a configuration as a job on a cluster."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import add_earlier, add_options, add_predecessor_log, read
from rayrml.errors import ConfigError, Problem

HELP = "run a configuration as a job on a cluster"
EXAMPLES = (
    "rayrml submit config.json --address http://HEAD:8265",
    "rayrml submit config.json --address http://HEAD:8265 --num-workers 4",
    "rayrml submit config.json --address http://HEAD:8265 --no-wait",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_options(verb)
    add_earlier(verb)
    add_predecessor_log(verb)
    verb.add_argument("--no-wait", action="store_true", help="do not wait until the job ends")


def do(options: argparse.Namespace) -> int:
    """Submit the job, follow it, and return its exit code. Raises what `submit` raises."""
    if options.device is not None and ":" in options.device:
        raise ConfigError(Problem("--device", "a job gets its GPUs from the cluster. Expected cpu or cuda"))
    address, options.address = options.address, None  # where the job is sent; it runs on that cluster
    document = read(options)
    from rayrml.cluster.job_submission import submit

    flags = ("resume", "quiet", "verbose", "predecessor_log")
    words = [f"--{name.replace('_', '-')}" for name in flags if getattr(options, name)]
    return submit(
        document,
        address=address,
        options=tuple(words),
        follow=not options.no_wait,
    )
