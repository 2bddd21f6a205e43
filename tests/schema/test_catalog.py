"""What can be listed, and that each row has a meaning."""

import pytest

from rayrml.errors import ConfigError
from rayrml.schema.catalog import TABLES
from rayrml.schema.stored import names, overview


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_listed_with_what_it_is(name):
    assert max(map(len, names(name))) <= 80
    lines = [line for line in names(name) if not line.startswith(" ")]  # the others go on with the one before
    assert [line.split()[0] for line in lines] == list(TABLES[name])
    assert all(len(line.split()) > 1 for line in lines)


def test_without_a_name_all_lists_are_named():
    assert [line.split()[0] for line in overview()[1:]] == list(TABLES)


def test_a_name_that_is_no_list_is_answered_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"^list: unknown name \"looses\"\. Did you mean 'losses'\?$"):
        names("looses")
