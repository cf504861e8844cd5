"""Grounded text to ids as the peer makes them, and generated ids to grounded text."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2_core.boxes import Box, decode
from kosmos2_core.markdown import GroundedText, Phrase, parse
from kosmos2_core.tokens import encode_grounded, parse_ids

WORDS = ["the", "red", "mug", "is", "left", "of", "a", "blue", "bowl", "on", "an", "old", "wooden", "table"]
RANDOM = random.Random(0)


def random_box():
    left, top = RANDOM.randrange(32), RANDOM.randrange(32)
    return decode(top * 32 + left, RANDOM.randrange(top, 32) * 32 + RANDOM.randrange(left, 32))


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
        text += f"{grounded.text[end : phrase.start]}<phrase>{grounded.of(phrase)}</phrase>"
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
    grounded = parse(
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
    some = st.sampled_from(special) | st.integers(0, tokenizer.size + 5) | st.sampled_from(control.locations)
    spoken = parse_ids(tokenizer, data.draw(st.lists(some, max_size=40)))
    grounded = spoken.grounded(control.grid)  # checks spans and boxes
    assert all(isinstance(box, Box) for phrase in grounded.phrases for box in phrase.boxes)
    assert all(grounded.of(phrase) == grounded.of(phrase).lstrip() for phrase in grounded.phrases)


@pytest.mark.parametrize(
    "unit", ["[phrase]", "[object]", "[phrase] the", "[object] [3]", f"{MUG} [object] [0]"]
)
def test_half_a_million_ids_are_parsed_like_any(tokenizer, unit):
    """Quadratic time would take hours."""
    ids = ids_of(tokenizer, unit)
    assert parse_ids(tokenizer, ids * (500_000 // len(ids))).dropped > 1000
