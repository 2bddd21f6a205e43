"""Completion in shells."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Completes the last of the words, as bash does when the user presses Tab.
TAB = """
source <({program} completion bash)
COMP_WORDS=(rayrml {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
$(complete -p rayrml | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(words, folder):
    """What bash offers for the last of these words."""
    script = TAB.format(program=f"'{sys.executable}' -m rayrml", words=words)
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pre", ["predict"]),
        ("check-", ["check-install"]),
        ("run --ep", ["--epochs"]),
        ("predict --che", ["--checkpoint"]),
        ("tune --algorithm op", ["optuna"]),
        ("plot my_r", ["my_run"]),
        ("check conf", ["config.json"]),
    ],
)
def test_bash_completes_commands_options_and_files(words, offered, tmp_path):
    (tmp_path / "my_run").mkdir()
    (tmp_path / "config.json").touch()
    assert complete(words, tmp_path) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_every_shell_has_a_script(shell):
    command = [sys.executable, "-m", "rayrml", "completion", shell]
    script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "rayrml" in script and "predict" in script
