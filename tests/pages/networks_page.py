"""The table of layers on the page of networks, made from the code; `python -m tests.pages` writes it."""

from rayrml.networks import layers
from tests.conftest import ROOT
from tests.pages.configuration_page import code, table

PAGE = ROOT / "examples" / "guide" / "networks.md"
MOST_NAMES = 8


def layers_table() -> str:
    """A row for each class of layer that can be built, by chapter."""
    rows = []
    for title, chapter in layers.describe_chapters():
        for number, (names, meaning) in enumerate(chapter):
            rows.append(("" if number else title.split(":")[0], shortened(names.split(", ")), meaning))
    return table(("", "layers", ""), rows)


def shortened(names: list[str]) -> str:
    """All names of a row, or the first and how many more there are."""
    if len(names) <= MOST_NAMES:
        return code(names)
    shown = MOST_NAMES - 2
    return f"{code(names[:shown])}, {len(names) - shown} more"
