"""The lines of a run's progress where programs read them, and where people do."""

import io
import re

import pytest
from rich.console import Console as Terminal

from rayrml.reporting.console import Console
from rayrml.reporting.messages import BatchesTrained, BatchRow, Broadcast, Evaluated, Started
from rayrml.reporting.progress_lines import ProgressLines
from rayrml.reporting.run_state import RunState


def shown(console, num_batches, *, num_epochs=10, metric=None):
    """What is printed of one epoch and its evaluation, without the time."""
    text = io.StringIO()
    console.terminal = Terminal(file=text, width=200, force_terminal=console.is_live, color_system=None)
    state = RunState(num_batches)
    lines = ProgressLines(console, state, num_epochs, metric)
    receive = Broadcast(lines.receive, state.receive)
    receive(Started(1, num_workers=1))
    for batch in range(1, num_batches + 1):
        receive(BatchesTrained([BatchRow(1, batch, 0.0, 0.7028, 0.5123, 0.027, 0.072, 0.001, 4)]))
    receive(Evaluated(1, 2, 0.6603, metric or "dice", 0.5, 1.0, None))
    lines.close()
    return re.findall(r"(?:Train|Eval) .*", text.getvalue())


def test_programs_get_the_predecessor_s_lines_one_for_each_batch():
    lines = shown(Console(), 13)
    assert lines[0] == (
        "Train Epoch [  1/ 10] : Batch [    1/   13] (Loss = 0.7028; |g| = 0.5123) "
        "[Data: 27%; Compute: 72%; Grad/Comm: 1%]"
    )
    assert len(lines) == 14
    assert lines[-1] == "Eval  Epoch [  1/ 10] : Batch [    2/    2] (Loss: 0.6603) | Accuracy: 0.500"


def test_a_metric_that_was_asked_for_has_its_name():
    assert shown(Console(), 1, metric="jaccard")[-1].endswith("| Jaccard: 0.500")


@pytest.mark.parametrize(("every_batch", "most"), [(False, 100), (True, 3001)])
def test_many_batches_have_a_line_each_only_if_that_is_asked_for(every_batch, most):
    lines = shown(Console(every_batch=every_batch), 3000)
    assert 2 < len(lines) <= most
    assert (len(lines) == 3001) is every_batch


def test_people_get_short_lines_with_the_metric_s_name():
    console = Console()
    console.is_live = True
    lines = shown(console, 2)
    assert any(line.startswith("Train Epoch [ 1/10] : Batch [2/2]") for line in lines)
    assert any(line.startswith("Eval  Epoch [ 1/10] : Batch [2/2] (Loss: 0.6603) | Dice: 0.500") for line in lines)
