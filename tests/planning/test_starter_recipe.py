"""How a network to start from is trained, by the number and the sizes of images."""

import pytest

from rayrml.planning import starter_recipe

PHOTOS = ((200, 300), (300, 200))


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        (((30, 20),) * 3, (30, 20)),
        (((8, 8),), (16, 16)),
        (((600, 900), (400, 600)), (64, 96)),
        (PHOTOS, (96, 96)),
        (((1, 900),), (16, 96)),
        (((40, 30), (20, 30)), (32, 32)),
    ],
)
def test_sizes_keep_proportions_if_there_is_one_and_are_square_otherwise(sizes, size):
    assert starter_recipe.choose_size(sizes) == size


def test_fewer_images_are_seen_more_often_in_smaller_batches():
    numbers = (50, 300, 3000, 100_000)
    epochs = [starter_recipe.choose_training(number)["num_epochs"] for number in numbers]
    assert epochs == [150, 50, 20, 20]
    assert [starter_recipe.choose_batch_size(number) for number in numbers] == [8, 16, 32, 32]


def test_masks_are_changed_like_their_images_but_not_scaled():
    found = starter_recipe.choose_transforms(PHOTOS, gray=False, learns="masks")
    assert found["target_transforms"] == [{"resize": [96, 96]}, {"random_horizontal_flip": 0.5}, {"jitter_crop": 0.2}]
    assert found["input_transforms"] == [*found["target_transforms"], {"normalize": {"mean": 0.5, "std": 0.25}}]


def test_what_is_said_is_what_is_done():
    for sizes, gray in ((PHOTOS, False), (PHOTOS, True), (((28, 28),), True), (((28, 28),), False)):
        said = " ".join(starter_recipe.describe(sizes, gray))
        done = [name for entry in starter_recipe.choose_transforms(sizes, gray)["transforms"] for name in entry]
        assert ("are kept" in said) == ("letterbox" in done)
        assert ("flipped left to right" in said) == ("random_horizontal_flip" in done)
