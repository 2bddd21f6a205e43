"""The tables of chapters and tables on the package's page, made from the code; `python -m tests.pages` writes them."""

import ast
import re

from tests.conftest import ROOT
from tests.pages.configuration_page import table
from tests.test_architecture import LEVELS

PACKAGE = ROOT / "rayrml"
PAGE = PACKAGE / "README.md"


def chapters_table() -> str:
    """A row for each folder and module of the package, by level."""
    rows = []
    for level, names in enumerate(LEVELS):
        for number, name in enumerate(names):
            rows.append(("" if number else str(level), *described(name)))
    return table(("level", "", "what is in it"), rows)


def described(name: str) -> tuple[str, str]:
    """A folder or module, with a link to it, and the first sentence of its docstring."""
    folder = (PACKAGE / name).is_dir()
    path = PACKAGE / name / "__init__.py" if folder else PACKAGE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    shown = f"{name}/" if folder else f"{name}.py"
    return f"[`{shown}`]({shown})", first_sentence(text)


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    return re.split(r"(?<=\.)\s", text.partition("\n\n")[0], maxsplit=1)[0]
