import pytest

from rayrml import cli


@pytest.mark.parametrize("name", ["c.toml", "c.yaml", "c.YML"])
def test_a_name_of_another_format_is_refused(tmp_path, capsys, name):
    assert cli.main(["new", str(tmp_path), "--output", str(tmp_path / name)]) == 2
    assert "is written as JSON. Expected a name like FILE.json" in capsys.readouterr().err
