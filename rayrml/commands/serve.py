"""`rayrml serve`: answer requests over HTTP with a checkpoint's network."""

from __future__ import annotations

import argparse
import math

from rayrml.commands.configuration import OF_EVALUATION, add_settings, settings
from rayrml.commands.first_words import announce_reading

HELP = "answer requests over HTTP with a checkpoint's network"
EXAMPLES = (
    "rayrml serve model",
    "rayrml serve model/best.pt --port 9000 --replicas 2 --gpus 0.5",
    "rayrml serve model --address auto --replicas 1..4 --host 0.0.0.0",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder: its best model")
    verb.add_argument("--port", type=_port, default=8000, metavar="N", help="port (default: 8000; 0: a free one)")
    verb.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="0.0.0.0 lets other machines ask (default: 127.0.0.1)"
    )
    meaning = "replicas of the network, or MIN..MAX to follow the requests (default: 1)"
    verb.add_argument("--replicas", type=_replicas, default=(1, 1), metavar="N", help=meaning)
    verb.add_argument("--gpus", type=_share, default=0, metavar="N", help="GPUs per replica, also 0.5 (default: none)")
    verb.add_argument("--cpus", type=_share, default=1, metavar="N", help="CPUs per replica (default: 1)")
    meaning = "a running Ray cluster (default: RAY_ADDRESS, or a private local Ray)"
    verb.add_argument("--address", dest="cluster", metavar="ADDRESS", help=meaning)
    meaning = "answer requests without a token (default: one is printed at the start)"
    verb.add_argument("--no-token", action="store_true", help=meaning)
    meaning = "compute samples together even if the last bits of their outputs become others"
    verb.add_argument("--inexact", action="store_true", help=meaning)
    meaning = "largest request in MiB (default: 32)"
    verb.add_argument("--max-request", type=_positive, default=32, metavar="MIB", help=meaning)
    meaning = "largest image, in millions of pixels (default: 50)"
    verb.add_argument("--max-image", type=_positive, default=50, metavar="MEGAPIXELS", help=meaning)
    meaning = "requests that wait; further ones are answered with 503 (default: 512)"
    verb.add_argument("--max-waiting", type=_positive, default=512, metavar="N", help=meaning)
    add_settings(verb, OF_EVALUATION, uses_ray=False)
    verb.add_argument("--verbose", action="store_true", help="print Ray's own messages too")


def do(options: argparse.Namespace) -> None:
    """Serve until a signal ends it. Raises what `rayrml.serve` raises."""
    overrides = settings(options)
    announce_reading(options.checkpoint, quiet=options.quiet)
    from rayrml.serving.foreground import serve_until_ended

    serve_until_ended(
        options.checkpoint,
        port=options.port,
        replicas=options.replicas,
        gpus=options.gpus,
        cpus=options.cpus,
        address=options.cluster,
        host=options.host,
        no_token=options.no_token,
        overrides=overrides,
        exact=not options.inexact,
        verbose=options.verbose,
        quiet=options.quiet,
        max_bytes=options.max_request * 2**20,
        max_pixels=options.max_image * 10**6,
        max_waiting=options.max_waiting,
    )


def _replicas(text: str) -> tuple[int, int]:
    """One number or two: `4`, `1..4`."""
    parts = text.split("..")
    if len(parts) > 2 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected a number or MIN..MAX, got '{text}'")
    least, most = int(parts[0]), int(parts[-1])
    if not 1 <= least <= most:
        raise argparse.ArgumentTypeError(f"expected at least 1, and MIN..MAX in this order, got '{text}'")
    return least, most


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got '{text}'")
    return number


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got '{text}'")
    return int(text)
