"""`rayrml completion`: print what a shell needs to complete commands, options and file names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

HELP = "print a script that completes rayrml's commands and options in a shell"
EXAMPLES = (
    "rayrml completion bash > ~/.local/share/bash-completion/completions/rayrml",
    "rayrml completion zsh > _rayrml",
    "rayrml completion tcsh > rayrml.csh",
)
_SHELLS = ("bash", "zsh", "tcsh")
_FILES = ("file", "config", "inputs", "checkpoint", "output", "runs", "run", "folder")  # arguments that are paths


def add(verb: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    verb.add_argument("shell", choices=_SHELLS, help="the shell that reads the script")


def do(options: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    for action in _actions(options.parser):
        if action.dest in _FILES:
            vars(action)["complete"] = shtab.FILE
    sys.stdout.write(shtab.complete(options.parser, options.shell) + "\n")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
