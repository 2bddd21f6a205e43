"""Mistakes of all parts of a configuration, gathered so that they can be shown at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from rayrml.errors import ConfigError, DataError, Problem


class Findings:
    """What was found wrong so far: mistakes in the configuration, and files that are not as they should be."""

    def __init__(self, mistakes: Iterable[Problem] = ()):
        self.mistakes = list(mistakes)
        self.files: list[Problem] = []

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Keep the errors that the block raises; what depends on its result finds None."""
        try:
            yield
        except ConfigError as error:
            self.mistakes += error.problems
        except DataError as error:
            self.files += error.problems

    def add(self, where: str, message: str) -> None:
        """Note a mistake in the configuration."""
        self.mistakes.append(Problem(where, message))

    def __bool__(self) -> bool:
        return bool(self.mistakes or self.files)

    def error(self) -> ConfigError | DataError:
        """Everything that was found, as one error."""
        # The same mistake may show in inputs and in targets.
        problems = dict.fromkeys([*self.mistakes, *self.files])
        return DataError(*problems) if self.files and not self.mistakes else ConfigError(*problems)
