"""Questions about an image with short answers: `How many cubes are there?` `two`.

Where the answer is yes or no, each is drawn as often as the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, product
from typing import TypeVar

from numpy.random import Generator

from kosmos2_core.grounded_text import GroundedText
from kosmos2_data.records import Item
from kosmos2_sim import relations
from kosmos2_sim.captions import NUMBERS
from kosmos2_sim.comparing import WAYS, position, related
from kosmos2_sim.descriptions import (
    OBJECT,
    Answer,
    Description,
    Things,
    article,
    descriptions,
    fitting,
    in_pairs,
    noun_of,
    plain_name,
    shuffled,
    some_noun,
    unique_names,
)
from kosmos2_sim.expressions import absent
from kosmos2_sim.marked import Marked, marked
from kosmos2_sim.shapes import COLOURS, SHAPES
from kosmos2_sim.truth import Thing

T = TypeVar("T")
Draw = Iterator[Item]
PLACES: dict[str, Callable[[Thing, Thing], Answer]] = {
    "left of": relations.left_of,
    "right of": relations.right_of,
    "in front of": relations.in_front_of,
    "behind": relations.behind,
}
COMPARISONS = PLACES | {"bigger than": relations.bigger, "smaller than": relations.smaller}


def kinds(shapes: tuple[str, ...] = SHAPES) -> dict[str, Callable[[Things, Generator], Draw]]:
    """What can be asked; where a thing that is not there is asked for, it is one of these shapes."""
    return {
        "colour": colour,
        "shape": shape,
        "count": partial(count, shapes=shapes),
        "exists": partial(exists, shapes=shapes),
        "compare": compare,
        "region": region,
        "where": where,
    }


def colour(things: Things, rng: Generator) -> Draw:
    for thing, name in unique_names(things, rng):
        if not name.colour:
            yield _ask(f"What colour is the {name.words}?", thing.colour, "colour")


def shape(things: Things, rng: Generator) -> Draw:
    named = [(thing, name.words) for thing, name in unique_names(things, rng) if not name.noun.shape]
    placed = [(one.thing, one.words) for one in position(things, rng) if "object" in one.words.split()]
    for thing, words in shuffled([*named, *placed], rng):
        if thing:
            yield _ask(f"What is the {words}?", article(thing.shape), "shape")


def count(things: Things, rng: Generator, shapes: tuple[str, ...]) -> Draw:
    """Only where all that could be counted is well seen. Half of the questions are of what is there."""
    if not things.all_clear:
        return
    asked = [Description(some_noun(one, rng), hue) for one, hue in product(shapes, ("", *COLOURS))]
    asked += [Description(OBJECT, hue) for hue in ("", *COLOURS)]
    asked += [Description(noun_of(thing.shape)) for thing in things.referents]
    for description in _even(asked, lambda one: any(one.fits(thing) for thing in things.glimpsed), rng):
        counted = fitting(things.glimpsed, description.fits)
        if counted is not None:
            noun = description.noun
            words = " ".join(filter(None, (description.colour, noun.plural)))
            yield _ask(f"How many {words} are there?", NUMBERS[len(counted)], "count")


def exists(things: Things, rng: Generator, shapes: tuple[str, ...]) -> Draw:
    here = [
        name
        for thing in things.referents
        for name in descriptions(thing, rng)
        if " " in name.words or name.noun.shape
    ]
    there = ((one.words, "yes") for one in shuffled(sorted(set(here), key=lambda one: one.words), rng))
    gone = ((one.words, "no") for one in absent(things, rng, shapes))
    for words, answer in in_pairs(there, gone, rng):
        place = (" on the table", "")[int(rng.integers(2))]
        yield _ask(f"Is there {article(words)}{place}?", answer, "exists")


def compare(things: Things, rng: Generator) -> Draw:
    names = {thing.mark: name for thing in things.referents if (name := plain_name(things, thing))}
    pairs = [(a, b) for a in things.referents for b in things.referents if a is not b]
    known = [(a, b) for a, b in pairs if a.mark in names and b.mark in names]
    judged = [(a, b, words, COMPARISONS[words](a, b)) for (a, b), words in product(known, COMPARISONS)]
    certain = [one for one in judged if one[3] is not None]
    for a, b, words, answer in _even(certain, lambda one: bool(one[3]), rng):
        question = f"Is the {names[a.mark].words} {words} the {names[b.mark].words}?"
        yield _ask(question, "yes" if answer else "no", "compare")


def region(things: Things, rng: Generator) -> Draw:
    """What is in a box: its colour and shape, or whether it is what the question says."""
    shapes = sorted({thing.shape for thing in things.glimpsed})
    for thing, kind in shuffled(list(product(things.referents, ("what", "colour", "yes", "no"))), rng):
        this = Marked("this", (relations.box_of(thing),))
        others = [shape for shape in shapes if shape != thing.shape]
        if kind == "what":
            yield _ask(marked("What is ", this, "?"), article(f"{thing.colour} {thing.shape}"), "region")
        elif kind == "colour":
            yield _ask(marked("What colour is ", this, "?"), thing.colour, "region")
        elif others:
            guess = thing.shape if kind == "yes" else others[int(rng.integers(len(others)))]
            yield _ask(marked("Is ", this, f" {article(guess)}?"), kind, "region")


def where(things: Things, rng: Generator) -> Draw:
    """Answers with a box: `What is left of the bowl?`, `Where is the mug?`"""
    names = {thing.mark: name for thing in things.referents if (name := plain_name(things, thing))}
    known = [thing for thing in things.referents if thing.mark in names]
    first, second = _what_is(things, known, names, rng), _where_is(known, names, rng)
    return chain(in_pairs(first, second, rng), first, second)


def _what_is(things: Things, known: list[Thing], names: dict[int, Description], rng: Generator) -> Draw:
    for anchor, way in shuffled(list(product(known, WAYS)), rng):
        others = tuple(thing for thing in things.seen if thing is not anchor)
        thing = related(others, anchor, way)
        if thing and thing.mark in names:
            asked = ("What is", "Which object is")[int(rng.integers(2))]
            question = f"{asked} {way[0]} the {names[anchor.mark].words}?"
            yield _ask(question, marked(_the(names[thing.mark], thing)), "where")


def _where_is(known: list[Thing], names: dict[int, Description], rng: Generator) -> Draw:
    """By the nearest thing that it clearly stands to the left of, behind and so on."""
    for thing in shuffled(known, rng):
        others = sorted(known, key=partial(relations.distance_m, thing))
        places = ((word, one) for one in others for word, holds in PLACES.items() if holds(thing, one))
        for word, anchor in islice(places, 1):
            answer = marked(_the(names[thing.mark], thing), f" is {word} ", _the(names[anchor.mark], anchor))
            yield _ask(f"Where is the {names[thing.mark].words}?", answer, "where")


def _the(name: Description, thing: Thing) -> Marked:
    return Marked(f"the {name.words}", (relations.box_of(thing),))


def _even(options: Sequence[T], holds: Callable[[T], bool], rng: Generator) -> Iterator[T]:
    """In random order, as many for which it holds as others."""
    mixed = shuffled(options, rng)
    return in_pairs([one for one in mixed if holds(one)], [one for one in mixed if not holds(one)], rng)


def _ask(question: str | GroundedText, answer: str | GroundedText, kind: str) -> Item:
    asked = GroundedText(question) if isinstance(question, str) else question
    text = GroundedText(answer) if isinstance(answer, str) else answer
    return Item("ask", text, asked, kind=kind)
