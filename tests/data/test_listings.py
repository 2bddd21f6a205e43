import pytest

from rayrml.data.discovery import find_samples
from rayrml.data.listings import listing_once
from rayrml.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.png", "c.jpg"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).touch()
    return tmp_path / "images"


def names(folder, *extensions):
    return list(find_samples(str(folder), extensions, "input_path").names)


def test_folders_are_listed_once_in_a_block_and_in_those_that_know_its_listings(folder):
    with listing_once() as listings:
        assert names(folder, ".png") == ["a.png", "b.png"]
        (folder / "d.png").touch()
        assert names(folder, ".png") == ["a.png", "b.png"]
        assert names(folder, ".jpg") == ["c.jpg"]
    assert names(folder, ".png") == ["a.png", "b.png", "d.png"]
    with listing_once(listings) as known:
        assert names(folder, ".png") == ["a.png", "b.png"]
        assert names(folder, ".png", ".jpg") == ["a.png", "b.png", "c.jpg", "d.png"]
    assert len(listings) == 2
    assert len(known) == 3


def test_a_relative_path_may_be_another_folder_later(folder, monkeypatch):
    with listing_once():
        monkeypatch.chdir(folder.parent)
        assert names("images", ".jpg") == ["c.jpg"]
        monkeypatch.chdir(folder)
        with pytest.raises(DataError):
            names("images", ".jpg")


def test_a_folder_that_cannot_be_listed_is_tried_again(tmp_path):
    with listing_once() as listings:
        with pytest.raises(DataError):
            names(tmp_path / "images", ".png")
        assert not listings
