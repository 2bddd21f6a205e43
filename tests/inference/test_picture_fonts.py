"""Fonts of the names in pictures."""

import pytest

from rayrml.inference.picture_fonts import find_font, find_usual_font


@pytest.mark.parametrize("name", ["cat", "Größe ß", "кошка", "γάτα", "a b-c_d", "…"])
def test_alphabets_have_a_font(name):
    assert find_font(name, 14).getlength(name) > 0


def test_a_character_that_no_font_has_is_known_before_it_is_drawn():
    assert find_font("a\U000effff", 14) is None
    assert find_usual_font(14).getlength("class 3") > 0
