"""The pages and parts of pages that are made from the code."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.pages import chapters, configuration_page, networks_page


def generated_pages() -> Iterator[tuple[Path, str]]:
    """Each page of which something is made from the code, with the text that it should have."""
    yield configuration_page.PAGE, configuration_page.page()
    yield networks_page.PAGE, with_part(networks_page.PAGE.read_text(), "layers", networks_page.layers_table())
    yield chapters.PAGE, with_part(chapters.PAGE.read_text(), "chapters", chapters.chapters_table())


def with_part(page: str, name: str, content: str) -> str:
    """The page with `content` between the comments `<!-- name: ... -->` and `<!-- end -->`."""
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
    changed, count = re.subn(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} parts called '{name}'")
    return changed
