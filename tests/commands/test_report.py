"""`rayrml report`, from its arguments to its page."""

import json

import pytest

from rayrml import cli
from tests.reporting.test_run_report import write_run


def test_a_page_on_two_runs_is_written_where_it_is_wanted(tmp_path, capsys):
    runs = [write_run(tmp_path / name) for name in ("first", "second")]
    output = tmp_path / "both.html"
    assert cli.main(["report", *runs, "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"Saved report: {output}\n"
    assert b"first, second" in output.read_bytes()


def test_the_page_is_told_as_json(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", write_run(tmp_path / "model"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == "report.html" and found["runs"] == ["model"]
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere: is not a run. Expected a folder"),
        (["nowhere", "-o", "page.pdf"], "expected a file that ends with .html, got 'page.pdf'"),
    ],
)
def test_mistakes_are_one_line(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        assert cli.main(["report", *arguments]) != 0
    except SystemExit as ended:
        assert ended.code != 0
    assert told in capsys.readouterr().err
