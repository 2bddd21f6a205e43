"""The page of the configuration, made from the code; `python -m tests.pages` writes it."""

import inspect
import re
import typing
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rayrml.config.optimization import OptimizerOptions
from rayrml.config.sections import Config, PathString
from rayrml.config.tables import Table, make_model, unwrap
from rayrml.data.readers import READERS
from rayrml.data.slicers import slicer
from rayrml.data.transforms import TRANSFORMS
from rayrml.data.transforms.table import find_bare_field
from rayrml.losses import LOSSES
from rayrml.lr_schedulers import LR_SCHEDULERS
from rayrml.metrics import METRICS
from rayrml.networks import layers
from rayrml.networks.families import NETWORKS, Family
from rayrml.networks.layers.activations import FUNCTIONS
from rayrml.optimizers import OPTIMIZERS
from rayrml.schema.catalog import meaning
from rayrml.schema.key_tables import allowed, default, key_schemas, section_of, sections, spellings
from tests.conftest import ROOT

PAGE = ROOT / "examples" / "guide" / "configuration.md"

INTRODUCTION = """\
# The configuration, key by key

<!-- Made from the code by `python -m tests.pages`; not to be edited. -->

A configuration is one JSON file. It holds one object, `neural_network`: the network, the data that it learns from, and
how it learns. An optional second object, `ray`, says where the training takes place.
[Configuration files](formats.md) can also be YAML or TOML, have comments and variables, and extend one another.

```json
{
    "neural_network": {
        "layers": "network.json",
        "num_epochs": 10,
        "data": {
            "input_type": "images",
            "target_type": "labels",
            "input_path": "images/training/",
            "test_input_path": "images/testing/"
        },
        "optimizer": {"type": "Adam", "learning_rate": 1e-3},
        "loss": {"function": "NLL"}
    },
    "ray": {"num_workers": 2}
}
```

- Relative paths are relative to the current folder, whichever file they are in. A path that exists beside the
  configuration instead is named in the error.
- The case of names (of optimizers, losses, data types and so on) does not matter.
- A key that is not *required* may be left out; a key without a default may also be `null`. An unknown key is a mistake.
- Any key can be [set on the command line](commands.md#setting-keys-on-the-command-line).
- `rayrml check FILE` [reports all mistakes](commands.md#checking-a-configuration) at once and trains nothing.
- `rayrml schema` prints this page [as a JSON Schema](commands.md#finding-keys-and-names) for editors.

Sections:
"""

OPTIMIZERS_TEXT = """\
The section `optimizer`: its `type`, the keys of that type, and the [keys of all optimizers](#keys-of-all-optimizers).
"""

OPTIONS_TEXT = """\
Keys of the section `optimizer`, whatever its [`type`](#optimizers).
"""

SCHEDULERS_TEXT = """\
How the learning rate changes from epoch to epoch: the key `lr_scheduler` of the [optimizer](#optimizers), one object or
a list of them in sequence. Each one lasts for its `num_epochs`; the last one does not need that key. With
`"per": "step"` the rate is set before each step, as a curve between the epochs.

```json
"lr_scheduler": [{"type": "Warmup", "num_epochs": 3, "start_factor": 0.1}, {"type": "Cosine"}]
```
"""

LOSSES_TEXT = """\
The section `loss`: its `function`, and the keys of that function. Next to the loss, evaluation reports the
[metric](#metrics) of the last column, if there is one.
"""

METRICS_TEXT = """\
What evaluation reports next to the [loss](#losses): the loss's own metric, or the one that
[`metric`](#neural_network) names. [Early stopping](#neural_networkearly_stopping) can watch it.
"""

TRANSFORMS_TEXT = """\
What is done to samples on their way to the network: lists of objects with one key each, applied in their order, under
the keys `transforms`, `input_transforms` and `target_transforms` of [the data section](#neural_networkdata).

```json
"transforms": [{"resize": [64, 64]}, {"random_horizontal_flip": 0.5}, {"normalize": {"mean": 0.5, "std": 0.5}}]
```
"""

NETWORKS_TEXT = """\
What `layers` can name, instead of listing layers: `"layers": {{"network": "resnet50"}}`.
[Networks by name](networks.md#networks-by-name) says more. All of them take these keys:

{shared}

`input` is [height, width, channels], or [depth, height, width, channels] of volumes, with `null` for any size (default:
that of the samples). `classes` is the number of outputs for each sample or pixel (default: that of the classes, or of
the columns of numbers). `activation` is the last one (default: what the loss takes). `weights` is the path of a file of
Keras whose weights are loaded by the names of the layers.
"""

DATA_TYPES_TEXT = """\
What `input_type` and `target_type`, or `type` for both, can be. The keys of a type are also keys of
[the data section](#neural_networkdata). `target_type` may also be `labels`: the targets are then the classes of the
inputs, named by their folders. [Images, arrays and slices](data.md) says how to lay out the data.
"""

SLICERS_TEXT = """\
How large arrays (types `numpy` and `hdf5`) become samples: the list `slicers` of
[the data section](#neural_networkdata). Only the slices are read. With several slicers, the network gets the samples of
all of them; targets are cut like inputs. Their samples may differ in size, but not in the number of axes: those of each
size have batches of their own, and the batches of an epoch are shuffled. Predictions of slices are named by their
bounds (`0:64,0:64,17:273`). `hdf5_outfile` reassembles them: one dataset for each slicer, (*spatial, C), with the mean
where slices overlap and NaN in gaps between slices.

```json
"slicers": [{"name": "bricks", "sizes": [64, 64, 256], "strides": [64, 64, 17], "discard_remainders": true}]
```

{text}
"""

# Where the rows are that a key of a section, or of all sections that have it, chooses from.
HEADING_OF_KEY = {
    "neural_network.layers": "Networks by name",
    "optimizer": "Optimizers",
    "lr_scheduler": "Learning rate schedulers",
    "loss": "Losses",
    "metric": "Metrics",
    "slicers": "Slicers",
    **dict.fromkeys(("type", "input_type", "target_type"), "Data types"),
    **dict.fromkeys(("transforms", "input_transforms", "target_transforms"), "Transforms"),
}


def page() -> str:
    """The whole page."""
    models = dict(sections(Config, ""))
    contents = ["The file", *(f"`{path}`" for path in models), *(heading for heading, _ in TABLES)]
    parts = [
        INTRODUCTION,
        "\n".join(f"- {link(heading, heading)}" for heading in contents) + "\n",
        section("The file", "", model_table(Config, "")),
        *(section(f"`{path}`", f"{meaning(model)}\n", model_table(model, path)) for path, model in models.items()),
        *(section(heading, *make()) for heading, make in TABLES),
    ]
    return "\n".join(parts)


def section(heading: str, text: str, table: str) -> str:
    """A section of the page."""
    return "\n".join(part for part in (f"## {heading}\n", text, f"{table}\n") if part)


def model_table(model: type[BaseModel], path: str) -> str:
    """A table with a row for each key of a section."""
    schemas = key_schemas(model)
    rows = []
    for name, field in model.model_fields.items():
        key, *others = spellings(name, field)
        values = "path" if PathString in typing.get_args(field.annotation) else allowed(schemas[key])
        shown = f"`{key}`" + "".join(f", also `{other}`" for other in others)
        rows.append((shown, values, default(field), linked(f"{path}.{key}".lstrip("."), field)))
    return table(("key", "values", "default", "meaning"), rows)


def linked(path: str, field: FieldInfo) -> str:
    """What a key means, with a link to where more is said of its value."""
    rows = HEADING_OF_KEY.get(path) or HEADING_OF_KEY.get(path.rpartition(".")[2])
    heading = f"`{path}`" if section_of(field.annotation) else rows
    text = field.description or ""
    return link(text, heading) if heading else text


def link(text: str, heading: str) -> str:
    """A link to the section with that heading."""
    return f"[{text}](#{anchor(heading)})"


def anchor(heading: str) -> str:
    """The place of a heading in a link, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def keys(row: Callable[..., Any]) -> str:
    """The keys of a row, one a line, each with its values and its default."""
    model = make_model(row)
    schemas = model.model_json_schema().get("properties", {})
    lines = []
    for key, field in model.model_fields.items():
        given = default(field)
        end = {"required": ", required", "none": ""}.get(given, f", default {given}")
        lines.append(f"`{key}`: {allowed(schemas[key])}{end}")
    return "<br>".join(lines)


def rows_table(rows: Table, first: str) -> str:
    """A table with a row for each name in `rows`."""
    return table((first, "meaning", "keys"), [(f"`{name}`", meaning(row), keys(row)) for name, row in rows.items()])


def optimizers() -> tuple[str, str]:
    """What the section `optimizer` can be."""
    return OPTIMIZERS_TEXT, rows_table(OPTIMIZERS, "`type`")


def optimizer_options() -> tuple[str, str]:
    """What the section `optimizer` can hold besides the keys of its type."""
    return OPTIONS_TEXT, model_table(OptimizerOptions, "neural_network.optimizer")


def schedulers() -> tuple[str, str]:
    """What `lr_scheduler` can be."""
    return SCHEDULERS_TEXT, rows_table(LR_SCHEDULERS, "`type`")


def losses() -> tuple[str, str]:
    """What the section `loss` can be."""
    rows = [(f"`{n}`", meaning(row), keys(row), code(filter(None, [metric_of(row)]))) for n, row in LOSSES.items()]
    return LOSSES_TEXT, table(("`function`", "meaning", "keys", "metric"), rows)


def metric_of(row: Callable[..., Any]) -> str | None:
    """The metric that is reported with a loss."""
    if any(field.is_required() for field in make_model(row).model_fields.values()):
        return None
    return row().metric


def metrics() -> tuple[str, str]:
    """What evaluation can report."""
    return METRICS_TEXT, table(("metric", "meaning"), [(f"`{name}`", meaning(row)) for name, row in METRICS.items()])


def transforms() -> tuple[str, str]:
    """What a list of transforms can hold."""
    rows = [(f"`{name}`", transform_value(row), meaning(row)) for name, row in TRANSFORMS.items()]
    return TRANSFORMS_TEXT, table(("transform", "value", "meaning"), rows)


def transform_value(row: Callable[..., Any]) -> str:
    """A bare value, or an object with its keys."""
    bare = find_bare_field(row)
    if bare is None:
        return f"object<br>{keys(row)}"
    return allowed(make_model(row).model_json_schema()["properties"][bare])


def data_types() -> tuple[str, str]:
    """What the data can be."""
    return DATA_TYPES_TEXT, rows_table(READERS, "type")


def slicers() -> tuple[str, str]:
    """The keys of a slicer."""
    _, _, text = (inspect.getdoc(slicer) or "").partition("\n\n")
    text = text.partition("\n\nRaises:")[0]
    model = make_model(slicer)
    schemas = model.model_json_schema()["properties"]
    rows = [(f"`{key}`", allowed(schemas[key]), default(field)) for key, field in model.model_fields.items()]
    return SLICERS_TEXT.replace("{text}", text), table(("key", "values", "default"), rows)


def networks() -> tuple[str, str]:
    """What `layers` can name: rows of one family together, with the keys that not all networks have."""
    families: dict[Any, list[str]] = {}
    for name, row in NETWORKS.items():
        families.setdefault(unwrap(row), []).append(name)
    common = set(make_model(Family).model_fields)
    rows = [
        (code(names), meaning(kind), "<br>".join(described for described in own_keys(NETWORKS[names[0]], common)))
        for kind, names in families.items()
    ]
    shared = "\n".join(f"- {described}" for described in own_keys(Family, set()))
    return NETWORKS_TEXT.format(shared=shared), table(("networks", "meaning", "more keys"), rows)


def own_keys(row: Callable[..., Any], common: set[str]) -> list[str]:
    """The keys of a row that are not among the common ones, with their values."""
    return [entry for entry in keys(row).split("<br>") if entry and re.split(r"\W+", entry)[1] not in common]


def layers_and_activations() -> tuple[str, str]:
    """The names of what a network can be made of."""
    text = "What each layer computes, and which files of Keras `layers` can name: [Networks and layers](networks.md).\n"
    chapters = [
        (title.split(":")[0], ", ".join(names for names, _ in rows)) for title, rows in layers.describe_chapters()
    ]
    rows = [(title, code(names.split(", "))) for title, names in chapters]
    return text, table(("", "names"), [*rows, ("`activation` of a layer", code(FUNCTIONS))])


def code(names: Iterable[str]) -> str:
    """Names that code hosts leave as they are."""
    return ", ".join(f"`{name}`" for name in names)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    lines = [head, tuple("---" for _ in head), *(tuple(map(escaped, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(cell: str) -> str:
    """A cell's text in which a pipe ends no cell, and nothing but `<br>` is a tag."""
    cell = cell.replace("|", r"\|")
    return re.sub(r"(`[^`]*`|<br>)|<(?=\w)", lambda found: found[1] or r"\<", cell)


TABLES: tuple[tuple[str, Callable[[], tuple[str, str]]], ...] = (
    ("Optimizers", optimizers),
    ("Keys of all optimizers", optimizer_options),
    ("Learning rate schedulers", schedulers),
    ("Losses", losses),
    ("Metrics", metrics),
    ("Data types", data_types),
    ("Slicers", slicers),
    ("Transforms", transforms),
    ("Networks by name", networks),
    ("Layers and activations", layers_and_activations),
)
