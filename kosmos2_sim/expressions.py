"""Referring expressions: words that fit exactly one thing in an image, and words that fit none.

Every expression is tested on all things in the image (descriptions.VisibleThings), and dropped if any verdict
is in doubt. Expressions are drawn lazily and in random order, so that a few of them cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise, product

from numpy.random import Generator

from kosmos2_core.boxes import Box
from kosmos2_data.records import Item
from kosmos2_sim import relations
from kosmos2_sim.descriptions import (
    OBJECT,
    Description,
    MarkedWords,
    Verdict,
    VisibleThings,
    descriptions_of,
    grounded,
    indefinite,
    matches,
    only_match,
    plain_name,
    random_noun,
    unique_descriptions,
    uniquely_described,
    visible_things,
)
from kosmos2_sim.draws import alternated, choose, shuffled
from kosmos2_sim.relations import box_of
from kosmos2_sim.shapes import COLOURS, SHAPE_COLOURS, SHAPES
from kosmos2_sim.shot import Shot, Thing

Relation = Callable[[Thing, Thing], Verdict]
WITHOUT_COMPARISON = ("name", "attribute", "absent")  # kinds that may have the article `a`

SIZE_WORDS: dict[str, tuple[Relation, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # The relation to all others that the noun fits; superlatives; comparatives, if there are two in all;
    # plain adjectives, if no other has this size.
    "large": (relations.bigger, ("biggest", "largest"), ("bigger", "larger"), ("large", "big")),
    "small": (relations.smaller, ("smallest",), ("smaller",), ("small", "little")),
}
ORDINALS, ENDS = ("first", "second", "third", "fourth"), ("left", "right")
POSITIONS: dict[str, tuple[Relation, tuple[str, ...], tuple[str, ...]]] = {
    # The relation to all others that the noun fits; templates; further templates, if there are two in all.
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
RELATIONS: dict[tuple[str, ...], Relation] = {
    ("left of", "to the left of"): relations.left_of,
    ("right of", "to the right of"): relations.right_of,
    ("in front of",): relations.in_front_of,
    ("behind",): relations.behind,
}
NEXT, CLOSEST, BETWEEN = ("next to", "beside"), ("closest to", "nearest to"), ("between",)
ANCHOR_RELATIONS = (*RELATIONS, NEXT, CLOSEST)  # to one other thing; each is a tuple of synonyms
BARE_SHAPE_WEIGHT = 4  # of a missing shape without a colour, relative to the shape with one of the colours


@dataclass(frozen=True)
class ReferringExpression:
    """Words without their article, and the thing they refer to; None if nothing in the image fits them."""

    words: str
    thing: Thing | None
    kind: str

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The box of the thing; empty if nothing fits the words."""
        return (box_of(self.thing),) if self.thing else ()


Expressions = Iterator[ReferringExpression]
DrawExpressions = Callable[[VisibleThings, Generator], Expressions]


def expression_item(expression: ReferringExpression, rng: Generator) -> Item:
    """Return an item that asks for one expression."""
    words = with_article(expression, rng)
    return Item("locate", grounded(MarkedWords(words, expression.boxes)), kind=expression.kind)


def with_article(expression: ReferringExpression, rng: Generator) -> str:
    """Put `the` before an expression, or sometimes nothing, or `a` if the expression does not compare."""
    draw = rng.random()
    if expression.kind in WITHOUT_COMPARISON and draw < 0.12:
        return indefinite(expression.words)
    return expression.words if draw > 0.82 else f"the {expression.words}"


def groups(things: VisibleThings, rng: Generator) -> list[tuple[Description, tuple[Thing, ...]]]:
    """Return descriptions with all the seen things that they fit."""
    forms = {description for thing in things.referents for description in descriptions_of(thing, rng)}
    ordered = sorted(forms, key=lambda description: description.words)
    grouped = [(description, matches(things.seen, description.fits)) for description in ordered]
    return [(description, group) for description, group in grouped if group]


def contrasts(things: VisibleThings, rng: Generator) -> list[tuple[Thing, Description, tuple[Thing, ...]]]:
    """Return descriptions that fit several things, each once for every referent among these."""
    several = [
        (thing, description, group)
        for description, group in groups(things, rng)
        if len(group) > 1
        for thing in group
        if thing in things.referents
    ]
    return shuffled(several, rng)


def attribute_expressions(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `red mug`, `shiny red mug`, `red object`."""
    for thing, description in uniquely_described(things, rng):
        yield ReferringExpression(description.words, thing, "attribute")


def absent_expressions(
    things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES
) -> Expressions:
    """Yield `blue ball` if there is none: shapes, colours, and both together."""
    for description in absent_descriptions(things, rng, shapes):
        yield ReferringExpression(description.words, None, "absent")


def absent_descriptions(
    things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES
) -> Iterator[Description]:
    """Yield descriptions that fit nothing in the image: a shape, a colour, or both together.

    Half of them are hard, as long as there are hard ones: both the colour and the shape are in the image, but
    not on the same thing.

    Args:
        shapes: the shapes that may be named as missing.
    """
    known_shapes = sorted({thing.shape for thing in things.named})
    known_colours = sorted({thing.colour for thing in things.named})
    missing = [shape for shape in shapes if shape not in known_shapes]
    recombined = [pair for pair in product(known_shapes, known_colours) if _is_possible(*pair)]
    unknown = [(shape, colour) for shape in missing for colour in COLOURS if _is_possible(shape, colour)]
    unknown += [(shape, "") for shape in missing] * BARE_SHAPE_WEIGHT
    unknown += [("", colour) for colour in COLOURS if colour not in known_colours]
    hard, easy = (_fitting_nothing(things, options, rng) for options in (recombined, unknown))
    return chain(alternated(hard, easy, rng), easy)


def _is_possible(shape: str, colour: str) -> bool:
    """Return whether a shape comes in a colour. A blue banana would be absent by its colour alone."""
    return colour in SHAPE_COLOURS.get(shape, tuple(COLOURS))


def _fitting_nothing(
    things: VisibleThings, options: list[tuple[str, str]], rng: Generator
) -> Iterator[Description]:
    for shape, colour in shuffled(options, rng):
        description = Description(random_noun(shape, rng) if shape else OBJECT, colour)
        if matches(things.glimpsed, description.fits) == ():
            yield description


def size_expressions(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `small mug`, `biggest object`: compared with the others that the words without their size fit."""
    for thing, description, group in contrasts(things, rng):
        words = list(_size_words(thing, group, description))
        if words:
            yield ReferringExpression(description.sized(choose(words, rng)), thing, "size")


def _size_words(thing: Thing, group: tuple[Thing, ...], description: Description) -> Iterator[str]:
    for label, (relation, superlatives, comparatives, plain) in SIZE_WORDS.items():
        if not relations.extreme(thing, group, relation):
            continue
        yield from superlatives
        if len(group) == 2:
            yield from comparatives
        other_sizes = {other.size for other in group if other is not thing}
        if description.noun.shape and thing.size == label and label not in other_sizes:
            yield from plain


def position_expressions(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `left mug`, `cube at the back`, `leftmost object`."""
    options = list(product(contrasts(things, rng), POSITIONS))
    for (thing, description, group), position in shuffled(options, rng):
        relation, templates, templates_of_two = POSITIONS[position]
        if relations.extreme(thing, group, relation):
            choices = templates + templates_of_two if len(group) == 2 else templates
            yield ReferringExpression(choose(choices, rng).format(description.words), thing, "position")


def ordinal_expressions(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `second cube from the left`, if there are three or more, all of them referents."""
    for thing, description, group in contrasts(things, rng):
        row = in_row(group)
        if len(group) < 3 or row is None or not set(group) <= set(things.referents):
            continue
        end = choose(ENDS, rng)
        index = (row if end == "left" else row[::-1]).index(thing)
        if index < len(ORDINALS):
            yield ReferringExpression(ordinal_words(ORDINALS[index], description, end), thing, "ordinal")


def ordinal_words(ordinal: str, description: Description, end: str) -> str:
    """Return `second cube from the left`."""
    return f"{ordinal} {description.words} from the {end}"


def in_row(things: tuple[Thing, ...]) -> list[Thing] | None:
    """Return things from left to right, or None if two of them are nearly one above the other."""
    row = sorted(things, key=relations.x_of)
    clear = all(relations.is_left(thing, following) for thing, following in pairwise(row))
    return row if clear else None


def relation_expressions(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `mug left of the red box`; for at least half of them `mug` alone would be ambiguous."""
    surplus = 0  # of ambiguous ones
    for group, words, thing in _related_things(things, rng):
        ambiguous = len(group) > 1
        if ambiguous or surplus > 0:
            surplus += 1 if ambiguous else -1
            yield ReferringExpression(words, thing, "relation")


def _related_things(things: VisibleThings, rng: Generator) -> Iterator[tuple[tuple[Thing, ...], str, Thing]]:
    """Yield the things that the words before the relation fit, all words, and the thing that is meant."""
    anchors = {thing.mark: unique_descriptions(things, thing, rng) for thing in things.referents}
    pairs = [
        (description, group, anchor)
        for description, group in groups(things, rng)
        for anchor in things.referents
        if anchors[anchor.mark]
    ]
    options = list(product(pairs, (*ANCHOR_RELATIONS, BETWEEN)))
    for (description, group, anchor), synonyms in shuffled(options, rng):
        others = tuple(thing for thing in group if thing is not anchor)
        name = f"the {choose(anchors[anchor.mark][:4], rng).words}"
        if synonyms is BETWEEN:
            thing, name = _between(things, others, anchor, name, rng)
        else:
            thing = related_thing(others, anchor, synonyms)
        if thing is not None and thing in things.referents:
            yield group, f"{description.words} {choose(synonyms, rng)} {name}", thing


def related_thing(candidates: tuple[Thing, ...], anchor: Thing, relation: tuple[str, ...]) -> Thing | None:
    """Return the only candidate that has a relation (one of ANCHOR_RELATIONS) to the anchor."""
    if relation in RELATIONS:
        return only_match(candidates, lambda thing: RELATIONS[relation](thing, anchor))
    if relation == NEXT:
        return relations.next_to(candidates, anchor)
    return relations.nearest(candidates, anchor) if len(candidates) > 1 else None


def _between(
    things: VisibleThings, candidates: tuple[Thing, ...], anchor: Thing, name: str, rng: Generator
) -> tuple[Thing | None, str]:
    """Return the thing between the anchor and a second one, with the names of both."""
    for second in shuffled([thing for thing in things.referents if thing is not anchor], rng):
        second_name = plain_name(things, second)
        others = tuple(thing for thing in candidates if thing is not second)
        thing = only_match(others, partial(relations.between, first=anchor, second=second))
        if second_name and thing:
            return thing, f"{name} and the {second_name.words}"
    return None, name


EXPRESSION_KINDS: dict[str, DrawExpressions] = {
    "attribute": attribute_expressions,
    "size": size_expressions,
    "position": position_expressions,
    "relation": relation_expressions,
    "ordinal": ordinal_expressions,
    "absent": absent_expressions,
}


def expressions(shot: Shot, rng: Generator) -> list[Item]:
    """Return items with expressions of all kinds about one image."""
    things = visible_things(shot)
    return [
        expression_item(expression, rng)
        for draw in EXPRESSION_KINDS.values()
        for expression in draw(things, rng)
    ]
