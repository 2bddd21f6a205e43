"""The page of first steps shows what its commands show."""

import json

import pytest
from PIL import Image

from tests.pages.first_steps import BLOCK, COLUMNS, PAGE, list_facts, type_commands

FIGURES = {"photos": "accuracy", "shapes": "dice", "arrays": "accuracy"}


@pytest.mark.ray
def test_the_screens_are_those_of_the_commands_and_the_networks_are_good(tmp_path):
    page = PAGE.read_text()
    assert list_facts(type_commands(page, tmp_path)) == list_facts(page)
    for name, figure in FIGURES.items():
        metrics = json.loads((tmp_path / f"{name}_model" / "metrics.json").read_text())
        assert metrics["best"][figure] > 0.9, name
        assert metrics.get("final_test", metrics["best"])[figure] > 0.9, name
    masks = sorted((tmp_path / "found" / "masks_1").rglob("*.png"))
    for mask in masks:
        with Image.open(mask) as written, Image.open(tmp_path / "shapes" / "images" / f"{mask.stem}.jpg") as image:
            assert written.size == image.size
    assert len(masks) == 2


def test_no_screen_is_wider_than_a_terminal():
    for block in BLOCK.findall(PAGE.read_text()):
        screen = [line for line in block.splitlines() if not line.startswith("$ ")]
        assert max(map(len, screen), default=0) <= COLUMNS
