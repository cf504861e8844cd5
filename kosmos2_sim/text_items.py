"""Items whose answer is a text: captions, descriptions of a region, and questions with short answers.

Captions go from left to right and always use the same words for the same thing, so that there is one right
answer to learn. Questions with yes or no as their answer are drawn equally often for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, pairwise, product
from typing import TypeVar

from numpy.random import Generator

from kosmos2_core.grounded_text import GroundedText
from kosmos2_data.records import Item
from kosmos2_sim import relations
from kosmos2_sim.descriptions import (
    OBJECT,
    Description,
    MarkedWords,
    VisibleThings,
    descriptions_of,
    full_description,
    grounded,
    indefinite,
    matches,
    noun_of,
    plain_name,
    random_noun,
    uniquely_described,
)
from kosmos2_sim.draws import alternated, shuffled
from kosmos2_sim.expressions import (
    ANCHOR_RELATIONS,
    Relation,
    absent_expressions,
    position_expressions,
    related_thing,
)
from kosmos2_sim.shapes import COLOURS, SHAPES
from kosmos2_sim.shot import Thing

T = TypeVar("T")
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MAX_DEPTH_SENTENCES = 3  # in a detailed caption
PLACES: dict[str, Relation] = {
    "left of": relations.left_of,
    "right of": relations.right_of,
    "in front of": relations.in_front_of,
    "behind": relations.behind,
}
COMPARISONS = PLACES | {"bigger than": relations.bigger, "smaller than": relations.smaller}


# Captions and descriptions.


def brief_captions(things: VisibleThings) -> Iterator[Item]:
    """Yield the caption after `An image of`: `[a red mug](..) and [a plate](..) on a table`."""
    row = _left_to_right(things)
    if row:
        named = [_marked(indefinite(f"{thing.colour} {thing.shape}"), thing) for thing in row]
        yield Item("caption", grounded(*_listed(named), " on a table"), kind="brief")


def detailed_captions(things: VisibleThings) -> Iterator[Item]:
    """Yield the caption after `Describe this image in detail:`.

    It counts the things, lists them with their attributes, and says which of two neighbours is in front.
    """
    row = _left_to_right(things)
    if not row:
        return
    parts: list[str | MarkedWords] = []
    if things.countable and things.named == things.glimpsed:
        is_are, plural = ("is", "") if len(row) == 1 else ("are", "s")
        parts.append(f"There {is_are} {NUMBERS[len(row)]} object{plural} on a table. ")
    named = [_marked(indefinite(full_description(thing).words), thing) for thing in row]
    parts += ["From left to right: ", *_listed(named), "."]
    sentences = [_depth_sentence(things, thing, following) for thing, following in pairwise(row)]
    parts += chain.from_iterable(list(filter(None, sentences))[:MAX_DEPTH_SENTENCES])
    yield Item("caption", grounded(*parts), detailed=True, kind="detailed")


def _depth_sentence(things: VisibleThings, thing: Thing, other: Thing) -> list[str | MarkedWords]:
    """Return the sentence that says which of two things is in front; empty if one has no unique name."""
    words, name, anchor = _depth_words(thing, other), plain_name(things, thing), plain_name(things, other)
    if not (words and name and anchor):
        return []
    return [
        " ",
        _marked(f"The {name.words}", thing),
        f" is {words} ",
        _marked(f"the {anchor.words}", other),
        ".",
    ]


def _depth_words(thing: Thing, other: Thing) -> str:
    in_front = relations.in_front_of(thing, other)
    return "in front of" if in_front else "behind" if relations.behind(thing, other) else ""


def region_descriptions(things: VisibleThings, rng: Generator) -> Iterator[Item]:
    """Yield `[a small shiny red mug](..)` for things whose full description fits no other thing."""
    for thing in shuffled(things.referents, rng):
        description = full_description(thing)
        if things.described(description) is thing:
            words = indefinite(_sized(things, thing, description))
            yield Item("describe", grounded(_marked(words, thing)), kind="describe")


def _sized(things: VisibleThings, thing: Thing, description: Description) -> str:
    """Add the size to a description if all others of the shape are clearly bigger or clearly smaller."""
    relation = {"small": relations.smaller, "large": relations.bigger}.get(thing.size)
    others = [other for other in things.seen if other.shape == thing.shape and other is not thing]
    contrast = relation and others and relations.extreme(thing, others, relation)
    return description.sized(thing.size) if contrast else description.words


def _left_to_right(things: VisibleThings) -> list[Thing]:
    return sorted(things.referents, key=relations.x_of)


def _marked(words: str, thing: Thing) -> MarkedWords:
    return MarkedWords(words, (relations.box_of(thing),))


def _listed(named: list[MarkedWords]) -> list[str | MarkedWords]:
    """Return `a, b and c`."""
    parts: list[str | MarkedWords] = []
    for index, words in enumerate(named):
        joint = "" if index == 0 else " and " if index == len(named) - 1 else ", "
        parts += [joint, words] if joint else [words]
    return parts


# Questions.


def question_kinds(
    shapes: tuple[str, ...] = SHAPES,
) -> dict[str, Callable[[VisibleThings, Generator], Iterator[Item]]]:
    """Return the functions that draw questions, by their kind.

    Args:
        shapes: the shapes that may be named as missing.
    """
    return {
        "colour": colour_questions,
        "shape": shape_questions,
        "count": partial(count_questions, shapes=shapes),
        "exists": partial(existence_questions, shapes=shapes),
        "compare": comparison_questions,
        "region": region_questions,
        "where": where_questions,
    }


def colour_questions(things: VisibleThings, rng: Generator) -> Iterator[Item]:
    """Yield `What colour is the mug?`"""
    for thing, name in uniquely_described(things, rng):
        if not name.colour:
            yield _ask(f"What colour is the {name.words}?", thing.colour, "colour")


def shape_questions(things: VisibleThings, rng: Generator) -> Iterator[Item]:
    """Yield `What is the red object?` and `What is the object on the left?`"""
    named = [(thing, name.words) for thing, name in uniquely_described(things, rng) if not name.noun.shape]
    placed = [
        (expression.thing, expression.words)
        for expression in position_expressions(things, rng)
        if "object" in expression.words.split()
    ]
    for thing, words in shuffled([*named, *placed], rng):
        if thing:
            yield _ask(f"What is the {words}?", indefinite(thing.shape), "shape")


def count_questions(things: VisibleThings, rng: Generator, shapes: tuple[str, ...]) -> Iterator[Item]:
    """Yield `How many cubes are there?`; half of the questions are about things that are there.

    There are none if a thing in the image is not visible well enough to be counted.
    """
    if not things.countable:
        return
    asked = [Description(random_noun(shape, rng), hue) for shape, hue in product(shapes, ("", *COLOURS))]
    asked += [Description(OBJECT, hue) for hue in ("", *COLOURS)]
    asked += [Description(noun_of(thing.shape)) for thing in things.referents]

    def is_present(description: Description) -> bool:
        return any(description.fits(thing) for thing in things.glimpsed)

    for description in _balanced(asked, is_present, rng):
        counted = matches(things.glimpsed, description.fits)
        if counted is not None:
            yield _ask(f"How many {description.plural_words} are there?", NUMBERS[len(counted)], "count")


def existence_questions(things: VisibleThings, rng: Generator, shapes: tuple[str, ...]) -> Iterator[Item]:
    """Yield `Is there a red mug on the table?`"""
    present = {
        name
        for thing in things.referents
        for name in descriptions_of(thing, rng)
        if " " in name.words or name.noun.shape
    }
    ordered = sorted(present, key=lambda name: name.words)
    with_yes = ((name.words, "yes") for name in shuffled(ordered, rng))
    with_no = ((expression.words, "no") for expression in absent_expressions(things, rng, shapes))
    for words, answer in alternated(with_yes, with_no, rng):
        where = (" on the table", "")[int(rng.integers(2))]
        yield _ask(f"Is there {indefinite(words)}{where}?", answer, "exists")


def comparison_questions(things: VisibleThings, rng: Generator) -> Iterator[Item]:
    """Yield `Is the mug left of the bowl?`"""
    names = _plain_names(things)
    pairs = [(a, b) for a in things.referents for b in things.referents if a is not b]
    named = [(a, b) for a, b in pairs if a.mark in names and b.mark in names]
    compared = [(a, b, words, COMPARISONS[words](a, b)) for (a, b), words in product(named, COMPARISONS)]
    certain = [(a, b, words, verdict) for a, b, words, verdict in compared if verdict is not None]
    for a, b, words, verdict in _balanced(certain, lambda option: bool(option[3]), rng):
        question = f"Is the {names[a.mark].words} {words} the {names[b.mark].words}?"
        yield _ask(question, "yes" if verdict else "no", "compare")


def region_questions(things: VisibleThings, rng: Generator) -> Iterator[Item]:
    """Yield questions about the thing in a box: `What is [this](..)?`, `Is [this](..) a mug?`"""
    shapes = sorted({thing.shape for thing in things.named})
    for thing, kind in shuffled(list(product(things.referents, ("what", "colour", "yes", "no"))), rng):
        region = MarkedWords("this", (relations.box_of(thing),))
        others = [shape for shape in shapes if shape != thing.shape]
        if kind == "what":
            answer = indefinite(f"{thing.colour} {thing.shape}")
            yield _ask(grounded("What is ", region, "?"), answer, "region")
        elif kind == "colour":
            yield _ask(grounded("What colour is ", region, "?"), thing.colour, "region")
        elif others:
            guess = thing.shape if kind == "yes" else others[int(rng.integers(len(others)))]
            yield _ask(grounded("Is ", region, f" {indefinite(guess)}?"), kind, "region")


def where_questions(things: VisibleThings, rng: Generator) -> Iterator[Item]:
    """Yield questions whose answer has a box: `What is left of the bowl?`, `Where is the mug?`"""
    names = _plain_names(things)
    known = [thing for thing in things.referents if thing.mark in names]
    first, second = _what_is(things, known, names, rng), _where_is(known, names, rng)
    return chain(alternated(first, second, rng), first, second)


def _what_is(
    things: VisibleThings, known: list[Thing], names: dict[int, Description], rng: Generator
) -> Iterator[Item]:
    for anchor, relation in shuffled(list(product(known, ANCHOR_RELATIONS)), rng):
        others = tuple(thing for thing in things.seen if thing is not anchor)
        thing = related_thing(others, anchor, relation)
        if thing and thing.mark in names:
            start = ("What is", "Which object is")[int(rng.integers(2))]
            question = f"{start} {relation[0]} the {names[anchor.mark].words}?"
            yield _ask(question, grounded(_definite(names[thing.mark], thing)), "where")


def _where_is(known: list[Thing], names: dict[int, Description], rng: Generator) -> Iterator[Item]:
    """Yield `Where is the mug?`; the answer names the nearest thing that it has a clear relation to."""
    for thing in shuffled(known, rng):
        others = sorted(known, key=partial(relations.distance_m, thing))
        places = (
            (words, other) for other in others for words, holds in PLACES.items() if holds(thing, other)
        )
        for words, anchor in islice(places, 1):
            thing_name, anchor_name = names[thing.mark], names[anchor.mark]
            answer = grounded(_definite(thing_name, thing), f" is {words} ", _definite(anchor_name, anchor))
            yield _ask(f"Where is the {thing_name.words}?", answer, "where")


def _plain_names(things: VisibleThings) -> dict[int, Description]:
    """Return the plain names of all referents that have one, by their marks."""
    return {thing.mark: name for thing in things.referents if (name := plain_name(things, thing))}


def _definite(name: Description, thing: Thing) -> MarkedWords:
    return MarkedWords(f"the {name.words}", (relations.box_of(thing),))


def _balanced(options: Sequence[T], holds: Callable[[T], bool], rng: Generator) -> Iterator[T]:
    """Yield options in random order, as many for which `holds` is true as for which it is false."""
    mixed = shuffled(options, rng)
    positive = [option for option in mixed if holds(option)]
    return alternated(positive, [option for option in mixed if not holds(option)], rng)


def _ask(question: str | GroundedText, answer: str | GroundedText, kind: str) -> Item:
    question_text = GroundedText(question) if isinstance(question, str) else question
    answer_text = GroundedText(answer) if isinstance(answer, str) else answer
    return Item("ask", answer_text, question_text, kind=kind)
