"""Kinds of phrases, and words that two texts share."""

import pytest

from kosmos2_data.records import normalised
from kosmos2_eval.phrases import kind_of, token_f1


@pytest.mark.parametrize(
    ("phrase", "kind"),
    [
        ("the mug", "name"),
        ("mug", "name"),
        ("The red mug", "attribute"),
        ("a shiny green can", "attribute"),
        ("the small mug", "size"),
        ("the smallest red ball", "size"),
        ("the bigger one", "size"),
        ("the mug on the left", "position"),
        ("the leftmost small mug", "position"),
        ("the left mug", "position"),
        ("the mug in the middle", "position"),
        ("the mug left of the bowl", "relation"),
        ("the small ball nearest to the egg", "relation"),
        ("the mug on the tray", "relation"),
        ("the one in front of the can", "relation"),
        ("the egg between the can and the mug", "relation"),
    ],
)
def test_the_first_that_fits(phrase, kind):
    assert kind_of(phrase) == kind


def test_words_are_compared_without_what_does_not_matter():
    assert normalised(" A red Mug. ") == normalised("the red mug") == "red mug"
    assert normalised("a") == "a"
    assert normalised("it's 3-sided") == "it's 3-sided"
    assert token_f1("a red mug", "the red cup") == 0.5
    assert token_f1("", "red") == 0.0
    assert token_f1("red red", "red") == pytest.approx(2 / 3)
