"""What is made from the code on the pages is what the code says."""

import pytest

from tests.conftest import ROOT
from tests.pages.generated import generated_pages, with_part

PAGES = dict(generated_pages())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_that_of_the_code(path):
    assert path.read_text() == PAGES[path], "run `python -m tests.pages`"


def test_a_part_is_replaced_and_the_rest_of_the_page_stays():
    page = "a\n<!-- rows: made -->\nold\n<!-- end -->\nb\n"
    changed = with_part(page, "rows", r"| \d |")
    assert changed == "a\n<!-- rows: made -->\n| \\d |\n<!-- end -->\nb\n"
    assert with_part(changed, "rows", r"| \d |") == changed


def test_a_part_that_the_page_lacks_is_an_error():
    with pytest.raises(ValueError, match="0 parts called 'rows'"):
        with_part("a\n", "rows", "")
