"""An expression fits the thing in its box, and nothing else in the image."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import NOUNS, RELATION, bare, fitting, meant
from shots import shot, shots, thing

from kosmos2_sim.expressions import expressions
from kosmos2_sim.tabletop import Tabletop


def check(item, taken):
    """That an expression is one phrase, and fits what its box says."""
    words, [phrase] = item.text.text, item.text.phrases
    assert item.text.words_of(phrase) == words == words.lower()
    assert words.isascii()
    assert not words.endswith(".")
    if item.kind == "absent":
        assert phrase.boxes == ()
        assert fitting([thing for thing in taken.things if thing.box], bare(words)) == []
        return
    [thing] = meant(words, [thing for thing in taken.things if thing.visible >= 0.1])
    assert phrase.boxes == (thing.box,)
    assert thing.visible >= 0.35
    assert min(thing.box.x2 - thing.box.x1, thing.box.y2 - thing.box.y1) * 224 >= 10


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shots(), st.integers(0, 9))
def test_an_expression_fits_one_thing_and_the_absent_none(taken, seed):
    for item in expressions(taken, np.random.default_rng(seed)):
        check(item, taken)


@pytest.mark.parametrize("split", ["train", "occluded", "far"])
def test_expressions_are_true_of_rendered_images(split):
    kinds = Counter()
    with Tabletop() as tabletop:
        for seed in range(8):
            taken = tabletop.shoot(seed, split)
            items = expressions(taken, np.random.default_rng(seed))
            kinds.update(item.kind for item in items)
            for item in items:
                check(item, taken)
    assert set(kinds) >= {"attribute", "position", "relation", "size", "absent"}


def words_of(taken, kind, seeds=30):
    return {
        bare(item.text.text)
        for seed in range(seeds)
        for item in expressions(taken, np.random.default_rng(seed))
        if item.kind == kind
    }


def test_a_hardly_visible_thing_is_no_referent_but_makes_names_ambiguous():
    whole, hidden = thing("mug", "red", 0.2), thing("mug", "blue", 0.8, visible=0.2)
    assert "mug" in words_of(shot(whole), "attribute")
    words = words_of(shot(whole, hidden), "attribute")
    assert "mug" not in words
    assert "red mug" in words
    assert not any("blue" in phrase for phrase in words)


def test_a_thing_with_one_visible_pixel_is_not_absent():
    everywhere = words_of(shot(thing("mug")), "absent")
    assert "ball" in everywhere
    glimpsed = words_of(shot(thing("mug"), thing("ball", "blue", visible=0.02)), "absent")
    assert not {"ball", "sphere", "blue ball", "blue object"} & glimpsed
    assert {"red ball", "blue mug"} <= glimpsed


def test_sides_need_a_clear_margin():
    apart = words_of(shot(thing("mug", x=0.3), thing("mug", x=0.4)), "position")
    assert {"left mug", "mug on the right", "leftmost mug"} <= apart
    assert not words_of(shot(thing("mug", x=0.35), thing("mug", x=0.4)), "position")


def test_front_and_back_need_a_clear_margin():
    apart = words_of(shot(thing("mug", y=0.3), thing("mug", y=0.6)), "position")
    assert {"front mug", "mug at the back", "mug closest to the camera"} <= apart
    assert not words_of(shot(thing("mug", y=0.5), thing("mug", y=0.55)), "position")


def test_size_words_need_a_contrast():
    small, large = thing("mug", x=0.2, size="small"), thing("mug", x=0.8, size="large")
    assert {"small mug", "big mug", "smaller mug", "largest mug"} <= words_of(shot(small, large), "size")
    assert not words_of(shot(small), "size")
    medium = words_of(shot(small, thing("mug", x=0.8)), "size")
    assert "bigger mug" in medium
    assert "large mug" not in medium


def test_the_nearest_is_clearly_nearer():
    plate = thing("plate", "white", 0.5, 0.5)
    clear = words_of(shot(plate, thing("mug", x=0.65), thing("mug", x=0.1)), "relation")
    assert {"mug next to the plate", "mug closest to the plate"} <= clear
    tied = words_of(shot(plate, thing("mug", x=0.65), thing("mug", x=0.36)), "relation")
    assert not any("next to the plate" in phrase or "closest" in phrase for phrase in tied)


def test_ordinals_count_only_clearly_separate_things():
    row = [thing("cube", x=x) for x in (0.2, 0.4, 0.6)]
    assert "second cube from the left" in words_of(shot(*row), "ordinal")
    assert not words_of(shot(*row, thing("cube", x=0.63, y=0.8)), "ordinal")
    assert not words_of(shot(*row, thing("cube", x=0.8, visible=0.2)), "ordinal")


def test_most_relations_are_needed():
    """Where the words before the relation fit several."""
    needed = several = 0
    with Tabletop() as tabletop:
        for seed in range(6):
            taken = tabletop.shoot(seed, "train")
            seen = [thing for thing in taken.things if thing.visible >= 0.1]
            for item in expressions(taken, np.random.default_rng(seed)):
                if item.kind == "relation":
                    found = RELATION.fullmatch(bare(item.text.text))
                    needed += 1
                    several += len(fitting(seen, found["what"])) > 1
    assert several >= needed / 2 > 0


def test_half_of_the_absent_is_hard():
    """Its shape is in the image, and its colour, but not together."""
    taken = shot(thing("mug", "red", 0.2), thing("ball", "blue", 0.5), thing("can", "green", 0.8))
    items = expressions(taken, np.random.default_rng(0))
    words = [item.text.text.split() for item in items if item.kind == "absent"]
    hard = [
        NOUNS.get(phrase[-1]) in ("mug", "ball", "can") and not {"red", "blue", "green"}.isdisjoint(phrase)
        for phrase in words
    ]
    assert all(hard[index] != hard[index + 1] for index in range(0, 10, 2))


def test_a_word_that_some_would_use_otherwise_is_not_used():
    """A box is a block to some."""
    cubes = shot(thing("cube", x=0.3), thing("box", "blue", 0.7))
    assert "cube" in words_of(cubes, "attribute")
    assert "block" not in words_of(cubes, "attribute")
    assert "block" in words_of(shot(thing("cube")), "attribute")


def test_a_hammer_is_named_only_where_there_is_one():
    assert not any(
        "hammer" in phrase
        for kind in ("attribute", "absent")
        for phrase in words_of(shot(thing("mug")), kind)
    )
    assert "hammer" in words_of(shot(thing("hammer"), thing("mug", x=0.2)), "attribute")


def test_the_same_is_drawn_for_the_same_number():
    taken = shot(*(thing("mug", "red", x) for x in (0.2, 0.5, 0.8)))
    assert expressions(taken, np.random.default_rng(1)) == expressions(taken, np.random.default_rng(1))
