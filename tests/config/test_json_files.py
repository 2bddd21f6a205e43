import os

import pytest

from rayrml.config.json_files import read_json
from rayrml.errors import ConfigError, DataError


def test_a_syntax_error_names_line_and_column(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{\n  "neural_network": {,}\n}')
    with pytest.raises(ConfigError, match=r"c\.json, line 2, column 22: not valid JSON"):
        read_json(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.json.*No such file"):
        read_json(tmp_path / "no.json")


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(path) == {}


def test_endless_nesting_is_refused(tmp_path):
    path = tmp_path / "c.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        read_json(os.fspath(path))
