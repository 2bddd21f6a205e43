"""What the package's page says is so: its paths, and the examples of what can be added, each of which is tried."""

import __future__

import importlib
import re
import sys
import types

import numpy as np
import pytest
import torch

from rayrml.commands import VERBS
from rayrml.config.tables import choose, make_model
from rayrml.data.readers import READERS
from rayrml.data.transforms.table import find_bare_field
from rayrml.losses import LOSSES
from tests.conftest import ROOT
from tests.pages.chapters import PAGE

TEXT = PAGE.read_text()
EXAMPLES = {
    path: (block, heading)
    for heading, part in re.findall(r"^###? (.*?)\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    for path, block in re.findall(r"```python\n# (\S+)\n(.*?)```", part, flags=re.DOTALL)
}
NEW = {
    "rayrml/data/readers/tables.py",
    "tests/data/readers/test_tables.py",
    "rayrml/commands/classes.py",
    "tests/commands/test_classes.py",
}


@pytest.fixture
def carry_out(monkeypatch):
    """A function that runs the example for a file after what the file holds; the names that there are then."""

    def execute(path):
        name = path.removesuffix(".py").replace("/", ".")
        module = types.ModuleType(f"{name}_with_example")
        if path not in NEW:
            module.__dict__.update({**vars(importlib.import_module(name)), "__name__": module.__name__})
        monkeypatch.setitem(sys.modules, module.__name__, module)
        flags = __future__.annotations.compiler_flag
        exec(compile(EXAMPLES[path][0], path, "exec", flags, dont_inherit=True), module.__dict__)
        return module

    return execute


def test_a_layer_can_be_added_as_the_page_says(carry_out):
    layer = carry_out("rayrml/networks/layers/activations.py").HardTanh
    assert set(make_model(layer).model_fields) == {"limit"}
    assert layer((3,), limit=0.5)(torch.tensor([[-2.0, 0.25, 2.0]])).tolist() == [[-0.5, 0.25, 0.5]]


def test_a_loss_can_be_added_as_the_page_says(carry_out, monkeypatch):
    monkeypatch.setitem(LOSSES, "LogCosh", carry_out("rayrml/losses/pointwise.py").log_cosh)
    assert choose(LOSSES, {"function": "logcosh"}, "loss", "function").name == "LogCosh"
    carry_out("tests/losses/test_pointwise.py").test_log_cosh_is_the_mean_of_its_formula()


def test_a_reader_can_be_added_as_the_page_says(carry_out, monkeypatch, tmp_path):
    monkeypatch.setitem(READERS, "csv", carry_out("rayrml/data/readers/tables.py").READERS["csv"])
    shown = carry_out("tests/data/readers/test_tables.py")
    shown.test_a_table_has_one_channel(tmp_path)
    shown.test_a_damaged_table_is_named(tmp_path)


def test_a_transform_can_be_added_as_the_page_says(carry_out):
    transform = carry_out("rayrml/data/transforms/values.py").Gamma
    assert find_bare_field(transform) == "exponent"
    images = torch.full((1, 1, 2, 2), 0.25)
    assert torch.equal(transform(exponent=0.5)(images, torch.empty(1, 0), "linear"), images * 2)


def test_a_metric_can_be_added_as_the_page_says(carry_out):
    metric = carry_out("rayrml/metrics/overlap.py").f2()
    output, target = torch.eye(2)[torch.tensor([0, 0, 0, 1])], torch.tensor([0, 1, 0, 1])
    assert metric.value(metric.sums(output, target)) == pytest.approx(np.mean([10 / 11, 5 / 9]))


def test_a_command_can_be_added_as_the_page_says(carry_out, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(VERBS, "classes", carry_out("rayrml/commands/classes.py"))
    shown = carry_out("tests/commands/test_classes.py")
    shown.test_a_run_without_classes_exits_with_3(tmp_path, capsys)
    shown.test_classes_are_printed_in_their_order(tmp_path, capsys)


def test_every_example_is_tried():
    tried = {
        constant
        for name, test in globals().items()
        if name.startswith("test_a_") and name.endswith("_as_the_page_says")
        for constant in test.__code__.co_consts
    }
    assert set(EXAMPLES) <= tried


def test_the_paths_that_the_page_names_exist():
    rest = re.sub(r"```python.*?```", "", TEXT, flags=re.DOTALL)
    named = set(re.findall(r"(?:[a-z_0-9]+/)+(?:[a-z_0-9]+\.py)?(?![\w.])", rest))
    assert len(named) > 20
    assert not [path for path in named if not any((place / path).exists() for place in (ROOT, PAGE.parent))]
