"""What workers agree on with each step: they all do the same after it, whichever of them wishes it."""

from __future__ import annotations

from typing import NamedTuple


class Wishes(NamedTuple):
    """What is to be done after a step.

    Attributes:
        stop: end the training.
        save: write its state.
        leave: write its state and end all workers, which Ray then starts again: one of them is about to be lost.
    """

    stop: bool = False
    save: bool = False
    leave: bool = False

    @property
    def ends(self) -> bool:
        """Whether the workers end."""
        return self.stop or self.leave


NUM_WISHES = len(Wishes._fields)
