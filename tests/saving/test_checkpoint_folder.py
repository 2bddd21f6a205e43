import pytest

from rayrml.errors import DataError
from rayrml.saving import checkpoint_folder

TOO_LONG = "x" * 300


def test_checkpoints_are_listed_in_the_order_of_their_epochs(tmp_path):
    for name in ("model_checkpoint_10.pt", "model_checkpoint_9.pt", "last_epoch.pt", "model_checkpoint_x.pt", "a.txt"):
        (tmp_path / name).touch()
    (tmp_path / "model_checkpoint_7.pt").mkdir()
    assert list(checkpoint_folder.list_checkpoints(tmp_path).items()) == [
        (9, str(tmp_path / "model_checkpoint_9.pt")),
        (10, str(tmp_path / "model_checkpoint_10.pt")),
    ]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert checkpoint_folder.list_checkpoints(tmp_path / "none") == {}
    assert checkpoint_folder.list_times(tmp_path / "none") == {}
    assert not checkpoint_folder.is_interrupted(tmp_path / "none")


@pytest.mark.parametrize("name", ["last_epoch.pt", "interrupted.pt"])
def test_a_run_that_left_its_state_did_not_come_to_its_end(tmp_path, name):
    (tmp_path / "model_checkpoint_1.pt").touch()
    assert not checkpoint_folder.is_interrupted(tmp_path)
    (tmp_path / name).touch()
    assert checkpoint_folder.is_interrupted(tmp_path)


def test_removing_a_file_that_is_gone_is_no_error(tmp_path):
    (tmp_path / "last_epoch.pt").touch()
    for _ in range(2):
        checkpoint_folder.remove(checkpoint_folder.state_path(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_told_with_its_path(tmp_path):
    with pytest.raises(DataError, match=r"xxx: cannot be listed\. File name too long$"):
        checkpoint_folder.list_checkpoints(tmp_path / TOO_LONG)
    with pytest.raises(DataError, match=r"xxx: cannot be removed\. File name too long$"):
        checkpoint_folder.remove(str(tmp_path / TOO_LONG))
