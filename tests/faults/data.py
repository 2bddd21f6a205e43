"""Data of every kind, in an environment of every kind: a run ends, on the targets that are right, or is refused."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rayrml.planning.plan import Plan, TrainingPlan
from rayrml.planning.preparation import prepare
from tests.conftest import ROOT
from tests.faults import driver
from tests.faults.fuzzing import Case
from tests.faults.masks import make_masks
from tests.faults.samples import Made, make_arrays, make_labels

_MAKERS = [make_masks, make_masks, make_labels, make_labels, make_arrays]
_STRANGE: list[dict[str, str]] = [
    {"TMPDIR": "/nowhere"}, {"TMPDIR": "a b é"}, {"HOME": "/nowhere"}, {"HOME": "/proc"}, {"LANG": "C", "LC_ALL": "C"},
    {"COLUMNS": "1"}, {"COLUMNS": "x"}, {"LINES": "0"}, {"NO_COLOR": "1"}, {"CUDA_VISIBLE_DEVICES": ""},
    {"CUDA_VISIBLE_DEVICES": "x"}, {"RAY_TMPDIR": "/nowhere"}, {"TZ": "nowhere"}, {"MPLCONFIGDIR": "/nowhere"},
]  # fmt: skip
_ONLY_AT_THE_START: list[dict[str, str]] = [
    {"OMP_NUM_THREADS": "abc"}, {"OMP_NUM_THREADS": "0"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0"},
    {"TERM": "nowhere"}, {"LANG": "xx_YY.nothing"},
]  # fmt: skip


def cases(folder: Path) -> Case:
    """A run on changed data, perhaps in a strange environment, ends or is refused."""
    driver.start()

    def case(r: random.Random) -> None:
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        os.chdir(place)
        made = r.choice(_MAKERS)(r)
        try:
            if r.random() < 0.02:
                _check_start(made, r.choice(_STRANGE + _ONLY_AT_THE_START))
            else:
                with _environment(r.choice(_STRANGE) if r.random() < 0.15 else {}):
                    _check(made)
        except Exception as error:
            error.add_note(", ".join(made.changes))
            raise

    return case


def _check(made: Made) -> None:
    """Plan and execute a run; what it trains with must be right."""
    plans: list[Plan] = []
    refusal = driver.refusal(lambda: plans.append(prepare(made.configuration)), placed=False)
    if refusal is None:
        refusal = driver.refusal(lambda: driver.run(plans[0]), placed=False)
    if refusal is not None:
        if not made.changes:
            raise RuntimeError(f"unchanged data are refused: {refusal}")
        return
    if made.must_be_refused:
        raise RuntimeError("accepted, but a sample is not usable")
    if isinstance(plans[0], TrainingPlan) and made.rights is not None:
        _compare(made, driver.list_trained_pairs(plans[0]))


def _compare(made: Made, pairs: list[driver.Pair]) -> None:
    """Each trained sample, which its first number tells, has the target that is right for it."""
    rights = made.rights or {}
    if not pairs:
        raise RuntimeError("nothing was trained")
    for pair in pairs:
        number = round(float(pair.input.flat[0]) * made.scale)
        right = rights.get(number)
        if right is None:
            raise RuntimeError(f"trained on sample {number}, which is not usable: {pair.target}")
        if not np.allclose(np.squeeze(pair.target), np.squeeze(right), rtol=1e-5, atol=1e-6):
            raise RuntimeError(f"the target of {number} is {pair.target.tolist()}, not {np.asarray(right).tolist()}")


@contextlib.contextmanager
def _environment(changed: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changed)
    tempfile.tempdir = None
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = None


def _check_start(made: Made, changed: dict[str, str]) -> None:
    """The command ends like the plan, whatever is in the environment in which it starts."""
    refusal = driver.refusal(lambda: prepare(made.configuration), placed=False)
    Path("c.json").write_text(json.dumps(made.configuration))
    environment = {**os.environ, **changed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rayrml", "check", "c.json"]
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=45)
    except subprocess.TimeoutExpired:
        return  # the machine is busy with other things
    expected = 0 if refusal is None else refusal.exit_code
    if ended.returncode != expected or "Traceback" in ended.stderr + ended.stdout:
        raise RuntimeError(f"{changed}: ended with {ended.returncode}, not {expected}. {ended.stderr[-200:]}")
