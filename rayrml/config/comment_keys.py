"""Keys such as `_comment`, by which JSON is commented where it has no comments: refused with the cure."""

from __future__ import annotations

import re
from typing import Any

from rayrml.errors import Problem

_COMMENT = re.compile(r"//|#|[_$]*(comment|note|remark)s?[\d_]*$", re.IGNORECASE)
_MESSAGE = "not a key. Write a comment as `// ...`, or in YAML and TOML as `# ...`"
# Their names are not rayrml's.
_FREE = ("neural_network.layers", "neural_network.critic.layers", "ray.resources_per_worker")


def take_out_comments(value: Any, where: str = "") -> tuple[Any, list[Problem]]:
    """The value without the keys that are meant as comments, and a problem for each of them."""
    problems: list[Problem] = []
    return _without(value, where, problems), problems


def _without(value: Any, where: str, problems: list[Problem]) -> Any:
    if where in _FREE:
        return value
    if isinstance(value, list):
        return [_without(inner, f"{where}.{number}", problems) for number, inner in enumerate(value)]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        place = f"{where}.{key}" if where else key
        if _COMMENT.match(key):
            problems.append(Problem(place, _MESSAGE))
        else:
            found[key] = _without(inner, place, problems)
    return found
