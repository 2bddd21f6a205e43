"""The page of the configuration says what the code says."""

import json
import re

import pytest

from rayrml.config.reading import parse as parse_configuration
from rayrml.config.sections import Config
from rayrml.config.tables import choose, make_model
from rayrml.data.readers import READERS
from rayrml.data.slicers import parse_slicers
from rayrml.data.transforms import TRANSFORMS
from rayrml.data.transforms.table import find_bare_field, parse_transforms
from rayrml.losses import LOSSES
from rayrml.lr_schedulers import LR_SCHEDULERS, choose_schedule
from rayrml.metrics import METRICS
from rayrml.networks.layers import TABLE
from rayrml.networks.layers.activations import FUNCTIONS
from rayrml.optimizers import OPTIMIZERS
from rayrml.schema.key_tables import sections, spellings
from tests.pages.configuration_page import escaped, metric_of, page

TEXT = page()
PARTS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
TABLES = {
    "Optimizers": OPTIMIZERS,
    "Learning rate schedulers": LR_SCHEDULERS,
    "Losses": LOSSES,
    "Data types": READERS,
    "Transforms": TRANSFORMS,
}
ROWS = [(heading, name) for heading, table in TABLES.items() for name in table]


def row(heading, name):
    return next(line for line in PARTS[heading].splitlines() if line.startswith(f"| `{name}`"))


def examples():
    """The JSON shown, of which all but the first are parts of an object."""
    whole, *parts = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    return [json.loads(whole), *(json.loads(f"{{{part}}}") for part in parts)]


@pytest.mark.parametrize(("path", "model"), [("", Config), *sections(Config, "")])
def test_every_key_of_a_section_has_a_row(path, model):
    for name, field in model.model_fields.items():
        key, *others = spellings(name, field)
        line = row(f"`{path}`" if path else "The file", key)
        assert field.description in line
        assert all(f"`{other}`" in line for other in others)


@pytest.mark.parametrize(("heading", "name"), ROWS)
def test_every_row_of_a_table_is_there_with_its_keys(heading, name):
    line, builder = row(heading, name), TABLES[heading][name]
    bare = find_bare_field(builder) if heading == "Transforms" else None
    for key in make_model(builder).model_fields:
        assert key == bare or f"`{key}`: " in line


def test_every_layer_and_activation_is_named():
    names = set(re.findall(r"`([^`]+)`", PARTS["Layers and activations"]))
    assert names >= TABLE.keys() | FUNCTIONS.keys()


def test_every_metric_is_there_with_the_losses_that_bring_it():
    assert all(row("Metrics", metric) for metric in METRICS)
    for name, loss in LOSSES.items():
        assert metric_of(loss) is None or row("Losses", name).endswith(f" `{metric_of(loss)}` |")


def test_no_cell_is_cut_by_a_pipe_and_no_schema_shows_through():
    for text in PARTS.values():
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
        assert len(widths) == 1
    assert not re.search(r"anyOf|prefixItems|\$ref|exclusiveM", TEXT)


def test_the_examples_are_right():
    whole, scheduler, slicers, transforms = examples()
    config, mistakes = parse_configuration(whole)
    assert config and not mistakes
    assert choose(OPTIMIZERS, whole["neural_network"]["optimizer"], "optimizer").name == "Adam"
    assert choose(LOSSES, whole["neural_network"]["loss"], "loss", "function").name == "NLL"
    assert choose_schedule(scheduler["lr_scheduler"], "lr_scheduler").name == "Warmup, Cosine"
    assert len(parse_slicers(slicers["slicers"], "slicers")) == 1
    assert len(parse_transforms(transforms["transforms"], "transforms")) == 3


def test_cells_keep_to_their_table():
    assert escaped("|P| < 1<br>`<epoch>` of <b>") == r"\|P\| < 1<br>`<epoch>` of \<b>"
