"""Search spaces: where they are found, what is wrong with them, and what is drawn from them."""

import random

import pytest

from rayrml.config import reading, search_spaces

RAW = {
    "neural_network": {
        "layers": [{"class_name": "Dense", "config": {"units": {"randint": [2, 5]}}}],
        "optimizer": {"type": {"choice": ["Adam", "SGD"]}, "learning_rate": {"loguniform": [1e-4, 1e-1]}},
        "loss": {"choice": [{"function": "NLL"}, {"function": "CrossEntropy"}]},
    },
    "ray": {"resources_per_worker": {"choice": 1}},
}


def test_spaces_are_found_anywhere_in_the_network_and_nowhere_else():
    found, problems = search_spaces.find_spaces(RAW)
    assert not problems
    assert [space.name for space in found] == [
        "layers.0.config.units",
        "optimizer.type",
        "optimizer.learning_rate",
        "loss",
    ]


def test_values_take_the_places_of_their_spaces():
    found, _ = search_spaces.find_spaces(RAW)
    for values in search_spaces.draw(found, 5, seed=0):
        whole = search_spaces.fill(RAW, values)
        assert search_spaces.find_spaces(whole) == ([], [])
        nn = whole["neural_network"]
        assert nn["layers"][0]["config"]["units"] == values["layers.0.config.units"]
        assert nn["optimizer"]["type"] == values["optimizer.type"]
        assert nn["loss"] == values["loss"]
    assert "choice" in RAW["neural_network"]["loss"]


@pytest.mark.parametrize(
    ("space", "inside"),
    [
        ({"uniform": [-1, 2]}, lambda x: -1 <= x <= 2),
        ({"loguniform": [1e-6, 1.0]}, lambda x: 1e-6 <= x <= 1),
        ({"randint": [1, 3]}, lambda x: x in (1, 2, 3)),
        ({"choice": ["a", None, [1]]}, lambda x: x in ("a", None, [1])),
    ],
)
def test_draws_lie_within_and_come_from_all_over(space, inside):
    ((found,), _) = search_spaces.find_spaces({"neural_network": {"key": space}})
    source = random.Random(0)
    draws = [found.draw(source) for _ in range(300)]
    assert all(map(inside, draws))
    if "loguniform" in space:
        assert 0.4 < sum(x < 1e-3 for x in draws) / 300 < 0.6
    elif "uniform" in space:
        assert 0.4 < sum(x < 0.5 for x in draws) / 300 < 0.6
    else:
        assert all(
            80 < sum(x == kind for x in draws) < 120 for kind in ((1, 2, 3) if "randint" in space else draws[:3])
        )


def test_no_two_sets_of_values_are_alike_and_more_of_them_begin_with_the_same():
    found, _ = search_spaces.find_spaces({"neural_network": {"a": {"choice": [1, 2]}, "b": {"randint": [1, 3]}}})
    every = search_spaces.draw(found, 100, seed=3)
    assert len(every) == 6
    assert len({tuple(values.values()) for values in every}) == 6
    assert search_spaces.draw(found, 4, seed=3) == every[:4]
    assert search_spaces.draw(found, 6, seed=4) != every


def test_every_choice_and_both_ends_are_examples():
    found, _ = search_spaces.find_spaces({"neural_network": {"a": {"choice": [1, 2, 3]}, "b": {"uniform": [0, 1]}}})
    assert list(search_spaces.list_examples(found)) == [
        {"a": 1, "b": 0},
        {"a": 2, "b": 0},
        {"a": 3, "b": 0},
        {"a": 1, "b": 1},
    ]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"choice": []}, "expected a list of values"),
        ({"choice": "adam"}, "expected a list of values"),
        ({"choice": [1, 2, 1]}, "listed twice"),
        (
            {"choice": [{"learning_rate": {"uniform": [0, 1]}}]},
            "contains a search space",
        ),
        ({"uniform": [1]}, "two numbers"),
        ({"uniform": [1, True]}, "two numbers"),
        ({"uniform": ["a", "b"]}, "two numbers"),
        ({"uniform": [2, 1]}, "with lowest < highest"),
        ({"loguniform": [0, 1]}, "above 0"),
        ({"randint": [1, 2.5]}, "two integers"),
    ],
)
def test_what_is_no_space_is_told_with_its_place(space, message):
    found, (problem,) = search_spaces.find_spaces({"neural_network": {"optimizer": {"learning_rate": space}}})
    assert not found
    assert problem.where == "neural_network.optimizer.learning_rate"
    assert message in problem.message


def test_a_run_refuses_them():
    parsed, problems = reading.parse(RAW)
    assert parsed is None
    assert len(problems) == 4
    assert all("`rayrml tune`" in problem.message for problem in problems)
