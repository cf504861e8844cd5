"""Grounded Markdown: what is written is read as it was, and nothing is read that was not written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_core.markdown import GroundedText, Phrase, parse, write


def phrases_of(markdown):
    grounded = parse(markdown)
    return [(grounded.of(phrase), phrase.boxes) for phrase in grounded.phrases]


def test_the_contract_s_example():
    grounded = parse(
        "put [the red mug](0.12,0.30,0.25,0.51) into [the bowl](0.5,0.4,0.8,0.7;0.1,0.1,0.2,0.2)"
    )
    assert grounded.text == "put the red mug into the bowl"
    mug, bowl = grounded.phrases
    assert (mug.start, mug.end, mug.boxes) == (4, 15, (Box(0.12, 0.3, 0.25, 0.51),))
    assert (bowl.start, bowl.end) == (21, 29)
    assert bowl.boxes == (Box(0.5, 0.4, 0.8, 0.7), Box(0.1, 0.1, 0.2, 0.2))


@pytest.mark.parametrize(
    ("markdown", "text", "phrases"),
    [
        ("pick up [the mug]", "pick up the mug", [("the mug", None)]),
        ("[the mug]() is gone", "the mug is gone", [("the mug", ())]),
        ("[the mug]( )", "the mug", [("the mug", ())]),
        ("see [the manual](http://x.y)", "see [the manual](http://x.y)", []),
        ("[a](0.1,0.2,0.3)", "[a](0.1,0.2,0.3)", []),
        ("[a](0.1,0.2,0.3,0.4,0.5)", "[a](0.1,0.2,0.3,0.4,0.5)", []),
        (r"\[not a phrase\]", "[not a phrase]", []),
        (r"[a \[b\] c]", "a [b] c", [("a [b] c", None)]),
        (r"[the mug]\(big one\)", "the mug(big one)", [("the mug", None)]),
        (r"a\b \\ c", r"a\b \ c", []),
        ("[] and [", "[] and [", []),
        ("[a [b] c]", "[a b c]", [("b", None)]),
        ("[ein Käfer 🐞](0,0,1,1)", "ein Käfer 🐞", [("ein Käfer 🐞", (Box(0, 0, 1, 1),))]),
        ("[a]( 1e-1 , .2,+0.30, 0.4 )", "a", [("a", (Box(0.1, 0.2, 0.3, 0.4),))]),
        ("", "", []),
    ],
)
def test_what_is_a_phrase_and_what_is_plain(markdown, text, phrases):
    assert parse(markdown).text == text
    assert phrases_of(markdown) == phrases


@pytest.mark.parametrize("box", ["0.5,0,0.4,1", "0,0,1,1.5", "0,0,0,0", "-0.1,0,1,1", "0,0,1e999,1"])
def test_a_box_that_is_none_is_said(box):
    with pytest.raises(InputError, match="x1 < x2"):
        parse(f"[the mug]({box})")


UNIT = st.floats(0, 1)
TEXT = st.text(st.sampled_from("ab é🤖[]()\\,;.0 \n") | st.characters(codec="utf-8"), max_size=30)


@st.composite
def grounded_texts(draw):
    text = draw(TEXT)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
    phrases = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=False):
        boxes = None
        if draw(st.booleans()):
            numbers = draw(
                st.lists(st.lists(UNIT, min_size=4, max_size=4, unique=True).map(sorted), max_size=3)
            )
            boxes = tuple(Box(a, b, c, d) for a, b, c, d in numbers)
        phrases.append(Phrase(start, end, boxes))
    return GroundedText(text, tuple(phrases))


def rounded(grounded):
    return [
        (
            phrase.start,
            phrase.end,
            phrase.boxes and [pytest.approx(b.pixels(1, 1), abs=1e-6) for b in phrase.boxes],
        )
        for phrase in grounded.phrases
    ]


@given(grounded_texts())
def test_writing_and_reading_loses_nothing_but_digits(grounded):
    again = parse(write(grounded))
    assert again.text == grounded.text
    assert rounded(grounded) == [
        (p.start, p.end, p.boxes and [b.pixels(1, 1) for b in p.boxes]) for p in again.phrases
    ]


@given(st.text(st.sampled_from("[]()\\ab0.,;1 "), max_size=60))
def test_any_text_is_read_and_what_was_read_is_stable(markdown):
    try:
        grounded = parse(markdown)
    except InputError:  # a box that is none
        return
    assert parse(write(grounded)).text == grounded.text


@pytest.mark.parametrize("unit", ["[", "[a](", "[a", "\\", "[a](0,", "[a](1.1.1", "]](", "[\\"])
def test_a_megabyte_of_brackets_is_read_like_any_text(unit):
    """Quadratic time would take minutes."""
    text = unit * (1_000_000 // len(unit))
    assert len(parse(text).text) <= len(text)


@pytest.mark.parametrize("spans", [[(0, 0)], [(2, 1)], [(0, 3), (2, 4)], [(0, 99)], [(3, 4), (0, 1)]])
def test_spans_that_cannot_be_are_refused(spans):
    with pytest.raises(InputError, match="span"):
        GroundedText("text here", tuple(Phrase(*span) for span in spans))


def test_numpy_s_numbers_are_written_as_numbers():
    box = Box(*np.array([0.1, 0.2, 0.3, 0.4]))
    assert write(GroundedText("a mug", (Phrase(0, 5, (box,)),))) == "[a mug](0.1,0.2,0.3,0.4)"
