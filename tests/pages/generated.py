"""The pages, the parts of pages and the files of the package that are made from the code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rayrml.schema import catalog, json_schema, key_tables, stored
from tests.pages import chapters, configuration_page, networks_page


def generated_pages() -> Iterator[tuple[Path, str]]:
    """Each page of which something is made from the code, with the text that it should have."""
    yield configuration_page.PAGE, configuration_page.page()
    networks = with_part(networks_page.PAGE.read_text(), "networks", networks_page.networks_table())
    yield networks_page.PAGE, with_part(networks, "layers", networks_page.layers_table())
    yield chapters.PAGE, with_part(chapters.PAGE.read_text(), "chapters", chapters.chapters_table())
    yield from stored_files()


def stored_files() -> Iterator[tuple[Path, str]]:
    """The files from which commands take what they print about tables and sections."""
    yield stored.CONFIGURATION, as_text(json_schema.configuration())
    yield stored.SEARCH, as_text(json_schema.search())
    content = {
        "lists": catalog.list_meanings(),
        "keys": key_tables.list_tables(),
        "section_keys": key_tables.list_section_keys(),
        "row_keys": key_tables.list_row_keys(),
    }
    yield stored.CATALOG, as_text(content)


def as_text(content: Any) -> str:
    """The JSON that is written for people and programs."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def with_part(page: str, name: str, content: str) -> str:
    """The page with `content` between the comments `<!-- name: ... -->` and `<!-- end -->`."""
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
    changed, count = re.subn(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has {count} parts called '{name}'")
    return changed
