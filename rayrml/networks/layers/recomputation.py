"""Whether a layer computes its output once more, for its gradient: what a batch leaves behind must not count twice."""

from __future__ import annotations

import contextlib
import threading

_here = threading.local()


def is_recomputing() -> bool:
    """Whether this thread computes outputs that a forward pass has computed before."""
    return getattr(_here, "depth", 0) > 0


class Recomputing(contextlib.AbstractContextManager[None]):
    """A block that computes outputs once more; entered several times if the gradient is differentiated itself."""

    def __enter__(self) -> None:
        _here.depth = getattr(_here, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        _here.depth -= 1
