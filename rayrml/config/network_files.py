"""The file that describes a network: Keras's JSON, or one of Keras's own formats, which hold the JSON among others."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from rayrml import storage
from rayrml.config.json_files import decode, read_file
from rayrml.errors import ConfigError, DataError, Problem, describe
from rayrml.storage import archives

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"


def read_network_file(path: str | Path, where: str = "") -> Any:
    """The parsed JSON of a network: of a `.json`, `.keras` or `.h5` file, whose content counts and not its name.

    Raises:
        DataError: the file cannot be read; `where` is the JSON path that names it.
        ConfigError: it is not JSON, or holds no network.
    """
    content = read_file(path, where)
    if content.startswith(_ZIP):
        return decode(_read_keras(content, path, where or str(path)), f"{path}: config.json")
    if content.startswith(_HDF5):
        return decode(_read_hdf5(path, where or str(path)), f"{path}: model_config")
    network = decode(content, str(path))
    # json.dump(model.to_json(), file) writes a string that holds the JSON.
    return decode(network.encode(), str(path)) if isinstance(network, str) else network


def _read_keras(content: bytes, path: str | Path, place: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archives.read_member(archive, "config.json", path)
    except KeyError:
        message = f"'{path}' is an archive without a network. Expected config.json in it"
        raise ConfigError(Problem(place, message)) from None
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise DataError(Problem(place, f"'{path}' is not a file of Keras, or damaged. {describe(error)}")) from None


def _read_hdf5(path: str | Path, place: str) -> bytes:
    from rayrml.storage import hdf5_reading  # h5py takes a while to import, and most networks are JSON

    try:
        with hdf5_reading.opened(storage.local_copy(path)) as file:
            config = file.attrs.get("model_config")
    except (OSError, ValueError, RuntimeError, LookupError, TypeError) as error:
        raise DataError(Problem(place, f"'{path}' is not a file of Keras, or damaged. {describe(error)}")) from None
    if not isinstance(config, str | bytes):
        message = f"'{path}' holds weights but no network. Expected the file of model.save(), or model.to_json()"
        raise ConfigError(Problem(place, message))
    return config.encode() if isinstance(config, str) else config
