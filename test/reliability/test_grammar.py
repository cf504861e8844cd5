"""Row 10: whatever ids come, what is parsed of them is sound, and parsing takes linear work."""

import math
import random
import sys
from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
import pytest
import torch

from kosmos2_core.boxes import box_of_cells
from kosmos2_core.decoding import Decoding
from kosmos2_core.grounded_text import parse_ids
from kosmos2_core.requests import Caption, Locate

ROW = pytest.mark.row(
    *(10, "grammar: random ids, most of them control tokens"),
    "1,000,000 sequences; boxes finite, in [0, 1], x1 < x2, y1 < y2; parsing linear",
)


def sound(box):
    finite = all(map(math.isfinite, (box.x1, box.y1, box.x2, box.y2)))
    return finite and 0 <= box.x1 < box.x2 <= 1 and 0 <= box.y1 < box.y2 <= 1


def make_fragments(tokenizer, number):
    """Short runs of ids, right and wrong: put together at random, some groups are well-formed and most are
    not."""
    control, rng = tokenizer.control, random.Random(0)
    marks = (control.phrase, control.phrase_end, control.object, control.object_end, control.another)

    def location():
        return rng.choice(control.locations)

    def any_id():
        return rng.randrange(tokenizer.size + 3)  # also of no piece

    words = [number for number in range(tokenizer.size) if number not in tokenizer.control_ids]

    def phrase():
        return [control.phrase, rng.choice(words), control.phrase_end]

    kinds = (
        phrase,
        lambda: [*phrase(), control.object, location(), location()],
        lambda: [control.object, location(), location()],
        lambda: [control.another, location(), location()],
        lambda: [control.object_end],
        lambda: [rng.choice(marks)],
        lambda: [location()],
        lambda: [any_id()],
    )
    return [rng.choice(kinds)() for _ in range(number)]


def make_sequences(fragments, number, block=10_000):
    """0 to about 40 ids each."""
    rng = np.random.default_rng(0)
    for start in range(0, number, block):
        lengths = rng.integers(0, 18, min(block, number - start))
        for picks in np.split(rng.integers(len(fragments), size=lengths.sum()), lengths.cumsum()[:-1]):
            yield list(chain.from_iterable(map(fragments.__getitem__, picks.tolist())))


@ROW
def test_boxes_parsed_from_random_ids_are_sound(tokenizer, count, record_property):
    fragments = make_fragments(tokenizer, 4096)
    number, boxes, dropped = count(1_000_000, 30_000), 0, 0
    huge = (fragment * 200_000 for fragment in fragments[:4])
    for ids in chain(make_sequences(fragments, number), huge):
        spoken = parse_ids(tokenizer, ids)
        grounded = spoken.grounded(tokenizer.control.grid)  # checks the spans
        for phrase in grounded.phrases:
            assert all(map(sound, phrase.boxes)), ids
            boxes += len(phrase.boxes)
        dropped += spoken.dropped
    assert boxes > number // 50
    assert dropped > number // 2
    figure = f"{number:,} sequences, {boxes:,} boxes, all sound, {dropped:,} malformed groups left out"
    record_property("figure", figure)


# What the engine makes of them: a model that says each kind of token equally often.


@pytest.fixture(scope="module")
def babbler(tokenizer, make_speaker):
    control = tokenizer.control
    scores = torch.full((tokenizer.size,), -math.log(tokenizer.size))
    scores[list(tokenizer.control_ids)] = -30
    scores[list(control.locations)] = -math.log(len(control.locations))
    for mark in (control.phrase, control.phrase_end, control.object, control.object_end, control.another):
        scores[mark] = -1
    scores[control.end] = -4
    return make_speaker(scores)


@ROW
@pytest.mark.parametrize("released", [False, True])
def test_boxes_of_answers_at_random_are_sound(babbler, picture, count, released, record_property):
    """With the grammar, what a finished answer says is well-formed; without it, hardly anything is."""
    number = count(1000, 100)
    decoding = Decoding(max_new_tokens=40, temperature=1.0, seed=0, released=released)
    answers = babbler.look(picture).run(*[Caption()] * number, decoding=decoding)
    boxes = [box for answer in answers for entity in answer.phrases for box in entity.boxes]
    assert all(map(sound, boxes))
    malformed = sum(answer.dropped > 0 for answer in answers if answer.finished)
    assert malformed > number // 10 if released else malformed == 0 and len(boxes) > number
    kind = "released answers" if released else "answers by the grammar"
    record_property("figure", f"{number:,} {kind}, {len(boxes):,} boxes, {malformed:,} malformed")


@ROW
def test_boxes_of_the_search_are_sound(engine, picture, count, record_property):
    rng, number = random.Random(0), count(500, 30)
    words = ("the", "red", "mug", "bowl", "left", "of", "a", "can", "on", "old", "table")
    requests = [
        Locate(" ".join(rng.choices(words, k=3)), max_boxes=8, min_presence=0.0) for _ in range(number)
    ]
    boxes = 0
    for answer in engine.look(picture).run(*requests):
        [entity] = answer.phrases
        for box, cells in zip(entity.boxes, entity.cells, strict=True):
            assert sound(box)
            assert 0 <= box.score <= 1
            whole = box_of_cells(*cells, engine.control.grid)
            assert (box.x1, box.y1, box.x2, box.y2) == (whole.x1, whole.y1, whole.x2, whole.y2)
            boxes += 1
    assert boxes >= number
    record_property("figure", f"{number:,} searches, {boxes:,} boxes")


# How much work it is.


class Counted(Sequence):
    """Ids that count how often one of them is read, in slices too."""

    def __init__(self, ids):
        self.ids, self.reads = ids, 0

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, at):
        found = self.ids[at]
        self.reads += len(found) if isinstance(at, slice) else 1
        return found


def work(tokenizer, ids):
    """Calls of functions, ours and Python's, and ids read."""
    counted, calls, before = Counted(ids), 0, sys.getprofile()

    def profile(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        parse_ids(tokenizer, counted)
    finally:
        sys.setprofile(before)
    return calls + counted.reads


@ROW
def test_twice_the_ids_are_twice_the_work(tokenizer, record_property):
    fragments = make_fragments(tokenizer, 512)
    control = tokenizer.control
    opened = [control.phrase, 50, control.phrase_end, control.object, control.location]
    mixed = list(chain.from_iterable(fragments))
    ratios = []
    for unit in ([control.phrase], [control.object], [control.location], [50], opened, mixed):
        ids = unit * (1000 // len(unit) + 1)
        steps = [work(tokenizer, ids * times) for times in (1, 2, 4, 8)]
        ratios += [longer / shorter for shorter, longer in pairwise(steps)]
    record_property("figure", f"twice the ids are {max(ratios):.2f} times the work at most")
    assert max(ratios) <= 2.05
