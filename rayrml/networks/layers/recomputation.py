"""Whether a layer computes its output once more, for its gradient: what a batch leaves behind must not count twice."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_here = threading.local()


def is_recomputing() -> bool:
    """Whether this thread computes outputs that a forward pass has computed before."""
    return getattr(_here, "recomputing", False)


@contextlib.contextmanager
def recomputing() -> Iterator[None]:
    """Compute outputs once more in the block."""
    _here.recomputing = True
    try:
        yield
    finally:
        _here.recomputing = False
