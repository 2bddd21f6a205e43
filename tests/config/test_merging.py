import pytest

from rayrml.config.merging import merge

BASE = {
    "neural_network": {
        "layers": {"class_name": "Functional", "config": {"layers": []}},
        "data": {"batch_size": 2, "transforms": [{"resize": [2, 2]}, {"rotate": 3}], "type": "images"},
        "optimizer": {
            "type": "Adam",
            "learning_rate": {"uniform": [0, 1]},
            "lr_scheduler": {"type": "Step", "gamma": 1},
        },
        "loss": {"function": "NLL", "weight": [1]},
    },
    "ray": {"num_workers": 2, "resources_per_worker": {"CPU": 1}},
}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "data",
            {"batch_size": 3, "test_share": 0.5},
            BASE["neural_network"]["data"] | {"batch_size": 3, "test_share": 0.5},
        ),
        ("data", {"transforms": []}, BASE["neural_network"]["data"] | {"transforms": []}),
        ("data", {"type": "numpy"}, BASE["neural_network"]["data"] | {"type": "numpy"}),
        ("data", None, None),
        ("layers", {"class_name": "Sequential"}, {"class_name": "Sequential"}),
        ("optimizer", {"type": "SGD"}, {"type": "SGD"}),
        ("optimizer", {"type": "adam", "beta1": 1}, BASE["neural_network"]["optimizer"] | {"type": "adam", "beta1": 1}),
        (
            "optimizer",
            {"learning_rate": {"choice": [1]}},
            BASE["neural_network"]["optimizer"] | {"learning_rate": {"choice": [1]}},
        ),
        ("loss", {"weight": [2]}, {"function": "NLL", "weight": [2]}),
        ("loss", {"choice": [{"function": "Dice"}]}, {"choice": [{"function": "Dice"}]}),
        ("loss", {"function": "Dice"}, {"function": "Dice"}),
        ("early_stopping", {"patience": 1}, {"patience": 1}),
    ],
)
def test_sections_are_merged_and_values_replaced(place, value, expected):
    assert merge(BASE, {"neural_network": {place: value}}) == {
        **BASE,
        "neural_network": {**BASE["neural_network"], place: expected},
    }


def test_a_scheduler_that_is_another_replaces_the_first():
    optimizer = {"lr_scheduler": {"type": "Cosine"}}
    merged = merge(BASE, {"neural_network": {"optimizer": optimizer}})["neural_network"]["optimizer"]
    assert merged == BASE["neural_network"]["optimizer"] | optimizer


def test_neither_side_is_changed():
    base = {"a": {"b": {"c": 1}}}
    values = {"a": {"b": {"d": 2}}}
    assert merge(base, values) == {"a": {"b": {"c": 1, "d": 2}}}
    assert (base, values) == ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}})
