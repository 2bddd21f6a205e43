"""`rayrml submit`: run a configuration as a job of a cluster."""

from __future__ import annotations

import argparse

from rayrml.commands.configuration import add_options, add_resume, read

HELP = "run a configuration as a job of a cluster"


def add(verb: argparse.ArgumentParser) -> None:
    """The verb's options."""
    add_options(verb)
    add_resume(verb)
    verb.add_argument("--no-wait", action="store_true", help="do not wait for the job's end")


def do(options: argparse.Namespace) -> int:
    """Send the job, follow it, and give its exit code. Raises what `submit` raises."""
    address, options.address = options.address, None  # where the job is sent to; there, it runs on that cluster
    document = read(options)
    from rayrml.cluster.job_submission import submit

    words = [f"--{name}" for name in ("resume", "quiet", "verbose") if getattr(options, name)]
    return submit(
        document,
        address=address,
        options=tuple(words),
        follow=not options.no_wait,
    )
