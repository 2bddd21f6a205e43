"""The parts of the README that are made from the code; `python -m tests.pages.readme` writes them anew."""

import re

from tests.conftest import ROOT

README = ROOT / "README.md"


def layers_table() -> str:
    """Every class of layer that can be built, by chapter."""
    from rayrml.networks import layers

    lines = ["| | layers | |", "|---|---|---|"]
    for title, rows in layers.describe_chapters():
        for number, (names, meaning) in enumerate(rows):
            listed = names.split(", ")
            coded = [f"`{name}`" for name in listed]
            shown = ", ".join(coded if len(coded) <= 8 else [*coded[:6], f"{len(coded) - 6} more"])
            lines.append(f"| {'' if number else title.split(':')[0]} | {shown} | {meaning} |")
    return "\n".join(lines)


def with_generated_parts(text: str) -> str:
    """The README with its generated parts as they should be."""
    table = layers_table().replace("\\", r"\\")
    return re.sub(r"(<!-- layers -->\n).*?(\n<!-- end -->)", rf"\1{table}\2", text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(with_generated_parts(README.read_text()))
