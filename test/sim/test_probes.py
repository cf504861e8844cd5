"""Probes of presence are true of their image, for each kind of phrase, and do not change other items."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import AFTER, ANY, COUNTS, FIRST, NOUNS, ORDINAL, RELATION, SIZED, bare, fitting, meant, several
from shots import shot, shots, thing

from kosmos2_data.records import Record, record_of, to_json
from kosmos2_sim.descriptions import visible_things
from kosmos2_sim.items import PROBE_KINDS, absent_relations, probes
from kosmos2_sim.shapes import COLOURS, MATERIALS
from kosmos2_sim.tabletop import Tabletop

SEEDS = 12


@pytest.fixture(scope="module")
def rendered():
    """Shots of three splits, and the probes of each."""
    with Tabletop() as tabletop:
        taken = [
            tabletop.shoot(seed, split) for split in ("standard", "occluded", "far") for seed in range(SEEDS)
        ]
    return [(image, probes(image, 3)) for image in taken]


def glimpsed(taken):
    """All things of which a pixel is in the image."""
    return [thing for thing in taken.things if thing.box]


def seen(taken):
    return [thing for thing in taken.things if thing.visible >= 0.1]


def described(words):
    """The noun phrases that an expression needs to fit something: its own, and those it is related to."""
    words = bare(words)
    if found := ORDINAL.fullmatch(words):
        return [found["what"]]
    if found := RELATION.fullmatch(words):
        return [found["what"], *found["anchor"].split(" and the ")]
    if found := AFTER.fullmatch(words):
        return [found["what"]]
    first, _, rest = words.partition(" ")
    return [rest] if first in FIRST or first in SIZED else [words]


def kind_of(words):
    """The kind of an expression, read from its words."""
    words = bare(words)
    if ORDINAL.fullmatch(words):
        return "ordinal"
    if RELATION.fullmatch(words):
        return "relation"
    first = words.split()[0]
    if AFTER.fullmatch(words) or first in FIRST:
        return "position"
    if first in SIZED:
        return "size"
    return "attribute" if " " in words else "name"


def check_present(words, box, taken):
    [thing] = meant(words, seen(taken))
    assert box == thing.box, words
    assert thing.visible >= 0.35, words


def check_absent(words, taken):
    """A noun phrase in it fits nothing; or nothing is where it says, or so manieth in a row."""
    missing = [name for name in described(words) if not fitting(glimpsed(taken), name)]
    assert len(missing) <= 1, words
    first, *anchors = described(words)
    assert first in missing or fitting(seen(taken), first), words
    for anchor in anchors:
        assert anchor in missing or len(meant(anchor, seen(taken))) == 1, words
    if not missing:
        assert kind_of(words) in ("relation", "ordinal"), words
        assert meant(words, seen(taken)) == [], words


def check_set(words, boxes, taken):
    """All things that it fits, from left to right."""
    things = several(glimpsed(taken), words)
    assert {thing.box for thing in things} == set(boxes), words
    assert len(boxes) != 1, words
    assert [box.x1 for box in boxes] == sorted(box.x1 for box in boxes)
    assert all(thing.visible >= 0.35 for thing in things)


def check(taken, item):
    assert item.task == "locate"
    assert item.kind in PROBE_KINDS
    for phrase in item.text.phrases:
        words = item.text.words_of(phrase)
        if item.kind == "set":
            check_set(words, phrase.boxes, taken)
            continue
        if item.kind != "command":
            assert words == item.text.text
            assert kind_of(words) == item.kind
        if phrase.boxes:
            check_present(words, *phrase.boxes, taken)
        else:
            assert phrase.boxes == ()
            check_absent(words, taken)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shots(), st.integers(0, 9))
def test_probes_are_true(taken, seed):
    for item in probes(replace(taken, seed=seed), 4):
        check(taken, item)


def test_the_texts_of_rendered_images_are_true(rendered):
    for taken, items in rendered:
        for item in items:
            check(taken, item)


def test_no_pixel_is_of_an_absent_thing(rendered):
    """By the mask, not by what the things say of themselves."""
    for taken, items in rendered:
        marks = set(np.unique(taken.mask)) - {0}
        visible = [thing for thing in taken.things if thing.mark in marks]
        for item in items:
            if item.kind not in ("name", "attribute") or item.text.phrases[0].boxes:
                continue
            *colour, noun = bare(item.text.text).split()
            shapes = {thing.shape for thing in visible if not colour or thing.colour == colour[0]}
            assert not shapes if noun in ANY else NOUNS[noun] not in shapes


def test_the_box_of_a_present_probe_is_around_the_pixels_of_its_thing(rendered):
    for taken, items in rendered:
        height, width = taken.mask.shape
        boxes = set()
        for mark in set(np.unique(taken.mask)) - {0}:
            rows, columns = np.nonzero(taken.mask == mark)
            boxes.add((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        for item in items:
            for phrase in item.text.phrases:
                for box in phrase.boxes:
                    assert tuple(round(corner) for corner in box.pixels(width, height)) in boxes


def test_every_kind_is_probed_with_present_and_absent_phrases(rendered):
    counts = Counter(
        (item.kind, all(phrase.boxes for phrase in item.text.phrases))
        for _, items in rendered
        for item in items
    )
    assert set(counts) == {(kind, present) for kind in PROBE_KINDS for present in (True, False)}
    for (kind, present), count in counts.items():
        most = 3 * len(rendered)
        assert count == most if not present else 0.15 * most < count <= most, kind
    assert PROBE_KINDS == ("name", "attribute", "size", "position", "ordinal", "relation", "command", "set")


def test_names_are_bare_and_attributes_are_not(rendered):
    for _, items in rendered:
        for item in items:
            *adjectives, noun = bare(item.text.text).split()
            if item.kind == "name":
                assert noun in NOUNS
                assert adjectives == []
            if item.kind == "attribute":
                assert adjectives
                assert set(adjectives) <= {*COLOURS, *MATERIALS}


def test_some_absent_attributes_are_hard():
    """The colour is in the image, and the shape is, but not together."""
    taken = shot(thing("mug", "red", 0.2), thing("ball", "blue", 0.8))
    words = {
        bare(item.text.text)
        for seed in range(20)
        for item in probes(replace(taken, seed=seed), 4)
        if item.kind == "attribute" and not item.text.phrases[0].boxes
    }
    assert {"blue mug", "red ball"} <= words
    assert words & {"green mug", "red cone", "pink object"}


def test_absent_relations_lack_the_thing_or_what_it_is_related_to_or_the_relation(rendered):
    lacking = Counter()
    for taken, _ in rendered:
        for item in probes(taken, 12):
            words = item.text.text
            if item.kind == "relation" and not item.text.phrases[0].boxes:
                first, *anchors = described(words)
                missing = [name for name in (first, *anchors) if not fitting(glimpsed(taken), name)]
                lacking["relation" if not missing else "thing" if first in missing else "anchor"] += 1
                lacking["between"] += " between " in words
    total = lacking["anchor"] + lacking["thing"] + lacking["relation"]
    assert lacking["relation"] / total == pytest.approx(0.35, abs=0.06)
    assert lacking["anchor"] / total == pytest.approx(0.65 * 0.25, abs=0.06)
    assert lacking["between"] > 0


def test_some_absent_ordinals_count_further_than_there_are_things():
    taken = shot(thing("mug", "red", 0.2), thing("mug", "blue", 0.8))
    words = {
        bare(item.text.text)
        for seed in range(20)
        for item in probes(replace(taken, seed=seed), 4, kinds=["ordinal"])
    }
    beyond = {text for text in words if " mug from " in text and "red" not in text and "blue" not in text}
    assert {text.split()[0] for text in beyond} == {"third", "fourth"}


def test_sets_are_counted_and_uncounted_plurals(rendered):
    sets = [item for _, items in rendered for item in items if item.kind == "set"]
    present = [item for item in sets if item.text.phrases[0].boxes]
    sizes = Counter(len(item.text.phrases[0].boxes) for item in present)
    assert {2, 3, 4} <= set(sizes) <= {2, 3, 4, 5, 6}
    counted = [item for item in present if COUNTS.keys() & set(item.text.text.split())]
    assert 0.2 < len(counted) / len(present) < 0.6


def test_relations_need_something_to_relate_to():
    alike = shot(thing("mug", "red", 0.2), thing("mug", "red", 0.8))
    words = [
        expression.words for expression in absent_relations(visible_things(alike), np.random.default_rng(0))
    ]
    assert words
    assert all(fitting(alike.things, described(phrase)[0]) for phrase in words)  # only the anchor is absent


def test_nothing_is_absent_of_which_a_pixel_is_seen():
    taken = shot(thing("mug"), thing("ball", "blue", visible=0.02))
    words = {
        described(item.text.words_of(phrase))[0]
        for seed in range(20)
        for item in probes(replace(taken, seed=seed), 6)
        for phrase in item.text.phrases
        if not phrase.boxes and kind_of(item.text.words_of(phrase)) != "relation"
    }
    assert not {"ball", "sphere", "blue ball", "blue object"} & words
    assert {"red ball", "blue mug"} <= words


def test_absent_commands_have_an_absent_phrase_and_often_a_present_one(rendered):
    forms = Counter()
    for _, items in rendered:
        for item in items:
            if item.kind == "command":
                forms[tuple(bool(phrase.boxes) for phrase in item.text.phrases)] += 1
    assert set(forms) == {(True,), (False,), (True, True), (True, False), (False, True), (False, False)}
    kinds = Counter(
        kind_of(item.text.words_of(phrase))
        for _, items in rendered
        for item in items
        for phrase in item.text.phrases
        if item.kind == "command" and not phrase.boxes
    )
    assert set(kinds) >= {"attribute", "size", "position", "relation"}


def test_a_shot_has_the_same_probes_at_every_call_and_more_where_more_are_wanted(rendered):
    for taken, items in rendered[:6]:
        assert probes(taken, 3) == items
        fewer = probes(taken, 1)
        assert set(fewer) < set(items)
        assert max(Counter((item.kind, bool(item.text.phrases[0].boxes)) for item in fewer).values()) <= 2
        many = probes(taken, 60)
        assert len(set(many)) == len(many)
    assert probes(rendered[0][0], 3) != probes(replace(rendered[0][0], seed=99), 3)


def test_probes_of_some_kinds_are_those_that_they_are_among_all_kinds(rendered):
    for taken, items in rendered[:6]:
        chosen = probes(taken, 3, kinds=("relation", "name"))
        assert set(chosen) == {item for item in items if item.kind in ("relation", "name")}


def test_balanced_probes_have_no_more_absent_than_present_items_of_a_kind(rendered):
    for taken, _ in rendered[:6]:
        all_absent = Counter(item.kind for item in probes(taken, 3) if not item.text.phrases[0].boxes)
        items = [item for item in probes(taken, 3, balanced=True) if item.kind != "command"]
        present = Counter(item.kind for item in items if item.text.phrases[0].boxes)
        absent = Counter(item.kind for item in items if not item.text.phrases[0].boxes)
        assert all(count == min(max(1, present[kind]), all_absent[kind]) for kind, count in absent.items())


def test_only_the_given_shapes_are_said_to_be_absent():
    taken = shot(thing("mug"), thing("mug", "blue", 0.2))
    texts = " ".join(item.text.text for item in probes(taken, 20, ("mug", "hammer")))
    words = set(re.findall(r"[a-z]+", texts))
    assert "hammer" in words
    assert not {"egg", "ball", "banana", "sphere", "box"} & words


def test_an_image_of_nothing_has_absent_probes_alone():
    items = probes(shot(), 2)
    assert {item.kind for item in items} == set(PROBE_KINDS) - {"relation"}
    assert not any(phrase.boxes for item in items for phrase in item.text.phrases)


def test_probes_are_records(rendered):
    for _, items in rendered[:6]:
        again = record_of(to_json(Record("image.jpg", items)))
        assert [(item.kind, item.text.text) for item in again.items] == [
            (item.kind, item.text.text) for item in items
        ]
