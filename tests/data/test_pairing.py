"""Inputs and targets are paired by their names."""

import pytest

from rayrml.data.pairing import pair
from rayrml.errors import DataError
from tests.data.test_discovery import fill, find


def partners(folder, inputs, targets, suffix=None):
    """Each input with its target, when their files are in two folders."""
    fill(folder / "in", *inputs)
    fill(folder / "out", *targets)
    found = pair(find(folder / "in"), find(folder / "out"), "target_path", suffix)
    return dict(zip(*(samples.names for samples in found), strict=True))


def test_pairs_have_the_same_relative_path_whatever_their_endings(tmp_path):
    fill(tmp_path / "in", "b/2.jpg", "a/1.jpg", "a/10.jpg")
    fill(tmp_path / "out", "a/1.png", "b/2.png", "a/10.png")
    inputs, targets = pair(find(tmp_path / "in"), find(tmp_path / "out"), "target_path")
    assert [n.split(".")[0] for n in inputs.names] == [n.split(".")[0] for n in targets.names]
    assert set(targets.names) == {"a/1.png", "a/10.png", "b/2.png"}


def test_missing_partners_of_both_kinds_are_listed(tmp_path):
    fill(tmp_path / "in", "1.jpg", "2.jpg", "3.jpg")
    fill(tmp_path / "out", "1.png", "4.png")
    with pytest.raises(DataError) as caught:
        pair(find(tmp_path / "in"), find(tmp_path / "out"), "target_path")
    assert [str(p) for p in caught.value.problems] == [
        f"target_path: no target for '2.jpg', '3.jpg' in '{tmp_path / 'in'}'",
        f"target_path: no input for '4.png' in '{tmp_path / 'out'}'",
    ]


def test_two_possible_partners_are_refused(tmp_path):
    fill(tmp_path / "in", "1.jpg", "2.jpg")
    fill(tmp_path / "out", "1.png", "1.jpg", "2.png")
    with pytest.raises(DataError, match=r"several files with the same name in .*: '1'"):
        pair(find(tmp_path / "in"), find(tmp_path / "out"), "target_path")


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (["x_1.jpg", "x_2.jpg", "x_10.jpg"], ["x_1_mask.png", "x_2_mask.png", "x_10_mask.png"]),
        (["img_001.jpg", "img_002.jpg"], ["mask_001.jpg", "mask_002.jpg"]),
        (["001_image.jpg", "011_image.jpg"], ["001_gt.png", "011_gt.png"]),
        (["1.jpg", "2.jpg"], ["m1.jpg", "m2.jpg"]),
        (["b/1.jpg", "a/1.jpg", "a/2.jpg"], ["b/1_mask.png", "a/1_mask.png", "a/2_mask.png"]),
        (["benign (1).jpg", "benign (12).jpg"], ["benign (1)_mask.png", "benign (12)_mask.png"]),
        (["a.jpg", "ab.jpg"], ["a_mask.png", "ab_mask.png"]),
    ],
)
def test_names_of_targets_may_all_differ_in_the_same_part(tmp_path, inputs, targets):
    assert partners(tmp_path, inputs, targets) == dict(zip(inputs, targets, strict=True))


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (["1.jpg", "2.jpg"], ["11.png", "12.png"]),
        (["img_1.jpg", "img_2.jpg", "img_3.jpg"], ["img_2_mask.png", "img_3_mask.png", "img_4_mask.png"]),
        (["1.jpg", "2.jpg"], ["1_mask.png", "2_seg.png"]),
        (["a/1.jpg", "b/2.jpg"], ["b/1_mask.png", "a/2_mask.png"]),
    ],
)
def test_other_differences_are_refused(tmp_path, inputs, targets):
    with pytest.raises(DataError, match="no target for"):
        partners(tmp_path, inputs, targets)


def test_a_suffix_tells_inputs_and_targets_of_one_folder_apart(tmp_path):
    samples = find(fill(tmp_path, "p/x_1.png", "p/x_1_mask.png", "p/x_10.png", "p/x_10_mask.png"))
    inputs, targets = pair(samples, samples, "target_path", "_mask")
    assert (inputs.names, targets.names) == (["p/x_1.png", "p/x_10.png"], ["p/x_1_mask.png", "p/x_10_mask.png"])
    with pytest.raises(DataError) as caught:
        pair(samples, samples, "target_path")
    assert str(caught.value) == (
        "neural_network.data.target_suffix: is missing: inputs and targets are the same files. "
        'Expected "target_suffix": "_mask", which half of them end with'
    )
    with pytest.raises(DataError, match=r"target_suffix: none of the files in '.*' end with '_seg'"):
        pair(samples, samples, "target_path", "_seg")


@pytest.mark.parametrize("suffix", ["_mask", "-mask", " (mask)", "M"])
def test_masks_among_their_images_are_found_whichever_file_comes_first(tmp_path, suffix):
    samples = find(fill(tmp_path, "1.png", f"1{suffix}.png", "2.png", f"2{suffix}.png"))
    with pytest.raises(DataError) as caught:
        pair(samples, samples, "target_path")
    assert f'Expected "target_suffix": "{suffix}"' in str(caught.value)


def test_a_suffix_that_is_given_counts(tmp_path):
    assert partners(tmp_path, ["1.jpg", "2.jpg"], ["1_m.png", "2_m.png"], "_m") == {
        "1.jpg": "1_m.png",
        "2.jpg": "2_m.png",
    }
    with pytest.raises(DataError, match=r"no target for '1\.jpg', '2\.jpg'"):
        partners(tmp_path, ["1.jpg", "2.jpg"], ["1_m.png", "2_m.png"], "_mask")


def test_several_targets_of_an_input_are_named(tmp_path):
    """One mask for each object."""
    message = r"several targets for 'b 1': 'b 1_mask', 'b 1_mask_1'\. Expected one file each: combine them"
    inputs, targets = (
        ["b 1.jpg", "b 2.jpg"],
        ["b 1_mask.png", "b 1_mask_1.png", "b 2_mask.png"],
    )
    for suffix in (None, "_mask"):
        with pytest.raises(DataError, match=message):
            partners(tmp_path, inputs, targets, suffix)
    samples = find(fill(tmp_path / "both", *inputs, *targets))
    with pytest.raises(DataError, match=message):
        pair(samples, samples, "target_path", "_mask")


def test_the_same_files_may_be_inputs_and_targets(tmp_path):
    samples = find(fill(tmp_path, "1.png", "2.png", "2_b.png", "3.png"))
    assert pair(samples, samples, "target_path") == (samples, samples)
