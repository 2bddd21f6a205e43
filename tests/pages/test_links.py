"""Every relative link of every page leads to a file, and to a heading that the file has."""

import itertools
import re
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.conftest import ROOT
from tests.pages.configuration_page import anchor

MARKDOWN = MarkdownIt("commonmark").enable("table")
TRACKED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
PAGES = [ROOT / name for name in TRACKED.split()]


def inner(page):
    """What stands on a page: blocks, and inside them links, images and text."""
    for token in MARKDOWN.parse(page):
        yield token
        yield from token.children or ()


def links(page):
    """Where the links and images of a page lead, in Markdown and in HTML; what looks like one in code does not."""
    for token in inner(page):
        if token.type in ("link_open", "image"):
            yield str(token.attrGet("href") or token.attrGet("src"))
        elif token.type in ("html_inline", "html_block"):
            yield from re.findall(r'(?:src|href)="([^"]+)"', token.content)


def anchors(page):
    """The places of all headings; code hosts number those of one name."""
    tokens = MARKDOWN.parse(page)
    seen: dict[str, int] = {}
    for opening, text in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            name = anchor("".join(child.content for child in text.children or ()))
            seen[name] = seen.get(name, 0) + 1
            yield name if seen[name] == 1 else f"{name}-{seen[name] - 1}"


def broken(page: Path):
    """The relative links of a page that lead nowhere."""
    for target in links(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, place = target.partition("#")
        linked = page.parent / path if path else page
        if not linked.exists() or (place and place not in anchors(linked.read_text())):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert not list(broken(page))


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "b.md").write_text("# One `two` [three](b.md)\n\n# Again\n\n# Again\n")
    right = "[a](b.md) [b](b.md#one-two-three) [c](b.md#again-1) [d](#here) [e](https://x.org) `[f](none)`"
    wrong = "[a](c.md) [b](b.md#two) [c](#there) ![d](d.png) <img src='x' src=\"e.png\">"
    (tmp_path / "a.md").write_text(f"# Here\n\n{right}\n\n```\n[g](none)\n```\n")
    assert list(broken(tmp_path / "a.md")) == []
    (tmp_path / "a.md").write_text(f"# Here\n\n| a |\n|---|\n| {wrong} |\n")
    assert list(broken(tmp_path / "a.md")) == ["c.md", "b.md#two", "#there", "d.png", "e.png"]


def test_every_page_of_the_guide_is_in_its_index():
    guide = ROOT / "examples" / "guide"
    listed = set(links((guide / "README.md").read_text()))
    assert {path.name for path in guide.glob("*.md")} - {"README.md"} <= listed
