"""Files of an earlier run where this one writes: none is replaced without a message."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rayrml import storage
from rayrml.errors import explaining
from rayrml.formatting import format_path, shorten
from rayrml.inference.outputs import destination_of
from rayrml.planning.plan import Plan
from rayrml.reporting.run_files import FILES, PLOTS, PLOTS_FOLDER
from rayrml.saving import checkpoint_folder
from rayrml.training.retention import find_retention

_FAILED = "cannot be accessed"


def lines(plan: Plan, kept_logs: Sequence[str], *, resumed: bool) -> list[str]:
    """The messages before a run begins: which files it replaces, and where the earlier logs are now.

    Raises:
        DataError: an output folder cannot be accessed.
    """
    said = []
    if kept_logs:
        said.append(f"Keeping the logs of an earlier run: {', '.join(map(format_path, kept_logs))}")
    if resumed:
        return said
    folder = plan.config.ray.storage_path or plan.config.neural_network.checkpoints.save
    if plan.training and folder and checkpoint_folder.is_interrupted(folder):
        said.append(f"The earlier run in {format_path(folder)} did not finish: --resume would continue it")
    said += _pictures(plan)
    replaced = [*_checkpoints(plan), *_record(plan), *_predictions(plan)]
    if replaced:
        said.append(f"Replacing files of an earlier run: {', '.join(replaced)}")
    return said


def _checkpoints(plan: Plan) -> list[str]:
    section, last = plan.config.neural_network.checkpoints, plan.config.neural_network.num_epochs
    if not plan.training or section.save is None:
        return []
    keeps = find_retention(section, tested=plan.datasets.test_targets)
    there = checkpoint_folder.list_checkpoints(section.save)
    replaced = [path for epoch, path in there.items() if epoch <= last and keeps.includes(epoch, last=epoch == last)]
    best = checkpoint_folder.best_path(section.save)
    replaced += [best] if keeps.best and best in checkpoint_folder.list_times(section.save) else []
    return _counted(replaced, "checkpoints", section.save)


def _record(plan: Plan) -> list[str]:
    """A run's files next to its checkpoints; another run that begins in the folder removes all of them."""
    folder = plan.config.neural_network.checkpoints.save
    if not plan.training or folder is None:
        return []
    plots = (f"{PLOTS_FOLDER}/{name}" for name in _files(storage.join(folder, PLOTS_FOLDER)))
    there = {*_files(folder), *plots}
    replaced = [storage.join(folder, *name.split("/")) for name in (*FILES, *PLOTS.values()) if name in there]
    return _counted(replaced, "other files", folder)


def _predictions(plan: Plan) -> list[str]:
    data = plan.config.neural_network.data
    if plan.test is None:
        return []
    replaced: list[str] = []
    if data.test_output_path is not None:
        there = _files(data.test_output_path)
        last = plan.config.neural_network.num_epochs if plan.training else 1
        names = [f"output_{epoch}.h5" for epoch in range(1, last + 1)]
        paths = [storage.join(data.test_output_path, name) for name in names if name in there]
        replaced += _counted(paths, "prediction files", data.test_output_path)
    if data.hdf5_outfile is not None:
        with explaining(data.hdf5_outfile, _FAILED):
            if storage.exists(data.hdf5_outfile):
                replaced.append(format_path(data.hdf5_outfile))
    return replaced


def _pictures(plan: Plan) -> list[str]:
    """A message about folders that already contain pictures; those of samples that are not predicted again stay."""
    data = plan.config.neural_network.data
    if plan.test is None:
        return []
    last = plan.config.neural_network.num_epochs if plan.training else 1
    there: list[str] = []
    for epoch in range(1, last + 1):
        pictures = destination_of(plan.test, data, epoch, plan.classes, drawing=plan.pictures.drawing).pictures
        for folder in () if pictures is None else pictures.folders:
            with explaining(folder, _FAILED):
                there += [format_path(folder)] if storage.is_folder(folder) else []
    return [f"Adding to the pictures of an earlier run: {shorten(there)}"] if there else []


def _files(folder: str) -> Collection[str]:
    with explaining(folder, _FAILED):
        return storage.files(folder)


def _counted(paths: Sequence[str], what: str, folder: str) -> list[str]:
    """The path, or the number of paths in the folder; nothing if there are none."""
    if len(paths) > 1:
        return [f"{len(paths)} {what} in {format_path(folder)}"]
    return [format_path(path) for path in paths]
