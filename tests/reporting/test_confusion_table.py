"""A confusion matrix as a table, and back."""

import numpy as np
import pytest

from rayrml.errors import DataError
from rayrml.reporting import confusion_table


def test_only_pairs_that_came_are_in_the_table_which_can_be_read_again():
    counts = np.array([[3, 0, 1], [0, 0, 0], [2, 5, 0]])
    content = confusion_table.to_csv(counts, ("a,b", 'the "c"'))  # the third one has no name
    assert len(content.decode().splitlines()) == 5
    assert confusion_table.from_csv(content, "x") == [
        ("a,b", "a,b", 3),
        ("a,b", "2", 1),
        ("2", "a,b", 2),
        ("2", 'the "c"', 5),
    ]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"true,predicted,count\na,b,many\n", b'true,predicted,count\na,"b'])
def test_other_files_are_refused_in_one_line(content):
    with pytest.raises(DataError, match=r"model/x.csv: is not a confusion matrix\. Expected the columns"):
        confusion_table.from_csv(content, "model/x.csv")
