"""Files that are missing on a machine are refused before a run begins."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from rayrml.cluster.shared_files import refuse_unshared
from rayrml.data.decoding import Decoding
from rayrml.data.discovery import find_samples
from rayrml.data.readers import READERS
from rayrml.data.sources import Side, Source
from rayrml.errors import DataError


@dataclass
class Files:
    landmarks: list[str] = field(default_factory=list)


def test_the_landmarks_of_pairs_are_the_first_and_the_last_file_of_each_side(tmp_path):
    sides = []
    for name in ("input", "target"):
        (tmp_path / name).mkdir()
        for number in range(3):
            np.save(tmp_path / name / f"{number}.npy", np.zeros((1, 2), np.float32))
        samples = find_samples(str(tmp_path / name), {".npy"}, "input_path")
        sides.append(Side(samples, Decoding(READERS["numpy"](), (1, 2), np.dtype("f4"), samples.path(0))))
    expected = [str(tmp_path / name / f"{number}.npy") for name in ("input", "target") for number in (0, 2)]
    assert Source(*sides, "training").landmarks == expected


@pytest.mark.ray
def test_a_file_that_no_machine_has_is_named_with_the_machine(ray_cluster, tmp_path):
    (tmp_path / "there.npy").write_bytes(b"")
    there, store = str(tmp_path / "there.npy"), "s3://box/not-asked-for.npy"
    refuse_unshared([Files(), Files([there, store])])
    (node,) = ray_cluster.nodes()
    with pytest.raises(DataError, match=rf"gone\.npy: is missing on {node['NodeManagerAddress']}\. Expected a"):
        refuse_unshared([Files([there]), Files([str(tmp_path / "gone.npy")])])
