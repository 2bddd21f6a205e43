"""The page on runs: nothing on it comes from elsewhere, and nothing that a run says is taken for HTML."""

import re
from html.parser import HTMLParser

import numpy as np

from rayrml.reporting import confusion_table, report_page
from rayrml.reporting.run_report import read_reports
from tests.reporting.test_run_report import write_run

_NO_END = {"meta", "img", "br", "rect"}


class Page(HTMLParser):
    """Checks that elements are nested, and keeps what the page refers to and its text."""

    def __init__(self, content):
        super().__init__()
        self.open, self.references, self.text, self.kinds = [], [], [], []
        self.feed(content.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.kinds.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "action", "xlink:href")]
        if tag not in _NO_END:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag not in _NO_END:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def make_page(*runs):
    return Page(report_page.render(read_reports(runs)))


def test_nothing_on_a_page_comes_from_elsewhere(tmp_path):
    page = make_page(write_run(tmp_path / "model", plots__loss_png=b"\x89PNG"))
    assert len(page.references) == 1 and all(re.match("data:image/png;base64,|#", one) for one in page.references)
    assert not {"script", "link", "iframe"} & set(page.kinds)


def test_names_are_text_whatever_they_hold(tmp_path):
    evil = "<script>alert(1)</script>"
    run = write_run(
        tmp_path / "model",
        confusion_matrix_csv=confusion_table.to_csv(np.array([[1, 1], [1, 1]]), (evil, '" onload="x')),
        data_json={"training": {"samples": 1, "path": evil, "classes": {evil: 1}}},
        metrics_json={"classes": {evil: {"recall": 1.0}}},
        **{"config.resolved_json": {"neural_network": {"outfile": evil, "layers": evil}}},
    )
    page = make_page(run)
    assert "script" not in page.kinds and evil in page.text


def test_a_matrix_of_200_classes_has_all_names_and_a_cell_for_each_pair(tmp_path):
    counts = np.eye(200, dtype=int)
    counts[3, 150] = 2
    names = [f"class {i}" for i in range(200)]
    run = write_run(tmp_path / "model", confusion_matrix_csv=confusion_table.to_csv(counts, names))
    page = make_page(run)
    assert set(names) <= set(page.text)
    assert page.kinds.count("rect") == 1 + 201
    assert "class 3 → class 150: 2 (66.7 %)" in page.text


def test_runs_side_by_side_are_compared_with_what_differs_in_their_configurations(tmp_path):
    config = {"neural_network": {"seed": 0, "optimizer": {"learning_rate": 0.1}}}
    other = {"neural_network": {"seed": 0, "optimizer": {"learning_rate": 0.2}, "extra": None}}
    runs = [
        write_run(tmp_path / name, **{"config.resolved_json": content})
        for name, content in (("a", config), ("b", other))
    ]
    page = make_page(*runs)
    text = "|".join(word for word in map(str.strip, page.text) if word)
    assert "Key|a|b|neural_network.optimizer.learning_rate|0.1|0.2|neural_network.extra|-|null" in text
    assert "neural_network.seed|" not in text
    assert [one for one in page.references if one.startswith("#")] == ["#run-1", "#run-2"]


def test_a_page_is_written_into_a_run_s_folder(tmp_path):
    run = write_run(tmp_path / "model")
    assert report_page.write(run) == f"{run}/report.html"
    assert (tmp_path / "model" / "report.html").read_bytes() == report_page.render(read_reports([run]))
