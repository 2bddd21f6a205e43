"""Values as they are shown to people."""

from pathlib import Path

import pytest

from rayrml.formatting import format_bytes, format_duration, format_path, format_table


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (1234, "1.23 KB"),
        (999_400_000, "999 MB"),
        (999_600_000, "1 GB"),
        (10**13, "10 TB"),
        (5 * 10**15, "5e+03 TB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (42, "0:42"), (725.2, "12:05"), (3723, "1:02:03")])
def test_durations_are_written_as_on_a_clock(seconds, text):
    assert format_duration(seconds) == text


def test_paths_are_shown_as_one_would_type_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert format_path(tmp_path / "runs" / "model.pt") == "./runs/model.pt"
    assert format_path(tmp_path.parent) == str(tmp_path.parent)
    assert format_path("s3://box/model.pt") == "s3://box/model.pt"
    assert format_path(Path("model.pt")) == "model.pt"


def test_tables_align_the_first_column_to_the_left_and_the_last_one_to_the_right():
    assert format_table([("a", 1), ("name", 200)], ("Row", "Size")) == ["Row   Size", "a        1", "name   200"]
