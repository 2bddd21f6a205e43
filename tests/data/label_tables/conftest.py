"""Tables of labels on disk, and what is read of them."""

import numpy as np
import pytest

from rayrml.data.label_tables import Inputs, TargetOptions, make_targets, match_rows, read_label_table
from rayrml.errors import DataError


@pytest.fixture
def read(tmp_path):
    """Reads a table that has these contents, text or bytes."""

    def read(content, name="labels.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_label_table(str(path), "neural_network.data.labels")

    return read


@pytest.fixture
def match(read, tmp_path):
    """Matches the rows of a table with files in the folder `images` beside it."""

    def match(content, names, file_column=None, *, same=(), name="labels.csv"):
        return match_rows(read(content, name), Inputs(str(tmp_path / "images"), names), file_column, same=same)

    return match


@pytest.fixture
def targets(read, tmp_path):
    """The targets of files a.jpg, b.jpg, ... from these values, or from a table with columns of these names."""

    def targets(values, columns=("label",), *, name="labels.csv", training=None, delimiter=",", **options):
        rows = [value if isinstance(value, tuple) else (value,) for value in values]
        lines = [("file", *columns), *((f"{chr(97 + i)}.jpg", *row) for i, row in enumerate(rows))]
        table = read("".join(delimiter.join(line) + "\n" for line in lines), name)
        matching = match_rows(table, Inputs(str(tmp_path), [f"{chr(97 + i)}.jpg" for i in range(len(rows))]))
        mask = None if training is None else np.array(training, bool)
        return make_targets(table, matching, columns, TargetOptions(training_rows=mask, **options))

    return targets


@pytest.fixture
def complaint():
    """The text of a DataError, which is one line."""

    def complaint(function, *arguments, **options):
        with pytest.raises(DataError) as error:
            function(*arguments, **options)
        assert "\n" not in str(error.value)
        return str(error.value)

    return complaint
