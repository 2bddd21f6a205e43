import pytest

from rayrml.config.comment_keys import take_out_comments
from rayrml.config.reading import parse


@pytest.mark.parametrize(
    "key", ["_comment", "comment", "Comments", "//", "// why", "#", "_comment_2", "$comment", "__note__"]
)
def test_keys_that_are_meant_as_comments_are_refused_with_the_cure(key):
    data = {"input_type": "images", "transforms": [{"resize": [2, 2]}, {key: 1}], key: 2}
    _, problems = parse({"neural_network": {"layers": "n.json", "data": data}, key: ["x"]})
    assert {problem.where for problem in problems} == {
        key,
        f"neural_network.data.{key}",
        f"neural_network.data.transforms.1.{key}",
    }
    assert {problem.message for problem in problems} == {
        "not a key. Write a comment as `// ...`, or in YAML and TOML as `# ...`"
    }


def test_names_that_are_not_rayrmls_are_free():
    values = {"neural_network": {"layers": [{"comment": 1}]}, "ray": {"resources_per_worker": {"note": 1}}}
    assert take_out_comments(values) == (values, [])


@pytest.mark.parametrize("key", ["commented", "noted", "annotation", "_seed"])
def test_other_keys_are_left_to_the_sections(key):
    assert take_out_comments({key: 1}) == ({key: 1}, [])
