import typing

import pytest

from rayrml.config.sections import Data, PathString
from rayrml.config.tables import make_model
from rayrml.data import readers
from rayrml.data.reader_keys import choose_reader, describe_reading, list_reader_options, name_pictures, select_reading
from rayrml.data.readers import READERS, Reader
from rayrml.errors import ConfigError


def test_every_option_of_a_reader_is_a_key_of_the_section():
    assert {key for row in READERS.values() for key in make_model(row).model_fields} == {*list_reader_options()}
    assert {*list_reader_options()} <= Data.model_fields.keys()


def test_no_option_of_a_reader_names_a_file_as_checkpoints_bring_them():
    for key in list_reader_options():
        annotation = Data.model_fields[key].annotation
        assert PathString not in (annotation, *typing.get_args(annotation)), key


def test_a_new_option_reaches_the_reader_and_the_checkpoint_by_its_signature_alone(monkeypatch):
    taken = []

    def tiles(*, grayscale: bool = False, domain_size: int = 3) -> Reader:
        """Images with an option that is a key of the section."""
        taken.append((grayscale, domain_size))
        return READERS["images"]()

    monkeypatch.setitem(readers.READERS, "tiles", tiles)
    data = Data(input_type="tiles", target_type="tiles", domain_size=5, target_grayscale=True, input_path="/x")
    assert choose_reader(data, "input").arguments == {"domain_size": 5}
    assert choose_reader(data, "target").arguments == {"domain_size": 5, "grayscale": True}
    described = describe_reading(data)
    assert taken == [(False, 5)]
    assert described == {
        "input_type": "tiles",
        "domain_size": 5,
        "grayscale": False,
        "input_transforms": [],
        "slicers": [],
    }
    assert select_reading({**described, "input_path": "/x", "hdf5_outfile": "/y"}) == described


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"input_type": "numpy", "grayscale": True}, r"neural_network\.data\.grayscale: unknown key"),
        ({"type": "images", "bc_type": "fixed_uniform"}, r"neural_network\.data\.bc_type: unknown key"),
        ({"input_type": "imags"}, r"neural_network\.data\.input_type: unknown name"),
        ({"type": "imags"}, r"neural_network\.data\.type: unknown name"),
        ({}, r"neural_network\.data: 'input_type' is missing"),
    ],
)
def test_a_key_that_the_type_does_not_take_is_named(section, complaint):
    with pytest.raises(ConfigError, match=complaint):
        choose_reader(Data(**section), "input")


def test_an_option_of_one_side_comes_before_that_of_both():
    data = Data(type="images", grayscale=True, input_grayscale=False)
    assert (data.option("grayscale", "input"), data.option("grayscale", "target")) == (False, True)


@pytest.mark.parametrize(
    ("wanted", "kept", "expected"),
    [("always", "masks", "masks"), ("always", None, "always"), ("always", "none", "always"), ("none", "masks", "none")],
)
def test_pictures_that_are_wanted_are_of_the_kind_that_a_checkpoint_names(wanted, kept, expected):
    data = {"test_output_images": wanted}
    name_pictures(data, {} if kept is None else {"test_output_images": kept})
    assert data == {"test_output_images": expected}
