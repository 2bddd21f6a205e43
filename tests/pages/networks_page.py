"""The tables on the page of networks, made from the code; `python -m tests.pages` writes it."""

from typing import Any

from rayrml.config.tables import unwrap
from rayrml.networks import layers
from rayrml.networks.families import NETWORKS
from rayrml.schema.catalog import meaning
from tests.conftest import ROOT
from tests.networks.families.parameters import PARAMETERS
from tests.pages.configuration_page import code, table

PIXELS = {
    "any": "",
    "0 to 255": '0 to 255: `{"normalize": {"std": 0.00392}}`',
    "-1 to 1": '-1 to 1: `{"normalize": {"mean": 0.5, "std": 0.5}}`',
    "normalized": 'normalized: `{"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}`',
    "BGR": 'BGR, less the means: `{"convert_color": "RGB2BGR"}`, '
    '`{"normalize": {"mean": [0.4076, 0.458, 0.485], "std": 0.00392}}`',
}
PAGE = ROOT / "examples" / "guide" / "networks.md"
MOST_NAMES = 8


def layers_table() -> str:
    """A row for each class of layer that can be built, by chapter."""
    rows = []
    for title, chapter in layers.describe_chapters():
        for number, (names, said) in enumerate(chapter):
            rows.append(("" if number else title.split(":")[0], shortened(names.split(", ")), said))
    return table(("", "layers", ""), rows)


def networks_table() -> str:
    """A row for each family of networks by name: their parameters, and the pixels that weights of Keras expect."""
    families: dict[Any, list[str]] = {}
    for name, row in NETWORKS.items():
        families.setdefault(unwrap(row), []).append(name)
    rows = [
        (meaning(kind), ", ".join(f"`{name}` {PARAMETERS[name] / 1e6:.1f}" for name in names), PIXELS[kind.pixels])
        for kind, names in families.items()
    ]
    return table(("", "networks, with millions of parameters", "pixels"), rows)


def shortened(names: list[str]) -> str:
    """All names of a row, or the first and how many more there are."""
    if len(names) <= MOST_NAMES:
        return code(names)
    shown = MOST_NAMES - 2
    return f"{code(names[:shown])}, {len(names) - shown} more"
