"""Which checkpoints a run keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rayrml.config.keeping import Checkpoints
from rayrml.reporting.history import find_best


@dataclasses.dataclass(frozen=True)
class Retention:
    """Which epochs' checkpoints stay in a run's folder.

    Attributes:
        interval: epochs between checkpoints that stay, None for none of them.
        newest: how many of the newest epochs' checkpoints stay, at least until the next one is there.
        last: whether the last epoch's checkpoint stays.
        best: whether the best epoch's checkpoint stays, under its own name.
    """

    interval: int | None
    newest: int
    last: bool
    best: bool

    def includes(self, epoch: int, *, last: bool) -> bool:
        """Whether an epoch's checkpoint is written under its own name."""
        return self.newest > 0 or self._at_interval(epoch) or (last and self.last)

    def outdated(self, epoch: int) -> int | None:
        """The epoch whose checkpoint goes once that of `epoch` is there, None for none."""
        old = epoch - self.newest
        return old if self.newest > 0 and old > 0 and not self._at_interval(old) else None

    def includes_best(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Whether the last epoch of the history is the best so far, and stays for that."""
        return self.best and find_best(history) == history[-1]

    def _at_interval(self, epoch: int) -> bool:
        return self.interval is not None and epoch % self.interval == 0


def find_retention(section: Checkpoints, *, tested: bool, continues_best: bool = False) -> Retention:
    """What a run keeps according to its configuration.

    An `interval` keeps epochs as the predecessor does, and what `keep` says stays in addition.

    Args:
        section: the section `checkpoints`.
        tested: whether epochs are evaluated.
        continues_best: whether the run resumes one that left its best epoch's checkpoint: that is what is used to
            predict with the folder, so it must not fall behind.
    """
    keep = section.keep
    if keep is None:
        best, last = tested, True
    else:
        best, last = tested or keep in ("best", "best+last"), keep != "best" or section.interval is not None
    best = best or continues_best
    return Retention(
        interval=1 if keep == "all" else section.interval,
        newest=keep if isinstance(keep, int) else 0,
        last=last,
        best=best,
    )
