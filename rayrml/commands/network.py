"""`rayrml network`: write the Keras JSON of a network by name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rayrml.commands.configuration import read_settings
from rayrml.schema.stored import read_catalog

if TYPE_CHECKING:
    from rayrml.networks.families import Family

HELP = "write the Keras JSON of a well-known network, such as resnet50 or unet"
EXAMPLES = (
    "rayrml network",
    "rayrml network resnet50 --classes 10 -o network.json",
    "rayrml network unet --input 128 128 1 --classes 2 filters=32 -o unet.json",
)


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    names = ", ".join(read_catalog()["lists"]["networks"])
    verb.add_argument("name", nargs="?", metavar="NAME", help=f"the network (default: list all of them): {names}")
    shape = "its shape: height, width and channels; 'any' for any size"
    verb.add_argument("--input", nargs="+", type=_size, metavar="N", help=shape)
    verb.add_argument("--classes", type=int, metavar="N", help="how many numbers it gives for each sample or pixel")
    verb.add_argument(
        "--set",
        dest="keys",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set any key of the network (`rayrml schema --keys networks`); KEY=VALUE alone does the same",
    )
    verb.add_argument("-o", "--output", metavar="FILE", help="output file (default: standard output)")


def do(options: argparse.Namespace) -> None:
    """Write the network, and say on standard error what it is.

    Raises:
        ConfigError: options without a network, or no such network, or it does not take the keys, or such an input.
        DataError: the file cannot be written.
    """
    if options.name is None:
        from rayrml.schema import stored

        _expect_no_keys(options)
        sys.stdout.write("\n".join([*stored.names("networks"), ""]))
        return
    from rayrml.config.names import find
    from rayrml.networks.families import NETWORKS, choose_network
    from rayrml.networks.families.writing import format_layers

    given = {"input": options.input, "classes": options.classes}
    given = read_settings(options.keys) | {key: value for key, value in given.items() if value is not None}
    name = find(NETWORKS, options.name, "NAME")
    family = choose_network({"network": name, **_without_weights(given)}, "")
    text = format_layers(family.layers())
    described = _describe(family)
    if options.output is None:
        sys.stdout.write(text)
    else:
        from rayrml import storage
        from rayrml.errors import explaining

        with explaining(options.output, "cannot be written"):
            storage.write(options.output, text.encode())
    sys.stdout.flush()
    sys.stderr.write(f"{described}\n")


def _expect_no_keys(options: argparse.Namespace) -> None:
    """Raises ConfigError if there is an option that only a network takes."""
    if options.keys or options.input or options.classes is not None or options.output is not None:
        from rayrml.errors import ConfigError, Problem

        raise ConfigError(Problem("NAME", "must be given with other options. `rayrml network` alone lists the names"))


def _without_weights(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys. Raises ConfigError if there are weights among them, which are not in the JSON."""
    if "weights" in given:
        from rayrml.errors import ConfigError, Problem

        message = (
            "the JSON of a network has no weights. A configuration takes them: checkpoints.load, or layers.weights"
        )
        raise ConfigError(Problem("weights", message))
    return given


def _describe(family: Family) -> str:
    """What the network is: its parameters, layers, input and output. Raises ConfigError if its layers do not fit."""
    from rayrml.networks.families.sizes import naming_sizes
    from rayrml.networks.graph import read_graph
    from rayrml.networks.network import outline

    graph = read_graph(family.layers(), family.name)
    with naming_sizes(family, "input"):
        count, shapes = outline(graph)
    (_, *sizes), (channels, *positions) = shapes[graph.inputs[0]], shapes[graph.outputs[0]]
    taken = " x ".join("any" if size is None else str(size) for size in (*sizes, family.shape[-1]))
    given = " x ".join("any" if size is None else str(size) for size in (*positions, channels))
    return f"{family.name}: {count:,} parameters, {len(shapes) - 1} layers, {taken} -> {given} ({family.ending})"


def _size(text: str) -> int | None:
    if text == "any":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a size >= 1 or 'any', got '{text}'")
    return int(text)
