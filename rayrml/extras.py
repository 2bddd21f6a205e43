"""Optional packages: the extras of `pip install 'rayrml[...]'`."""

from __future__ import annotations

import importlib.util

OF_ENDINGS = {".heic": ("pillow_heif", "heic"), ".heif": ("pillow_heif", "heic")}  # package and extra that read them


def missing(package: str, extra: str | None = None) -> str | None:
    """What to say if a package is not installed, None if it is; `extra` installs it, if not the extra of its name."""
    if importlib.util.find_spec(package) is not None:
        return None
    return f"the package {package} is not installed. Install it with `pip install 'rayrml[{extra or package}]'`"
