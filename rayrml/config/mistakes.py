"""Mistakes in all parts of a configuration, gathered so that they can be shown together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from rayrml.errors import ConfigError, DataError, Problem


@contextlib.contextmanager
def no_problems(told: bool) -> Iterator[None]:
    """A block whose errors may follow from mistakes that are `told` already: then they have no problem of their own."""
    try:
        yield
    except (ConfigError, DataError):
        if told:
            raise ConfigError from None
        raise


class Findings:
    """What has been found wrong so far: mistakes in the configuration, and problems with files."""

    def __init__(self, mistakes: Iterable[Problem] = ()):
        self.mistakes = list(mistakes)
        self.files: list[Problem] = []

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Collect the errors that the block raises; whatever depends on its result gets None."""
        try:
            yield
        except ConfigError as error:
            self.mistakes += error.problems
        except DataError as error:
            self.files += error.problems

    def add(self, where: str, message: str) -> None:
        """Add a mistake in the configuration."""
        self.mistakes.append(Problem(where, message))

    def concern(self, section: str) -> bool:
        """Whether there is a mistake in a section or one of its keys, by their dotted path."""
        return any(each.where == section or each.where.startswith(f"{section}.") for each in self.mistakes)

    def __bool__(self) -> bool:
        return bool(self.mistakes or self.files)

    def error(self) -> ConfigError | DataError:
        """Everything that was found, as one error."""
        # Inputs and targets may report the same mistake.
        problems = dict.fromkeys([*self.mistakes, *self.files])
        return DataError(*problems) if self.files and not self.mistakes else ConfigError(*problems)
