"""The lines of a run's progress where programs read them, and where people do."""

import io
import re

import pytest
from rich.console import Console as Terminal

from rayrml.metrics import Evaluation
from rayrml.reporting.console import Console
from rayrml.reporting.messages import BatchesTrained, BatchRow, Broadcast, EpochDone, Evaluated, Saved, Started
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
    receive(Evaluated(1, 2, 1.0, Evaluation(0.6603, metric or "dice", 0.5)))
    lines.close()
    return re.findall(r"(?:Train|Eval) .*", text.getvalue())


def test_all_figures_of_an_evaluation_are_in_its_line():
    text = io.StringIO()
    console = Console()
    console.terminal = Terminal(file=text, width=200)
    found = Evaluation(17.855, "map", 0.0994, others={"map50": 0.3483})
    ProgressLines(console, RunState(2), 10).receive(Evaluated(1, 2, 1.0, found))
    assert text.getvalue().endswith("(Loss: 17.8550) | mAP: 0.099 | mAP50: 0.348\n")


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


def test_people_get_a_line_for_each_epoch_and_the_best_so_far_is_marked():
    console, text = Console(), io.StringIO()
    console.is_live = True
    console.terminal = Terminal(file=text, width=80, force_terminal=True, color_system=None)
    state = RunState(1)
    lines = ProgressLines(console, state, 20)
    receive = Broadcast(lines.receive, state.receive)
    receive(Started(1, num_workers=1))
    for epoch, value in enumerate((0.5, 0.9, 0.7, 0.9), 1):
        receive(BatchesTrained([BatchRow(epoch, 1, 0.0, 0.7, 0.5, 0.03, 0.07, 0.0, 4)]))
        receive(Evaluated(epoch, 2, 1.0, Evaluation(0.6, "accuracy", value)))
        figures = {"epoch": epoch, "train_loss": 0.7, "seconds": 1.25, "learning_rate": 0.001, "test_loss": 0.6}
        receive(EpochDone({**figures, "accuracy": value}))
        receive(Saved("checkpoint", f"model_checkpoint_{epoch}.pt"))
    lines.close()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue()).replace("\r", "\n").splitlines()
    shown = [line for line in plain if re.match(r" *(Epoch  |\d+/20 )", line)]
    assert shown == [
        "Epoch  Train loss  Test loss   Accuracy         LR    Seconds",
        " 1/20      0.7000     0.6000     0.5000      0.001        1.2  best",
        " 2/20      0.7000     0.6000     0.9000      0.001        1.2  best",
        " 3/20      0.7000     0.6000     0.7000      0.001        1.2",
        " 4/20      0.7000     0.6000     0.9000      0.001        1.2",
    ]
    assert "Saved" not in text.getvalue()


def test_files_that_no_summary_names_are_shown_to_people_too():
    console, text = Console(), io.StringIO()
    console.is_live = True
    console.terminal = Terminal(file=text, width=80, force_terminal=True, color_system=None)
    ProgressLines(console, RunState(), 1, summarized=False).receive(Saved("predictions", "/p/output_1.h5"))
    assert text.getvalue().splitlines() == ["Saved predictions: /p/output_1.h5"]


def test_terms_of_the_loss_are_in_a_batch_s_line_the_last_known_ones_where_one_is_unknown():
    text = io.StringIO()
    console = Console()
    console.terminal = Terminal(file=text, width=200)
    lines = ProgressLines(console, RunState(3), 1, symbols=("W", "GP", "G"))
    for batch, known in ((1, float("nan")), (2, -1.2034), (3, float("nan"))):
        terms = (4.021, 0.0897, known)
        lines.receive(BatchesTrained([BatchRow(1, batch, 0.0, -3.124, 2.3411, 0.1, 0.1, 0.1, 4, terms)]))
    lines.close()
    found = re.findall(r"\(Loss.*?\)", text.getvalue())
    assert found == [
        "(Loss = -3.1240; W = 4.0210; GP = 0.0897; |g| = 2.3411)",
        *["(Loss = -3.1240; W = 4.0210; GP = 0.0897; G = -1.2034; |g| = 2.3411)"] * 2,
    ]


def test_an_evaluation_without_a_loss_shows_its_distances():
    text = io.StringIO()
    console = Console()
    console.terminal = Terminal(file=text, width=200)
    found = Evaluation(None, "swd", 0.0343, others={"test_wasserstein": 1.25})
    ProgressLines(console, RunState(2), 10).receive(Evaluated(1, 2, 1.0, found))
    assert text.getvalue().endswith("Batch [    2/    2] | SWD: 0.034 | Test wasserstein: 1.250\n")
