"""`rayrml find-lr`: find a learning rate by a range test."""

from __future__ import annotations

import argparse
import math

from rayrml.commands.configuration import add_options, read
from rayrml.commands.json_output import add_json
from rayrml.commands.picture_option import add_picture, write_picture
from rayrml.errors import ConfigError, Problem

HELP = "find a learning rate: train some steps with growing ones"
EXAMPLES = (
    "rayrml find-lr config.json",
    "rayrml find-lr config.json --from 1e-5 --to 1 --steps 200",
    "rayrml find-lr config.json optimizer.type=SGD -o sgd.png",
)
_LEAST_STEPS = 20


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_options(verb, unlisted=("--epochs", "--lr"))
    verb.add_argument(
        "--from", dest="lowest", type=float, default=1e-6, metavar="RATE", help="first rate (default: 1e-6)"
    )
    verb.add_argument("--to", dest="highest", type=float, default=10.0, metavar="RATE", help="last rate (default: 10)")
    verb.add_argument("--steps", type=int, default=150, metavar="N", help="how many steps (default: 150)")
    add_picture(verb, "learning_rates.png")
    add_json(verb)


def do(options: argparse.Namespace) -> None:
    """Make the test, draw its curve, and show the rate. Raises what a training raises."""
    _check(options)
    document = read(options)
    from rayrml.runs.rate_finder import find_rate
    from rayrml.training.rate_range import RateRange, smooth

    rates = RateRange(options.lowest, options.highest, options.steps)
    curve = find_rate(document, rates=rates, quiet=options.quiet, verbose=options.verbose, on_mistake=options.leave)
    from rayrml.formatting import format_path
    from rayrml.reporting.console import Console
    from rayrml.reporting.rate_plots import draw_rates

    console = Console(quiet=options.quiet, stamped=False)
    if curve.diverged:
        console.line(f"The loss diverged at a learning rate of {curve.rates[-1]:.2g}, in step {len(curve.rates)}")
    if curve.suggested is None:
        console.line("The loss has not come down clearly at any rate: no suggestion. --steps 300 may show more")
    else:
        console.line(f"Suggested learning rate: {curve.suggested:.2g} (configured: {curve.configured:g})")
        console.commands("To train with it:", [f"--set neural_network.optimizer.learning_rate={curve.suggested:.2g}"])
    if curve.rates:
        write_picture(draw_rates(curve.rates, curve.losses, smooth(curve.losses), curve.suggested), options.output)
        console.line(f"Saved picture: {format_path(options.output)}")
    options.document = {
        "learning_rate": curve.suggested,
        "configured": curve.configured,
        "diverged": curve.diverged,
        "rates": curve.rates,
        "losses": curve.losses,
        "picture": options.output if curve.rates else None,
    }


def _check(options: argparse.Namespace) -> None:
    if not (0 < options.lowest < options.highest and math.isfinite(options.highest)):
        raise ConfigError(Problem("--from, --to", "expected two numbers above 0, the first one smaller"))
    if options.steps < _LEAST_STEPS:
        raise ConfigError(Problem("--steps", f"expected at least {_LEAST_STEPS}, got {options.steps}"))
