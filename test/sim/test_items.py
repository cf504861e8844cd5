"""Items of all kinds are true of their image, and are drawn with their weights."""

import hashlib
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import NOUNS, bare, fitting, meant, related
from shots import shot, shots, thing

from kosmos2_core.command_parser import split_command as mark
from kosmos2_data.records import Record, record_of, to_json
from kosmos2_sim.commands import INTO, ONTO, WITH_ONE_PHRASE, WITH_TWO_PHRASES
from kosmos2_sim.items import WEIGHTS, items
from kosmos2_sim.shapes import MATERIALS, SIZES
from kosmos2_sim.tabletop import Tabletop

DRAWN = "7e63acd0b6bede33"  # of the items of hand-made shots; a change of it is a change of all splits
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")
PLURALS = {f"{noun}s": noun for noun in NOUNS} | {"boxes": "box", "dishes": "dish", "objects": "object"}


@pytest.fixture(scope="module")
def rendered():
    """Shots of the training splits, and what is said of each."""
    with Tabletop() as tabletop:
        taken = [tabletop.shoot(seed, split) for split in ("train", "worlds") for seed in range(24)]
    return [(image, items(image, np.random.default_rng(image.seed), 16)) for image in taken]


def drawn(taken, kind, count=60, seeds=4):
    return [
        item
        for seed in range(seeds)
        for item in items(taken, np.random.default_rng(seed), count)
        if item.kind == kind
    ]


def seen(taken):
    return [thing for thing in taken.things if thing.visible >= 0.1]


def boxed(taken, phrase):
    """The thing in a phrase's box."""
    [box] = phrase.boxes
    return next(thing for thing in taken.things if thing.box == box)


def holds(thing, how, other):
    match how:
        case "bigger than":
            return max(thing.extent_m) > max(other.extent_m)
        case "smaller than":
            return max(thing.extent_m) < max(other.extent_m)
    return bool(related([thing], how, [other]))


def answer_to(taken, question):
    """The right answer in plain words, as this test reads the question."""
    text, things = question.text.removesuffix("?"), seen(taken)
    if question.phrases:
        thing = boxed(taken, question.phrases[0])
        if found := re.fullmatch(r"Is this an? (\w+)", text):
            return "yes" if found[1] == thing.shape else "no"
        return thing.colour if "colour" in text else f"{thing.colour} {thing.shape}"
    if found := re.fullmatch(r"What colour is (the .+)", text):
        return meant(found[1], things)[0].colour
    if found := re.fullmatch(r"How many (.+) are there", text):
        *colour, noun = found[1].split()
        return NUMBERS[len(fitting(things, " ".join([*colour, PLURALS[noun]])))]
    if found := re.fullmatch(r"Is there (.+?)( on the table)?", text):
        return "yes" if fitting(things, bare(found[1])) else "no"
    if found := re.fullmatch(r"Is (the .+?) ((?:left|right) of|in front of|behind|\w+ than) (the .+)", text):
        return "yes" if holds(meant(found[1], things)[0], found[2], meant(found[3], things)[0]) else "no"
    if found := re.fullmatch(r"What is (the .+)", text):
        return meant(found[1], things)[0].shape
    return None


def check_where(taken, item):
    """An answer with boxes: the thing asked for, and where it is."""
    text, things = item.question.text.removesuffix("?"), seen(taken)
    first = item.text.phrases[0]
    assert boxed(taken, first) == meant(item.text.words_of(first), things)[0]
    if found := re.fullmatch(r"(?:What|Which object) is (.+?) (the .+)", text):
        [anchor] = meant(found[2], things)
        assert related(things, found[1], [anchor]) == [boxed(taken, first)]
    else:
        how = re.fullmatch(r"the .+? is (.+) the .+", item.text.text)[1]
        assert text == f"Where is {item.text.words_of(first)}"
        assert holds(boxed(taken, first), how, boxed(taken, item.text.phrases[1]))


def check(taken, item):
    for phrase in item.text.phrases:
        words = item.text.words_of(phrase).lower()
        if phrase.boxes == ():
            assert fitting([thing for thing in taken.things if thing.box], bare(words)) == []
        elif item.task == "caption":
            assert boxed(taken, phrase) in fitting(taken.things, bare(words))
        elif item.task == "describe":
            size = re.match(r"a (small|large) ", words)
            assert fitting(seen(taken), bare(words).removeprefix(size[1] + " " if size else "")) == [
                boxed(taken, phrase)
            ]
        else:
            assert meant(words, seen(taken)) == [boxed(taken, phrase)]
    if item.kind == "where":
        check_where(taken, item)
    elif item.task == "ask":
        assert bare(item.text.text) == answer_to(taken, item.question)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shots(), st.integers(0, 9))
def test_items_are_true(taken, seed):
    said = items(taken, np.random.default_rng(seed), 60)
    assert len(set(said)) == len(said) > 0
    for item in said:
        check(taken, item)


def test_the_texts_of_rendered_images_are_true(rendered):
    for taken, said in rendered:
        for item in said:
            check(taken, item)


def test_shares(rendered):
    tasks = Counter(item.task for _, said in rendered for item in said)
    kinds = Counter(item.kind for _, said in rendered for item in said)
    shares = {name: count / tasks.total() for name, count in tasks.items()}
    assert shares == pytest.approx({"locate": 0.65, "caption": 0.09, "describe": 0.06, "ask": 0.2}, abs=0.03)
    assert set(kinds) == {*WEIGHTS, "brief"}
    for kind, share in WEIGHTS.items():
        assert kinds[kind] / kinds.total() == pytest.approx(share / 106, abs=0.035), kind


def test_as_many_yes_as_no(rendered):
    answers = Counter(
        item.text.text
        for taken, _ in rendered
        for item in items(taken, np.random.default_rng(1), 40)
        if item.kind in ("exists", "compare")
    )
    assert set(answers) == {"yes", "no"}
    assert answers["yes"] / answers.total() == pytest.approx(0.5, abs=0.08)


def test_an_image_gets_its_number_of_items_and_a_caption_first(rendered):
    for _, said in rendered:
        assert len(said) == 16
        assert said[0].kind == "brief"


def test_the_same_items_are_drawn_as_ever():
    """Figures of different versions can only be compared on the same items."""
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    for seed in range(12):
        things = [
            thing(
                *(str(rng.choice(options)) for options in (("mug", "ball", "box", "can"), ("red", "blue"))),
                *(int(rng.integers(3, 37)) / 40 for _ in range(2)),
                material=str(rng.choice(MATERIALS)),
                size=str(rng.choice(sorted(SIZES))),
            )
            for _ in range(2 + seed % 5)
        ]
        said = items(shot(*things), np.random.default_rng(seed), 150)
        digest.update(to_json(Record("image.jpg", said)).encode())
    assert digest.hexdigest()[:16] == DRAWN


def test_items_are_not_repeated_if_there_are_few():
    """Drawing ends where all is said."""
    said = items(shot(thing("mug")), np.random.default_rng(0), 5000)
    assert 50 < len(said) < 1000
    nothing = items(shot(), np.random.default_rng(0), 16)
    assert nothing
    assert {item.kind for item in nothing} <= {"absent", "command"}


def test_items_are_records(rendered):
    for _, said in rendered[:10]:
        again = record_of(to_json(Record("image.jpg", said)))
        assert [item.text.text for item in again.items] == [item.text.text for item in said]
        assert [item.kind for item in again.items] == [item.kind for item in said]


@pytest.mark.parametrize("template", [*WITH_ONE_PHRASE, *WITH_TWO_PHRASES, *INTO, *ONTO])
def test_commands_are_marked_as_the_splitter_would(template):
    phrases = ["the red mug", "the shiny bowl"][: template.count("{}")]
    marked = mark(template.format(*phrases))
    assert [marked.words_of(phrase) for phrase in marked.phrases] == phrases


def test_a_command_marks_its_things():
    taken = shot(thing("mug", "red", 0.2), thing("bowl", "blue", 0.5), thing("cube", "green", 0.8))
    commands = drawn(taken, "command", 100, 10)
    assert {len(item.text.phrases) for item in commands} == {1, 2}
    assert any(phrase.boxes == () for item in commands for phrase in item.text.phrases)
    into = [item.text for item in commands if " into the " in item.text.text]
    assert {boxed(taken, text.phrases[1]).shape for text in into} == {"mug", "bowl"}
    for item in commands:
        assert all(item.text.words_of(phrase).startswith("the ") for phrase in item.text.phrases)


def test_a_short_caption_names_all_from_left_to_right():
    taken = shot(thing("mug", "red", 0.8), thing("egg", "white", 0.5), thing("cube", "orange", 0.2))
    [caption] = drawn(taken, "brief", seeds=1)
    assert caption.text.text == "an orange cube, a white egg and a red mug on a table"
    assert [boxed(taken, phrase).shape for phrase in caption.text.phrases] == ["cube", "egg", "mug"]


def test_a_detailed_caption_counts_and_says_who_is_in_front():
    taken = shot(thing("mug", "red", 0.5, 0.7), thing("egg", "white", 0.3, 0.3, "shiny"))
    [caption] = drawn(taken, "detailed", seeds=1)
    assert caption.detailed
    assert caption.text.text == (
        "There are two objects on a table. From left to right: a shiny white egg and a matte red mug."
        " The egg is behind the mug."
    )
    assert len(caption.text.phrases) == 4
    half_hidden = shot(thing("mug", "red"), thing("egg", "white", 0.3, visible=0.2))
    [caption] = drawn(half_hidden, "detailed", seeds=1)
    assert caption.text.text == "From left to right: a matte red mug."


def test_a_description_has_a_size_if_there_is_a_contrast():
    small, large = thing("mug", "red", 0.2, size="small"), thing("mug", "blue", 0.8, size="large")
    together = {item.text.text for item in drawn(shot(small, large), "describe")}
    assert together == {"a small matte red mug", "a large matte blue mug"}
    assert {item.text.text for item in drawn(shot(small), "describe")} == {"a matte red mug"}


def test_a_material_is_named_only_if_it_shows():
    def texts(*things):
        return " ".join(item.text.text for item in items(shot(*things), np.random.default_rng(0), 100))

    matte, shiny = thing("mug", x=0.2), thing("mug", x=0.8, material="shiny")
    assert {"matte", "shiny"} <= set(texts(matte, shiny).split())
    assert "the shiny mug" in texts(matte, shiny)
    doubtful = thing("mug", x=0.2, shows=False)
    assert not {"matte", "shiny"} & set(texts(doubtful, thing("egg", shows=False)).split())
    assert "the shiny mug" not in texts(doubtful, shiny), "either may be meant"


def test_nothing_is_counted_if_a_thing_is_hardly_visible():
    assert drawn(shot(thing("mug"), thing("egg", x=0.2)), "count")
    assert not drawn(shot(thing("mug"), thing("egg", x=0.2, visible=0.2)), "count")
    assert drawn(shot(thing("mug"), thing("egg", x=0.2, visible=0.0)), "count")


def test_only_the_given_shapes_are_said_to_be_absent():
    taken = shot(thing("mug"), thing("mug", "blue", 0.2))
    said = items(taken, np.random.default_rng(0), 200, ("mug", "hammer"))
    texts = [text.text for item in said for text in (item.question, item.text) if text]
    words = set(re.findall(r"[a-z]+", " ".join(texts)))
    assert {"hammer", "hammers"} <= words
    assert not {"egg", "eggs", "ball", "balls", "banana", "bananas"} & words


def test_sides_are_the_image_s():
    taken = shot(thing("mug", "red", 0.2), thing("ball", "blue", 0.8))
    asked = {item.question.text: item.text.text for item in drawn(taken, "compare", 200)}
    assert asked["Is the mug left of the ball?"] == "yes"
    assert asked["Is the ball left of the mug?"] == "no"
