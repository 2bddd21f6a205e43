"""HDF5 files that are opened while others are written."""

import sys
import threading

import h5py
import numpy as np

from rayrml.storage import hdf5_reading
from rayrml.storage.hdf5_writing import Hdf5Output


def test_a_file_is_written_whole_while_another_thread_prepares_to_open_files(tmp_path):
    over = threading.Event()

    def prepare():
        while not over.is_set():
            hdf5_reading._forget_plugins()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads meet within HDF5
    preparing = threading.Thread(target=prepare)
    preparing.start()
    try:
        for number in range(30):
            output = Hdf5Output(tmp_path / f"{number}.h5")
            for name in range(30):
                with output.writing():
                    output.hdf5[f"x/{name}"] = np.full((8, 8, 8), name)
                    output.hdf5.flush()
            output.close()
    finally:
        over.set()
        preparing.join()
        sys.setswitchinterval(interval)
    with h5py.File(tmp_path / "29.h5") as file:
        assert [int(file[f"x/{name}"][0, 0, 0]) for name in range(30)] == list(range(30))
