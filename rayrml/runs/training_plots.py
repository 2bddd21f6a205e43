"""The plots of a run, in the folder `plots` next to its checkpoints or predictions; they never make a run fail."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from rayrml import storage
from rayrml.inference.applications import application_of
from rayrml.inference.generation_step import find_sample_range, generate_first
from rayrml.inference.sample_grid import NUM_SAMPLES, can_draw, render_grid
from rayrml.metrics import name_classes
from rayrml.networks.network import Network, build_network
from rayrml.planning.plan import Plan
from rayrml.reporting.file_names import (
    CONFIG,
    CONFUSION_MATRIX,
    CURVES,
    EXAMPLES,
    MISTAKES,
    PLOTS,
    PLOTS_FOLDER,
    PRECISION_RECALL,
    PREDICTIONS,
    SAMPLES,
    SCATTER,
)
from rayrml.reporting.run_files import Record, write_file
from rayrml.runs import plotted_samples
from rayrml.runs.plotted_samples import Mistakes
from rayrml.saving import checkpoint_folder, checkpoints

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SHARE = 0.05  # of the time of training, for finding the worst mistakes
_SECONDS_OF_MISTAKES = (0.5, 4.0)  # at least and at most


def make(plan: Plan, record: Record, say: Callable[[str], None]) -> bool:
    """Draw a run's plots and report in a line what could not be drawn; return whether any was made."""
    made, problems = False, []
    for path, draw in _pictures(plan, record):
        # Whatever fails here: the network is trained, and its results are on disk.
        try:
            figure, place = draw(), storage.join(record.folder or "", *path.split("/"))
            if figure is None and record.evaluated:
                checkpoint_folder.remove(place)  # one of before the run was resumed shows another network
            made |= _save(figure, place, problems)
        except Exception as error:
            problems.append(str(error).partition("\n")[0] or type(error).__name__)
    for problem in dict.fromkeys(problems):
        say(f"Some plots could not be drawn: {problem}")
    return made


def files(record: Record) -> list[str]:
    """The paths of a run's configuration and of its existing plots."""
    if record.folder is None:
        return []
    plots = storage.join(record.folder, PLOTS_FOLDER)
    return [storage.join(record.folder, CONFIG), *(storage.join(plots, name) for name in sorted(storage.files(plots)))]


def _pictures(plan: Plan, record: Record) -> Iterator[tuple[str, Callable[[], Figure | bytes | None]]]:
    """Each plot's path in the run's folder, and the function that draws it, or makes its file."""
    trained = functools.cache(lambda: _trained(plan, record))

    def curve(name: str) -> Callable[[], Figure | None]:
        def draw() -> Figure | None:
            # Importing matplotlib takes half a second, so only runs that draw plots do it.
            from rayrml.reporting import plots

            return getattr(plots, f"draw_{name}")(record.history)

        return draw

    if plan.training is not None:
        yield from ((PLOTS[name], curve(name)) for name in CURVES)
    if application_of(plan.config.neural_network).generates:
        yield PLOTS[SAMPLES], lambda: _samples(plan, record)
        return
    yield PLOTS[CONFUSION_MATRIX], lambda: _confusion_matrix(plan, record)
    yield PLOTS[PREDICTIONS], lambda: _predictions(plan, trained())
    if plan.training is not None:
        yield PLOTS[MISTAKES], lambda: _mistakes(plan, record, trained())
        yield PLOTS[EXAMPLES], lambda: _examples(plan)
    if record.average_precisions is not None:
        yield PLOTS[PRECISION_RECALL], lambda: _box_curves(plan, record)
    if plan.test is not None and plan.test.samples.columns is not None:
        name = SCATTER if plan.test.samples.columns == "number" else PRECISION_RECALL
        yield PLOTS[name], lambda: _columns(plan, trained(), name)


def _save(figure: Figure | bytes | None, path: str, problems: list[str]) -> bool:
    if figure is None:
        return False
    if isinstance(figure, bytes):
        write_file(path, figure)
        return True
    from rayrml.reporting.plots import render

    content, complete = render(figure)
    if not complete:
        problems.append("no font on this machine contains all characters of the names")
    write_file(path, content)
    return True


def _samples(plan: Plan, record: Record) -> bytes | None:
    """A picture of the samples that pictures show during training, at its end; None if they are no images."""
    network, source = _trained(plan, record, last=True), plan.training or plan.test
    if network is None or source is None or not can_draw(network.output_shapes[0]):
        return None
    samples = generate_first(network, plan.config.neural_network.seed, NUM_SAMPLES)
    return render_grid(samples, find_sample_range(source, plan.datasets.transforms, network))


def _confusion_matrix(plan: Plan, record: Record) -> Figure | None:
    from rayrml.reporting import plots

    counts = record.confusion
    if counts is None or not counts.sum():
        return None
    return plots.draw_confusion_matrix(counts, name_classes(plan.classes, len(counts)))


def _box_curves(plan: Plan, record: Record) -> Figure | None:
    from rayrml.reporting.detection_plots import draw_detection_curves

    found = record.average_precisions
    if found is None:
        return None
    names = name_classes(plan.classes, len(found.curves))
    return draw_detection_curves(found, names, plan.config.neural_network.detection.score_threshold)


def _predictions(plan: Plan, network: Network | None) -> Figure | None:
    from rayrml.reporting import detection_plots, plots

    if network is not None and plan.test is not None and plan.test.samples.boxes is not None:
        found = plotted_samples.detection_samples(plan, network)
        threshold = plan.config.neural_network.detection.score_threshold
        return detection_plots.draw_detection_samples(found, len(plan.test.samples), threshold) if found else None
    shown = [] if network is None else plotted_samples.samples(plan, network)
    if not shown or plan.test is None:
        return None
    draw: Any = plots.draw_class_samples if isinstance(shown[0], plots.ClassSample) else plots.draw_image_samples
    return draw(shown, len(plan.test.samples))


def _mistakes(plan: Plan, record: Record, network: Network | None) -> Figure | None:
    from rayrml.reporting import plots

    counts = record.confusion
    if network is None or (counts is not None and counts.sum() == counts.trace()):
        return None
    trained = sum(figures.get("seconds", 0.0) for figures in record.history)
    found = plotted_samples.mistakes(plan, network, float(np.clip(_SHARE * trained, *_SECONDS_OF_MISTAKES)))
    return None if found is None else plots.draw_mistakes(found.worst, _describe_mistakes(found))


def _describe_mistakes(mistakes: Mistakes) -> str:
    """The heading of the picture with mistakes, which says how many samples were looked at."""
    what = f"{mistakes.found:,} mistakes" if mistakes.found > 1 else "one mistake"
    shown = f"The worst {len(mistakes.worst)} of {what}" if len(mistakes.worst) < mistakes.found else what.capitalize()
    among = f"all {mistakes.total:,}" if mistakes.seen == mistakes.total else f"{mistakes.seen:,} of {mistakes.total:,}"
    return f"{shown} in {among} test samples"


def _examples(plan: Plan) -> Figure | None:
    from rayrml.reporting import plots

    shown = plotted_samples.examples(plan)
    return plots.draw_examples(shown, len(plan.training.samples)) if shown and plan.training is not None else None


def _columns(plan: Plan, network: Network | None, name: str) -> Figure | None:
    from rayrml.reporting import column_plots

    shown = None if network is None else plotted_samples.column_samples(plan, network)
    return None if shown is None else getattr(column_plots, f"draw_{name}")(shown)


def _trained(plan: Plan, record: Record, *, last: bool = False) -> Network | None:
    """The network from the best or else the last epoch's checkpoint: the trained one may be on another machine.

    From the last epoch's, if that is there, with `last`.
    """
    if plan.training is None:
        return plan.network
    if record.folder is None or not record.history:
        return None
    paths = [checkpoint_folder.best_path(record.folder)]
    paths.insert(0 if last else 1, checkpoint_folder.checkpoint_path(record.folder, int(record.history[-1]["epoch"])))
    there = checkpoint_folder.list_times(record.folder)
    path = next((path for path in paths if path in there), None)
    if path is None:
        return None
    checkpoint = checkpoints.load_if_exists(path)
    if checkpoint is None:
        return None
    network = build_network(plan.layers, checkpoint.input_shape)
    if not any(network.check_input(shape) for shape in plan.datasets.shapes):  # a generator takes no images
        network.accept(*plan.datasets.shapes)
    checkpoints.load_into(network, checkpoint.network, path)
    return network
