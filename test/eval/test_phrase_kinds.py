"""What a phrase tells its thing by."""

import pytest

from kosmos2_eval.phrase_kinds import kind_of


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
