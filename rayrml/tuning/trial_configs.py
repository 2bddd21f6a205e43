"""The configuration of each trial: that of the search with the trial's values and its own folder."""

from __future__ import annotations

from pathlib import Path

from rayrml import storage
from rayrml.config import search_spaces
from rayrml.config.reading import make_portable, read_configuration
from rayrml.config.sections import Config
from rayrml.config.variables import escape
from rayrml.reporting.file_names import METRICS
from rayrml.reporting.run_files import to_json, write_file
from rayrml.tuning.search import Search
from rayrml.tuning.trials import Trial, Trials

CONFIG = "config.json"
# Keys of `ray` that trials have from the search: its processes have the variables, whose values are not written.
_OF_THE_SEARCH = ("address", "storage_path", "env_vars")


def config_of(search: Search, trial: Trial) -> Config:
    """The search's configuration with the values of a trial."""
    return read_configuration(search_spaces.fill(search.raw, trial.values)).checked()


def write_config(search: Search, book: Trials, trial: Trial) -> None:
    """Write the configuration of a trial, whose files all go into its folder. Raises DataError if that fails."""
    folder = book.path(trial.number)
    values = make_portable(config_of(search, trial))
    nn = values["neural_network"]
    # Of all trials, only the best model stays.
    section = {key: value for key, value in nn.get("checkpoints", {}).items() if key != "interval"}
    nn["checkpoints"] = {**section, "save": folder, "keep": "best", "plots": False}
    for key in ("test_output_path", "hdf5_outfile"):
        nn["data"].pop(key, None)
    if "outfile" in nn:
        nn["outfile"] = storage.join(folder, "log.txt")
    values["ray"] = {
        **{key: value for key, value in values.get("ray", {}).items() if key not in _OF_THE_SEARCH},
        "run_name": f"{Path(book.folder).name}-trial-{trial.number}",
    }
    path = storage.join(folder, METRICS)
    if storage.exists(path):  # left by a trial that was interrupted at its very end
        storage.remove(path)
    write_file(storage.join(folder, CONFIG), to_json(escape(values)))
