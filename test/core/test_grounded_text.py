"""Grounded Markdown: what is written is read as it was, and nothing is read that was not written."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2_core.boxes import Box, box_of_cells
from kosmos2_core.errors import InputError
from kosmos2_core.grounded_text import (
    GroundedText,
    Phrase,
    encode_grounded,
    parse_ids,
    parse_markdown,
    write_markdown,
)


def phrases_of(markdown):
    grounded = parse_markdown(markdown)
    return [(grounded.words_of(phrase), phrase.boxes) for phrase in grounded.phrases]


def test_the_contract_s_example():
    grounded = parse_markdown(
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
    assert parse_markdown(markdown).text == text
    assert phrases_of(markdown) == phrases


@pytest.mark.parametrize("box", ["0.5,0,0.4,1", "0,0,1,1.5", "0,0,0,0", "-0.1,0,1,1", "0,0,1e999,1"])
def test_a_box_that_is_none_is_said(box):
    with pytest.raises(InputError, match="x1 < x2"):
        parse_markdown(f"[the mug]({box})")


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
    again = parse_markdown(write_markdown(grounded))
    assert again.text == grounded.text
    assert rounded(grounded) == [
        (p.start, p.end, p.boxes and [b.pixels(1, 1) for b in p.boxes]) for p in again.phrases
    ]


@given(st.text(st.sampled_from("[]()\\ab0.,;1 "), max_size=60))
def test_any_text_is_read_and_what_was_read_is_stable(markdown):
    try:
        grounded = parse_markdown(markdown)
    except InputError:  # a box that is none
        return
    assert parse_markdown(write_markdown(grounded)).text == grounded.text


@pytest.mark.parametrize("unit", ["[", "[a](", "[a", "\\", "[a](0,", "[a](1.1.1", "]](", "[\\"])
def test_a_megabyte_of_brackets_is_read_like_any_text(unit):
    """Quadratic time would take minutes."""
    text = unit * (1_000_000 // len(unit))
    assert len(parse_markdown(text).text) <= len(text)


@pytest.mark.parametrize("spans", [[(0, 0)], [(2, 1)], [(0, 3), (2, 4)], [(0, 99)], [(3, 4), (0, 1)]])
def test_spans_that_cannot_be_are_refused(spans):
    with pytest.raises(InputError, match="span"):
        GroundedText("text here", tuple(Phrase(*span) for span in spans))


def test_numpy_s_numbers_are_written_as_numbers():
    box = Box(*np.array([0.1, 0.2, 0.3, 0.4]))
    assert write_markdown(GroundedText("a mug", (Phrase(0, 5, (box,)),))) == "[a mug](0.1,0.2,0.3,0.4)"


WORDS = ["the", "red", "mug", "is", "left", "of", "a", "blue", "bowl", "on", "an", "old", "wooden", "table"]
RANDOM = random.Random(0)


def random_box():
    left, top = RANDOM.randrange(32), RANDOM.randrange(32)
    return box_of_cells(top * 32 + left, RANDOM.randrange(top, 32) * 32 + RANDOM.randrange(left, 32))


def random_grounded():
    """A sentence with phrases and boxes, words separated by single spaces."""
    pieces, phrases, length = [], [], 0
    for number in range(RANDOM.randrange(1, 7)):
        words = " ".join(RANDOM.choices(WORDS, k=RANDOM.randrange(1, 5)))
        start = length + (1 if number else 0)
        if RANDOM.random() < 0.6:
            boxes = tuple(random_box() for _ in range(RANDOM.randrange(0, 4)))
            phrases.append(Phrase(start, start + len(words), boxes))
        pieces.append(words)
        length = start + len(words)
    return GroundedText(" ".join(pieces), tuple(phrases))


GROUNDED = [random_grounded() for _ in range(200)]


def peer_ids(processor, grounded):
    """The peer takes marked text and lists of boxes."""
    text, boxes, end = "", [], 0
    for phrase in grounded.phrases:
        text += f"{grounded.text[end : phrase.start]}<phrase>{grounded.words_of(phrase)}</phrase>"
        boxes.append([(box.x1, box.y1, box.x2, box.y2) for box in phrase.boxes] or None)
        end = phrase.end
    text += grounded.text[end:]
    return processor(text=text, bboxes=boxes or None, add_special_tokens=False).input_ids


@pytest.mark.parametrize("grounded", GROUNDED)
def test_ids_are_the_peer_s(tokenizer, processor, grounded):
    assert encode_grounded(tokenizer, grounded) == peer_ids(processor, grounded)


@pytest.mark.parametrize("grounded", GROUNDED)
def test_what_was_encoded_is_what_is_parsed(tokenizer, grounded):
    spoken = parse_ids(tokenizer, encode_grounded(tokenizer, grounded))
    assert spoken.dropped == 0
    assert spoken.grounded(32) == grounded


def test_punctuation_after_a_phrase_stays_where_it_was(tokenizer):
    grounded = parse_markdown(
        "put [the mug](0.1,0.1,0.5,0.5), [the can](0.2,0.2,0.9,0.9) and [the bowl](0.6,0.6,0.9,0.9)."
    )
    assert parse_ids(tokenizer, encode_grounded(tokenizer, grounded)).text == grounded.text


def ids_of(tokenizer, text):
    """Words, and control tokens by the names of Control's fields: `[phrase] the mug [phrase_end] [3]`."""
    ids = []
    for part in text.split():
        if part.startswith("["):
            name = part[1:-1]
            control = tokenizer.control
            ids.append(control.location + int(name) if name.isdigit() else getattr(control, name))
        else:
            ids += tokenizer.encode(part)
    return ids


MUG = "[phrase] the mug [phrase_end]"


@pytest.mark.parametrize(
    ("generated", "text", "phrases", "dropped"),
    [
        (f"{MUG} [object] [0] [33] [object_end]", "the mug", [("the mug", [(0, 33)])], 0),
        (f"{MUG} [object] [0] [33] [another] [1] [34] [object_end] here", "the mug here", None, 0),
        (f"a {MUG} b", "a the mug b", [("the mug", [])], 0),
        (f"{MUG} [object] [33] [0] [object_end]", "the mug", [("the mug", [])], 1),  # the wrong way round
        (f"{MUG} [object] [33] [0] [another] [0] [33] [object_end]", "the mug", [("the mug", [(0, 33)])], 1),
        (f"{MUG} [object] [0] [object_end]", "the mug", [("the mug", [])], 1),
        (f"{MUG} [object] [0] [33]", "the mug", [("the mug", [])], 1),
        (f"{MUG} [object] [object_end]", "the mug", [("the mug", [])], 1),
        (f"{MUG} [object] [0] [33] [1] [object_end] on", "the mug on", [("the mug", [])], 1),
        (f"{MUG} [object] the [0] [33] [object_end]", "the mug the", [("the mug", [])], 2),
        ("[phrase] the mug", "the mug", [], 1),
        ("[phrase] the [phrase] mug [phrase_end]", "the mug", [("mug", [])], 1),
        ("[phrase] [phrase_end] mug", "mug", [], 1),
        ("[object] [0] [33] [object_end] mug", "mug", [], 1),
        ("[0] [33] mug", "mug", [], 1),
        ("the [image] [grounding] [pad] mug [end]", "the mug", [], 0),
        ("", "", [], 0),
    ],
)
def test_malformed_groups_are_left_out_and_counted(tokenizer, generated, text, phrases, dropped):
    spoken = parse_ids(tokenizer, ids_of(tokenizer, generated))
    assert spoken.text == text
    if phrases is not None:
        assert [(spoken.text[p.start : p.end], list(p.pairs)) for p in spoken.phrases] == phrases
    assert spoken.dropped == dropped


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_any_ids_say_something_sound(tokenizer, data):
    control = tokenizer.control
    special = [control.phrase, control.phrase_end, control.object, control.object_end, control.another]
    any_id = (
        st.sampled_from(special) | st.integers(0, tokenizer.size + 5) | st.sampled_from(control.locations)
    )
    spoken = parse_ids(tokenizer, data.draw(st.lists(any_id, max_size=40)))
    grounded = spoken.grounded(control.grid)  # checks spans and boxes
    assert all(isinstance(box, Box) for phrase in grounded.phrases for box in phrase.boxes)
    assert all(grounded.words_of(phrase) == grounded.words_of(phrase).lstrip() for phrase in grounded.phrases)


@pytest.mark.parametrize(
    "unit", ["[phrase]", "[object]", "[phrase] the", "[object] [3]", f"{MUG} [object] [0]"]
)
def test_half_a_million_ids_are_parsed_like_any(tokenizer, unit):
    """Quadratic time would take hours."""
    ids = ids_of(tokenizer, unit)
    assert parse_ids(tokenizer, ids * (500_000 // len(ids))).dropped > 1000
