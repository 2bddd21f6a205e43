"""What the build adds to pyproject.toml: the README as PyPI shows it, where relative links lead nowhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)")  # [text](here
_PICTURE = re.compile(r'(?<=src=")(?![a-z]+:)')


class ReadmeHook(MetadataHookInterface):
    """Sets the field `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README with links into the repository that the project's URLs name."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        source = metadata["urls"]["Source"]
        text = _LINK.sub(f"{source}/blob/main/", text)
        text = _PICTURE.sub(f"{source}/raw/main/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
