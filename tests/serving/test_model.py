"""From uploads to answers, without Ray; `test_server` compares answers with `rayrml predict`."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rayrml.errors import ConfigError, DataError
from rayrml.networks.network import build_network
from rayrml.saving import checkpoints
from rayrml.serving.model import Model, find_servable
from rayrml.serving.uploads import Upload
from tests.serving.networks import (
    bomb,
    draw,
    encode,
    npy,
    save_classifier,
    save_detector,
    save_regressor,
    save_segmenter,
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    model = Model(save_classifier(tmp_path_factory.mktemp("classifier") / "a.pt"), {}, max_pixels=1_000_000)
    yield model
    model.close()


def uploads(*contents):
    return [Upload(f"{number}.png", content) for number, content in enumerate(contents)]


def outputs(results):
    return [result.get("output") for result in results]


def predict(model, *contents):
    return model.predict(uploads(*contents), range(len(contents)))


def test_an_answer_has_the_classes_best_first_with_all_digits(classifier):
    (found,) = predict(classifier, draw(0))
    assert found["name"] == "0.png"
    values = [pair["probability"] for pair in found["classes"]]
    assert values == sorted(values, reverse=True)
    assert {pair["class"] for pair in found["classes"]} == {"a", "b", "c"}
    expected = torch.softmax(torch.tensor(found["output"], dtype=torch.float64), 0)
    assert values == sorted(expected.tolist(), reverse=True)


def test_a_file_has_the_same_numbers_in_any_batch_and_in_any_order(classifier):
    contents = [draw(seed, kind=kind) for seed in range(6) for kind in ("PNG", "JPEG", "BMP", "TIFF")]
    alone = [predict(classifier, content)[0]["output"] for content in contents]
    assert outputs(predict(classifier, *contents)) == alone
    assert outputs(predict(classifier, *contents[::-1])) == alone[::-1]


def test_what_is_known_of_earlier_files_of_the_same_kind_changes_no_number(tmp_path, classifier):
    contents = [draw(seed) for seed in range(3)]
    found = outputs(predict(classifier, *contents))
    fresh = save_classifier(tmp_path / "a.pt")
    for content, output in zip(contents, found, strict=True):
        model = Model(fresh, {})
        assert outputs(predict(model, content)) == [output]
        model.close()


def test_a_bad_file_is_named_and_the_others_are_predicted(classifier):
    results = predict(classifier, draw(0), b"no image", draw(1), draw(0)[:100], draw(2, (30, 28)))
    assert ["error" in result for result in results] == [False, True, False, True, True]
    assert results[1]["error"].startswith("cannot be read. It is not an image, or damaged")
    assert "expected 216 input channels, got 252" in results[4]["error"]
    assert not any("/" in result.get("error", "").partition("Expected")[0] for result in results)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bomb(2000, 1000), "2000x1000 pixels. Expected at most 1,000,000"),
        (bomb(50_000, 3000), "pixels"),
        (npy(np.zeros((28, 28))), "It is an array, but the network takes images"),
        (b"PK\x03\x04" + bytes(100), "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not an image"),
    ],
)
def test_files_that_would_take_much_memory_or_run_programs_are_refused(classifier, content, message):
    (found,) = predict(classifier, content)
    assert message in found["error"]


def test_spoiled_images_are_answered_or_refused_and_nothing_is_raised(classifier):
    chosen = np.random.default_rng(0)
    whole = [draw(seed, kind=kind) for seed in range(2) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")]
    for _ in range(20):
        spoiled = []
        for content in whole:
            changed = bytearray(content)
            for place in chosen.integers(0, len(changed), chosen.integers(1, 8)):
                changed[place] = chosen.integers(256)
            spoiled.append(bytes(changed[: chosen.integers(1, len(changed) + 1)]))
        for result in predict(classifier, *spoiled):
            assert ("error" in result) != ("classes" in result)


def test_a_mask_has_the_size_of_its_image(tmp_path):
    model = Model(save_segmenter(tmp_path / "a.pt"), {})
    sizes = [(20, 30), (8, 8), (41, 7)]
    results = predict(model, *(draw(seed, (*size, 3)) for seed, size in enumerate(sizes)))
    for result, size in zip(results, sizes, strict=True):
        mask = np.array(Image.open(io.BytesIO(base64.b64decode(result["mask"]))))
        assert mask.shape == size
        assert np.array_equal(mask, np.array(result["output"]).argmax(0))
        assert sum(result["pixels"].values()) == mask.size
    assert model.describe()["answers"] == ["mask"]
    model.close()


@pytest.mark.parametrize("input_type", ["numpy", "hdf5"])
def test_arrays_become_the_numbers_of_their_columns(tmp_path, input_type):
    path = save_regressor(tmp_path / "a.pt", input_type)
    model = Model(path, {})
    arrays = np.random.default_rng(0).random((3, 2, 4, 4), np.float32)
    results = predict(model, *map(npy, arrays))
    network = build_network(checkpoints.load(path).layers).eval()
    network.load_state_dict(checkpoints.load(path).network)
    with torch.inference_mode():
        expected = [network(torch.from_numpy(array[None]))[0].tolist() for array in arrays]
    assert [list(result["numbers"].values()) for result in results] == expected == outputs(results)
    assert all(list(result["numbers"]) == ["height", "width"] for result in results)
    model.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.array([print])), "Python objects"),
        (npy(np.zeros((2, 4, 4)))[:-1], "less data than its shape"),
        (npy(np.zeros((2, 4, 4)))[:20], "header is damaged"),
        (npy(np.zeros((2, 4, 5))), "[2, 4, 5]|(2, 4, 5)"),
        (npy(np.array(["a"])), "holds values of type"),
        (npy(np.zeros((0, 4, 4))), "no values|(0, 4, 4)"),
        (draw(0), "It is not an array"),
        (b"PK\x03\x04" + bytes(100), "It is not an array"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, content, message):
    model = Model(save_regressor(tmp_path / "a.pt"), {})
    (found,) = predict(model, content)
    assert any(part in found["error"] for part in message.split("|")), found
    model.close()


def test_an_array_of_many_samples_has_an_answer_for_each(tmp_path):
    model = Model(save_regressor(tmp_path / "a.pt"), {})
    arrays = np.random.default_rng(0).random((3, 2, 4, 4), np.float32)
    (together,) = predict(model, npy(arrays))
    assert outputs(together["samples"]) == outputs(predict(model, *map(npy, arrays)))
    model.close()


def test_transforms_are_those_of_evaluation(tmp_path):
    model = Model(save_classifier(tmp_path / "a.pt", input_transforms=[{"resize": [28, 28]}]), {})
    image = np.random.default_rng(0).integers(0, 256, (60, 50), np.uint8)
    results = predict(model, encode(image), encode(image[:28, :28]), encode(image))
    assert results[0]["output"] == results[2]["output"] != results[1]["output"]
    assert not any("error" in result for result in results)
    model.close()


def test_samples_are_computed_together_only_in_sizes_that_change_no_number(classifier):
    described = classifier.describe()
    assert described["exact"]
    assert described["batch_sizes"][0] == 1


def test_nothing_is_left_of_uploads(tmp_path):
    model = Model(save_classifier(tmp_path / "a.pt"), {})
    predict(model, draw(0), b"no image", draw(1))
    folder = Path(model._files.path_of(0)).parent
    assert list(folder.iterdir()) == []
    model.close()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.input_type": "idx"}, "data.input_type: idx cannot be sent"),
        ({"data.slicers": [{"size": [8, 8], "stride": [8, 8]}]}, "data.slicers"),
        ({"data.grayscal": True}, "unknown key"),
    ],
)
def test_networks_that_cannot_be_served_are_refused_at_once(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        find_servable(save_classifier(tmp_path / "a.pt"), overrides)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        find_servable(str(tmp_path / "none.pt"), {})


def test_other_weights_than_those_expected_are_refused(tmp_path):
    path = save_classifier(tmp_path / "a.pt")
    model = Model(path, {})
    kept = checkpoints.load(path)
    model.close()
    kept.network["dense.bias"] += 1e-3
    checkpoints.save(path, kept)
    with pytest.raises(DataError, match=r"a\.pt: has other weights than when the server was started"):
        Model(path, {}, weights=model.weights)


def test_a_checkpoint_without_some_weights_is_refused_at_once(tmp_path):
    path = save_classifier(tmp_path / "a.pt")
    kept = checkpoints.load(path)
    del kept.network["dense.bias"]
    checkpoints.save(path, kept)
    with pytest.raises(ConfigError, match="dense"):
        find_servable(path, {})


def test_boxes_are_in_the_pixels_of_each_image_whatever_the_others_are(tmp_path):
    path = save_detector(tmp_path / "a.pt")
    sizes = [(40, 48), (40, 48), (64, 20)]
    contents = [draw(seed, (*size, 3)) for seed, size in enumerate(sizes)]
    model = Model(path, {})
    found = predict(model, *contents)
    model.close()
    for content, result, (height, width) in zip(contents, found, sizes, strict=True):
        fresh = Model(path, {})
        assert predict(fresh, content)[0]["boxes"] == result["boxes"] != []
        fresh.close()
        assert all(one["class"] in ("disc", "bar") and one["score"] >= 0.05 for one in result["boxes"])
        corners = np.array([one["box"] for one in result["boxes"]])
        assert (corners >= 0).all()
        assert (corners <= [width, height, width, height]).all()
