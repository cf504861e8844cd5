"""Referring expressions that compare: by size, by position, by number in a row, by relation to another.

Each is drawn lazily and in random order, so that a few cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, product

from numpy.random import Generator

from kosmos2_sim import relations
from kosmos2_sim.descriptions import (
    Answer,
    Description,
    Things,
    choose,
    only,
    plain_name,
    shuffled,
    unique_descriptions,
)
from kosmos2_sim.referring import Draw, Referring, contrasts, groups
from kosmos2_sim.truth import Thing

SIZE_WORDS: dict[
    str, tuple[Callable[[Thing, Thing], Answer], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
] = {
    # relation to all others of the noun; superlatives; comparatives, where there are two; plain words, where
    # no other of the noun has this size
    "large": (relations.bigger, ("biggest", "largest"), ("bigger", "larger"), ("large", "big")),
    "small": (relations.smaller, ("smallest",), ("smaller",), ("small", "little")),
}
ORDINALS, ENDS = ("first", "second", "third", "fourth"), ("left", "right")
SIDES: dict[str, tuple[Callable[[Thing, Thing], Answer], tuple[str, ...], tuple[str, ...]]] = {
    # relation to all others of the noun; how it is said; how it is also said where there are two
    "left": (
        relations.is_left,
        ("leftmost {}", "{} on the far left"),
        ("left {}", "{} on the left"),
    ),
    "right": (
        relations.is_right,
        ("rightmost {}", "{} on the far right"),
        ("right {}", "{} on the right"),
    ),
    "front": (
        relations.nearer_camera,
        ("front {}", "{} at the front", "{} closest to the camera", "nearest {}"),
        (),
    ),
    "back": (
        relations.farther_from_camera,
        ("back {}", "{} at the back", "{} farthest from the camera", "farthest {}"),
        (),
    ),
}
RELATIONS: dict[tuple[str, ...], Callable[[Thing, Thing], Answer]] = {
    ("left of", "to the left of"): relations.left_of,
    ("right of", "to the right of"): relations.right_of,
    ("in front of",): relations.in_front_of,
    ("behind",): relations.behind,
}
NEXT, CLOSEST, BETWEEN = ("next to", "beside"), ("closest to", "nearest to"), ("between",)
WAYS = (*RELATIONS, NEXT, CLOSEST)


def size(things: Things, rng: Generator) -> Draw:
    """`small mug`, `biggest object`: against the others that the words would fit without their size."""
    for thing, description, group in contrasts(things, rng):
        words = list(_size_words(thing, group, description))
        if words:
            yield Referring(description.sized(choose(words, rng)), thing, "size")


def _size_words(thing: Thing, group: tuple[Thing, ...], description: Description) -> Iterator[str]:
    for label, (relation, superlatives, comparatives, plain) in SIZE_WORDS.items():
        if not relations.extreme(thing, group, relation):
            continue
        yield from superlatives
        if len(group) == 2:
            yield from comparatives
        if description.noun.shape and thing.size == label and label not in _sizes(group, thing):
            yield from plain


def _sizes(group: tuple[Thing, ...], but: Thing) -> set[str]:
    return {thing.size for thing in group if thing is not but}


def position(things: Things, rng: Generator) -> Draw:
    """`left mug`, `cube at the back`, `leftmost object`."""
    for (thing, description, group), side in shuffled(list(product(contrasts(things, rng), SIDES)), rng):
        relation, phrases, of_two = SIDES[side]
        if relations.extreme(thing, group, relation):
            ways = phrases + of_two if len(group) == 2 else phrases
            yield Referring(choose(ways, rng).format(description.words), thing, "position")


def ordinal(things: Things, rng: Generator) -> Draw:
    """`second cube from the left`: of three or more, each well seen."""
    for thing, description, group in contrasts(things, rng):
        row = in_row(group)
        if len(group) < 3 or row is None or not set(group) <= set(things.referents):
            continue
        side = choose(ENDS, rng)
        place = (row if side == "left" else row[::-1]).index(thing)
        if place < len(ORDINALS):
            yield Referring(ordinal_words(ORDINALS[place], description, side), thing, "ordinal")


def ordinal_words(number: str, description: Description, side: str) -> str:
    return f"{number} {description.words} from the {side}"


def in_row(things: tuple[Thing, ...]) -> list[Thing] | None:
    """From left to right; None where two are nearly one above the other."""
    row = sorted(things, key=relations.x_of)
    clear = all(relations.is_left(one, following) for one, following in pairwise(row))
    return row if clear else None


def relation(things: Things, rng: Generator) -> Draw:
    """`mug left of the red box`. At least half are such that the words before the relation fit several."""
    surplus = 0
    for group, words, thing in _related(things, rng):
        needed = len(group) > 1
        if needed or surplus > 0:
            surplus += 1 if needed else -1
            yield Referring(words, thing, "relation")


def _related(things: Things, rng: Generator) -> Iterator[tuple[tuple[Thing, ...], str, Thing]]:
    """The things that the first words fit, all words, and the thing meant."""
    anchors = {thing.mark: unique_descriptions(things, thing, rng) for thing in things.referents}
    pairs = [
        (description, group, anchor)
        for description, group in groups(things, rng)
        for anchor in things.referents
        if anchors[anchor.mark]
    ]
    for (description, group, anchor), way in shuffled(list(product(pairs, (*WAYS, BETWEEN))), rng):
        others = tuple(thing for thing in group if thing is not anchor)
        name = f"the {choose(anchors[anchor.mark][:4], rng).words}"
        if way is BETWEEN:
            thing, name = _between(things, others, anchor, name, rng)
        else:
            thing = related(others, anchor, way)
        if thing is not None and thing in things.referents:
            yield group, f"{description.words} {choose(way, rng)} {name}", thing


def related(candidates: tuple[Thing, ...], anchor: Thing, way: tuple[str, ...]) -> Thing | None:
    """The one candidate that is in this way (of WAYS) to the anchor."""
    if way in RELATIONS:
        return only(candidates, lambda thing: RELATIONS[way](thing, anchor))
    if way == NEXT:
        return relations.next_to(candidates, anchor)
    return relations.nearest(candidates, anchor) if len(candidates) > 1 else None


def _between(
    things: Things, candidates: tuple[Thing, ...], anchor: Thing, name: str, rng: Generator
) -> tuple[Thing | None, str]:
    for second in shuffled([thing for thing in things.referents if thing is not anchor], rng):
        named = plain_name(things, second)
        others = tuple(thing for thing in candidates if thing is not second)
        thing = only(others, partial(relations.between, one=anchor, other=second))
        if named and thing:
            return thing, f"{name} and the {named.words}"
    return None, name
