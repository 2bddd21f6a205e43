"""Keys that need or exclude one another, for editors: the rules of `planning.consistency` that follow from values."""

from __future__ import annotations

from collections.abc import Callable

from rayrml.config.detection import Detection
from rayrml.config.sections import Data
from rayrml.config.tables import make_model
from rayrml.data.reader_keys import (
    BOX_KEYS,
    BOXES,
    LABELS,
    NO_FILES,
    SAMPLES,
    TABLE,
    TABLE_KEYS,
    TARGET_PATHS,
    list_reader_options,
)
from rayrml.data.readers import READERS, Reader
from rayrml.losses import adversarial, detection
from rayrml.metrics import METRICS
from rayrml.optimizers import OPTIMIZERS, needs_closure
from rayrml.schema.conditions import NULL, Schema, any_case, differs, filled, given, has, rule

# Keys of the data section that belong to some data types only.
KEYS_OF_TYPES = [key for key in list_reader_options() if key not in ("grayscale", SAMPLES)]


def _of_type(side: str, name: str) -> Schema:
    """A data section whose inputs or targets have the type."""
    own = f"{side}_type"
    by_both = {"allOf": [has("type", any_case([name])), {"not": given(own)}]}
    return {"anyOf": [has(own, any_case([name])), by_both]}


def _in_color(side: str) -> Schema:
    """A data section that does not request one channel."""
    own = f"{side}_grayscale"
    by_both = {"properties": {"grayscale": {"const": False}, own: {"enum": [False, None]}}}
    return {"anyOf": [has(own, {"const": False}), by_both]}


def _keys_by_type(side: str, name: str) -> Schema:
    """The rules of a data type for the keys that only some data types have."""
    found = make_model(READERS[name]).model_fields
    required = [key for key, field in found.items() if field.is_required()]
    keys = {key: NULL for key in KEYS_OF_TYPES if key not in found} | {key: {"not": NULL} for key in required}
    color = {} if "grayscale" in found else _in_color(side)
    return rule(_of_type(side, name), {"required": required, "properties": keys, **color})


def _whole_files(row: Callable[..., Reader]) -> bool:
    """Whether each file of a data type is one sample."""
    return not any(field.is_required() for field in make_model(row).model_fields.values()) and bool(row().read)


def _draws(row: Callable[..., Reader]) -> bool:
    """Whether samples of a data type are image files."""
    return _whole_files(row) and row().pixels


_BY_CLOSURE = [name for name, row in OPTIMIZERS.items() if needs_closure(row)]
_FINDS = has("loss", has("function", any_case(detection.LOSSES)))
_MAY_FIND = {"anyOf": [_FINDS, {"not": given("loss")}]}
_GENERATES = has("loss", has("function", any_case(adversarial.LOSSES)))
_MAY_GENERATE = {"anyOf": [_GENERATES, {"not": given("loss")}]}
_OF_GENERATED = [name for name, row in METRICS.items() if row().compares == "generated"]
_OF_BOXES = [name for name, row in METRICS.items() if row().compares == "boxes"]
_OPTIONS_OF_TARGETS = [key for option in list_reader_options() if (key := f"target_{option}") in Data.model_fields]
_TRAINS = ("input_path", "num_examples")
_TESTS = ("test_input_path", "num_test_examples", "test_share", "split_column", "test_target_path")


def _with_loss(*keys: str) -> Schema:
    """A network whose loss has at least one of the keys, with a value other than null."""
    return has("loss", given(*keys))


def _without_data(condition: Schema) -> Schema:
    """A network whose section `data` does not meet the condition."""
    return {"not": has("data", condition)}


_PENALTY = {"not": has("loss", has("gradient_penalty", {"const": 0}))}
_CLOSURE_TYPE = has("type", any_case(_BY_CLOSURE))
_TRAINS_GAN = {"allOf": [_GENERATES, has("data", given(*_TRAINS))]}
# Rules of generative adversarial networks.
_OF_GANS: list[Schema] = [
    rule(has("app", any_case(["gan"])), _MAY_GENERATE),
    rule(_GENERATES, {"not": has("app", any_case(["dnn", "pde", "obj"]))}),
    rule(_TRAINS_GAN, given("critic")),
    rule(given("critic", "metric_network"), _MAY_GENERATE),
    rule(has("metric", any_case(_OF_GENERATED)), _MAY_GENERATE),
    rule({"allOf": [_GENERATES, given("metric")]}, has("metric", any_case(_OF_GENERATED))),
    rule(has("metric", any_case(["frechet"])), given("metric_network")),
    rule({"allOf": [_GENERATES, _with_loss("clip")]}, {"not": _PENALTY}),
    rule({"allOf": [_GENERATES, {"not": _PENALTY}]}, _with_loss("clip")),
    rule({"allOf": [_GENERATES, _PENALTY]}, {"not": has("precision", any_case(["bf16", "fp16"]))}),
    rule(_TRAINS_GAN, {"not": has("compile", {"const": True})}),
    rule(_TRAINS_GAN, {"not": has("optimizer", _CLOSURE_TYPE)}),
    rule(_TRAINS_GAN, {"not": has("critic", has("optimizer", {"type": "object", **_CLOSURE_TYPE}))}),
    rule(_GENERATES, _without_data(given("type", "target_type", *TARGET_PATHS, "class_names", "threshold"))),
    rule(_GENERATES, _without_data(given("training_tag", "test_tag", "testing_tag", "hdf5_outfile"))),
    rule(_GENERATES, _without_data(has("input_type", any_case(["pde"])))),
    # Whatever else is trained has targets, and reads samples.
    rule({"allOf": [has("data", given(*_TRAINS)), {"not": _GENERATES}]}, has("data", given("type", "target_type"))),
    rule({"allOf": [given("loss"), {"not": _GENERATES}]}, has("data", given("type", "input_type"))),
    rule(
        has("data", {"allOf": [given(SAMPLES), {"not": _of_type("input", "pde")}]}),
        _MAY_GENERATE,
    ),
]

# Keys that need or exclude one another.
RULES: dict[str, list[Schema]] = {
    "NeuralNetwork": [
        rule(has("data", given(*_TRAINS)), {"allOf": [given("optimizer"), given("loss")]}),
        rule(given("debug_interval"), has("debug", {"const": True})),
        rule(has("compile", {"const": True}), has("activation_checkpointing", {"const": False})),
        rule(given("gradient_clip"), {"not": has("optimizer", has("type", any_case(_BY_CLOSURE)))}),
        rule(has("app", any_case(["obj"])), _MAY_FIND),
        rule(_FINDS, {"not": has("app", any_case(["dnn", "pde"]))}),
        rule(has("data", _of_type("target", BOXES)), _MAY_FIND),
        rule({"allOf": [_FINDS, has("data", given("type", "target_type"))]}, has("data", _of_type("target", BOXES))),
        rule({"allOf": [_FINDS, has("data", given("type", "input_type"))]}, has("data", _of_type("input", "images"))),
        rule(has("data", differs(Data, "classes")), _FINDS),
        rule(has("detection", differs(Detection, *Detection.model_fields)), _FINDS),
        rule(has("metric", any_case(_OF_BOXES)), _MAY_FIND),
        rule({"allOf": [_FINDS, given("metric")]}, has("metric", any_case(_OF_BOXES))),
        *_OF_GANS,
        rule(has("precision", any_case(["fp16"])), {"not": has("optimizer", has("type", any_case(_BY_CLOSURE)))}),
    ],
    "Checkpoints": [rule(given("interval", "keep", "every_minutes"), given("save"))],
    "Data": [
        given(*_TRAINS, *_TESTS),
        given("type", "input_type", SAMPLES),
        rule(given("test_output_path", "hdf5_outfile"), given(*_TESTS)),
        rule(has("hdf5_precision", any_case(["half"])), given("test_output_path", "hdf5_outfile")),
        rule(
            has("hdf5_shards", any_case(["merge", "keep"])),
            {"allOf": [given("test_output_path"), {"not": given(*_TRAINS, "type", "target_type")}]},
        ),
        rule(
            has("test_output_images", any_case(["always", "masks", "pixels", "boxes", "none"])),
            given("test_output_path"),
        ),
        rule(
            has("test_output_images", any_case(["masks", "pixels"])),
            {
                "allOf": [*({"not": _of_type("target", name)} for name in NO_FILES)],
                "anyOf": [_of_type("input", name) for name, row in READERS.items() if _draws(row)],
            },
        ),
        rule(given("hdf5_outfile"), filled("slicers")),
        *(
            rule(
                _of_type("target", name),
                {"properties": {"target_is_mask": {"const": False}, **dict.fromkeys(_OPTIONS_OF_TARGETS, NULL)}},
            )
            for name in NO_FILES
        ),
        rule(differs(Data, *(key for key in BOX_KEYS if key != "classes")), _of_type("target", BOXES)),
        rule(given("test_samples"), given("test_input_path")),
        rule(given("final_test_samples"), given("final_test_input_path")),
        rule(
            _of_type("target", BOXES),
            {
                "not": {
                    "anyOf": [
                        given("target_suffix", "hdf5_outfile", "class_names", *TABLE_KEYS),
                        filled("slicers", "input_transforms", "target_transforms"),
                        differs(Data, "hdf5_precision", "test_transforms"),
                    ]
                }
            },
        ),
        rule(_of_type("target", TABLE), given(*TARGET_PATHS)),
        rule(given(*TABLE_KEYS), {"anyOf": [_of_type("target", name) for name in NO_FILES]}),
        rule(given("class_names"), {"anyOf": [_of_type("target", name) for name in NO_FILES]}),
        rule(given("split_column"), {"not": given("test_input_path", "test_share", "test_target_path")}),
        rule(
            given("training_tag", "test_tag", "testing_tag"),
            {"anyOf": [_of_type("target", LABELS), {"not": given("type", "target_type")}]},
        ),
        rule(
            given("test_share"),
            {
                "allOf": [given("input_path"), {"not": given("test_input_path", "test_target_path")}],
                "anyOf": [_of_type("input", name) for name, row in READERS.items() if _whole_files(row)],
            },
        ),
        rule(has("sampling", any_case(["balanced"])), given(*_TRAINS)),
        rule(given("final_test_input_path"), given(*_TRAINS)),
        rule(
            given("final_test_target_path"),
            {"anyOf": [given("final_test_input_path"), *(_of_type("target", name) for name in NO_FILES)]},
        ),
        rule(given("target_suffix"), given("target_path", "test_target_path")),
        rule(filled("transforms"), {"not": filled("input_transforms", "target_transforms")}),
        rule(has("type", any_case(NO_FILES)), given("input_type")),
        {"not": {"required": ["test_tag", "testing_tag"]}},
        *(_keys_by_type(side, name) for side in ("input", "target") for name in READERS),
    ],
}
