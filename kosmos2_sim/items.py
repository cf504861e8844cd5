"""The items of an image: what a model learns to say and to locate, and what it is evaluated on.

`items` draws all kinds of items with fixed weights. `probes` draws phrases that test presence: does a model
know which things are in an image, and which are not? It draws the same number of present phrases, with their
boxes, and of absent phrases, marked with no box, for each kind of phrase.

An absent phrase has the words of its kind around a description that fits nothing in the image beyond doubt,
not even a thing of which only one pixel is visible. To add a kind of probe, add a line to PRESENT and one to
ABSENT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice, product
from zlib import crc32

import numpy as np
from numpy.random import Generator

from kosmos2_data.records import Item
from kosmos2_sim.commands import KINDS_OF_ONE_PHRASE, command_items
from kosmos2_sim.descriptions import (
    Description,
    VisibleThings,
    matches,
    plain_name,
    uniquely_described,
    visible_things,
)
from kosmos2_sim.draws import alternated, choose, distinct, shuffled
from kosmos2_sim.expressions import (
    ANCHOR_RELATIONS,
    BETWEEN,
    ENDS,
    EXPRESSION_KINDS,
    ORDINALS,
    POSITIONS,
    RELATIONS,
    SIZE_WORDS,
    DrawExpressions,
    Expressions,
    ReferringExpression,
    absent_descriptions,
    absent_expressions,
    expression_item,
    groups,
    ordinal_expressions,
    ordinal_words,
    position_expressions,
    relation_expressions,
    size_expressions,
)
from kosmos2_sim.layout import SPLITS
from kosmos2_sim.sets import SET, absent_set_items, set_items
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.shot import Shot
from kosmos2_sim.text_items import brief_captions, detailed_captions, question_kinds, region_descriptions

DrawAbsent = Callable[[VisibleThings, Generator, tuple[str, ...]], Expressions]

# How often each kind is drawn, relative to the others. When a kind has no further item, it is left out. The
# brief caption of an image always comes first.
WEIGHTS = {
    "attribute": 17.0,
    "size": 6.5,
    "position": 9.0,
    "relation": 14.0,
    "ordinal": 5.5,
    "absent": 8.0,
    "command": 7.0,
    "detailed": 4.0,
    "describe": 8.0,
    "colour": 3.0,
    "shape": 2.5,
    "count": 3.0,
    "exists": 2.5,
    "compare": 3.0,
    "region": 2.5,
    "where": 3.0,
}
ITEM_KINDS = tuple(WEIGHTS)
COMMAND = "command"
PROBE_STREAM = 2  # of the random numbers of a shot: stream 1 is for the other items of a data set
WRONG_RELATION_SHARE = 0.35  # of the absent relations; both things are then in the image
ABSENT_ANCHOR_SHARE = 0.25  # of the others; the thing before the relation is then in the image
ABSENT_COMMAND_SHARE = 0.5  # of the phrases of absent commands


def items(
    shot: Shot, rng: Generator, count: int, shapes: tuple[str, ...] = SHAPES, kinds: Iterable[str] = ()
) -> tuple[Item, ...]:
    """Return up to `count` different items about an image, the brief caption first.

    Args:
        shapes: the shapes that may be named as missing.
        kinds: some of ITEM_KINDS for the items after the caption; if empty, all of them.
    """
    things = visible_things(shot)
    drawn: dict[Item, None] = dict.fromkeys(brief_captions(things))
    sources = _item_sources(things, rng, shapes)
    sources = {kind: source for kind, source in sources.items() if kind in (tuple(kinds) or ITEM_KINDS)}
    while sources and len(drawn) < count:
        remaining = list(sources)
        weights = np.array([WEIGHTS[kind] for kind in remaining])
        kind = remaining[int(rng.choice(len(remaining), p=weights / weights.sum()))]
        item = next(sources[kind], None)
        if item is None:
            del sources[kind]
        else:
            drawn.setdefault(item)
    return tuple(drawn)


def _item_sources(
    things: VisibleThings, rng: Generator, shapes: tuple[str, ...]
) -> dict[str, Iterator[Item]]:
    """Return iterators over the items of each kind, which draw lazily and in random order."""
    expression_kinds: dict[str, DrawExpressions] = EXPRESSION_KINDS | {
        "absent": partial(absent_expressions, shapes=shapes)
    }
    located = {
        kind: (expression_item(expression, rng) for expression in draw(things, rng))
        for kind, draw in expression_kinds.items()
    }
    return {
        **located,
        "command": command_items(things, rng, expression_kinds),
        "detailed": detailed_captions(things),
        "describe": region_descriptions(things, rng),
        **{kind: ask(things, rng) for kind, ask in question_kinds(shapes).items()},
    }


# Probes.


def probes(
    shot: Shot,
    count: int,
    shapes: tuple[str, ...] = SHAPES,
    kinds: Iterable[str] = (),
    balanced: bool = False,
) -> tuple[Item, ...]:
    """Return up to `count` present and `count` absent items of each kind, the same at every call.

    An item of the kind "command" may have two phrases; in an absent item at least one of them is absent.

    Args:
        shapes: the shapes that may be named as missing.
        kinds: some of PROBE_KINDS; if empty, all of them.
        balanced: draw no more absent items of a kind than there are present ones, but at least one. A model
            that learns from them does not learn that one of the two is the rule.
    """
    things = visible_things(shot)
    found: list[Item] = []
    for kind in tuple(kinds) or PROBE_KINDS:
        present = list(islice(distinct(present_items(kind, things, _probe_rng(shot, kind, 1))), count))
        absent = distinct(absent_items(kind, things, _probe_rng(shot, kind, 0), shapes))
        wanted = min(count, max(1, len(present))) if balanced else count
        found += [*present, *islice(absent, wanted)]
    return tuple(found)


def _probe_rng(shot: Shot, kind: str, present: int) -> Generator:
    """Return the random numbers of a kind, which do not depend on the other kinds."""
    seed = [SPLITS.index(shot.split), shot.seed, PROBE_STREAM, crc32(kind.encode()), present]
    return np.random.default_rng(seed)


def present_items(kind: str, things: VisibleThings, rng: Generator) -> Iterator[Item]:
    """Yield items of a kind whose phrases are all in the image."""
    if kind == COMMAND:
        return command_items(things, rng, EXPRESSION_KINDS, absent_share=0.0)
    if kind == SET:
        return set_items(things, rng)
    return (expression_item(expression, rng) for expression in PRESENT[kind](things, rng))


def absent_items(
    kind: str, things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES
) -> Iterator[Item]:
    """Yield items of a kind with at least one phrase that is not in the image."""
    if kind == COMMAND:
        return absent_commands(things, rng, shapes)
    if kind == SET:
        return absent_set_items(things, rng, shapes)
    return (expression_item(expression, rng) for expression in ABSENT[kind](things, rng, shapes))


def present_names(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `mug`, if there is exactly one."""
    for thing, description in uniquely_described(things, rng):
        if description.is_name:
            yield ReferringExpression(description.words, thing, "name")


def present_attributes(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `red mug`, `shiny mug`, `red object`."""
    for thing, description in uniquely_described(things, rng):
        if description.has_attribute:
            yield ReferringExpression(description.words, thing, "attribute")


def absent_names(things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Expressions:
    """Yield `mug`, if no pixel of a mug is in the image."""
    for description in absent_descriptions(things, rng, shapes):
        if description.is_name:
            yield ReferringExpression(description.words, None, "name")


def absent_attributes(things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Expressions:
    """Yield `red mug`, also if there is a blue mug and a red ball."""
    for description in absent_descriptions(things, rng, shapes):
        if description.has_attribute:
            yield ReferringExpression(description.words, None, "attribute")


def absent_sizes(things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Expressions:
    """Yield `biggest red mug`, if there is no red mug."""
    words = [word for _, *forms in SIZE_WORDS.values() for form in forms for word in form]
    for description in absent_descriptions(things, rng, shapes):
        yield ReferringExpression(description.sized(choose(words, rng)), None, "size")


def absent_positions(things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Expressions:
    """Yield `mug on the left`, if there is no mug."""
    for description in absent_descriptions(things, rng, shapes):
        _, templates, templates_of_two = POSITIONS[choose(tuple(POSITIONS), rng)]
        words = choose(templates + templates_of_two, rng).format(description.words)
        yield ReferringExpression(words, None, "position")


def absent_ordinals(things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Expressions:
    """Yield `second mug from the left`, if there is no mug, or by turns if there is only one."""
    missing = _ordinals_of_missing_things(things, rng, shapes)
    return chain(alternated(missing, _ordinals_after_the_last(things, rng), rng), missing)


def _ordinals_of_missing_things(
    things: VisibleThings, rng: Generator, shapes: tuple[str, ...]
) -> Expressions:
    for description in absent_descriptions(things, rng, shapes):
        words = ordinal_words(choose(ORDINALS, rng), description, choose(ENDS, rng))
        yield ReferringExpression(words, None, "ordinal")


def _ordinals_after_the_last(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `third mug from the left`, if there are two."""
    for description, _ in shuffled(groups(things, rng), rng):
        members = matches(things.glimpsed, description.fits)
        if members and len(members) < len(ORDINALS):
            words = ordinal_words(choose(ORDINALS[len(members) :], rng), description, choose(ENDS, rng))
            yield ReferringExpression(words, None, "ordinal")


def absent_relations(things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Expressions:
    """Yield `mug left of the red box`, if there is no mug, no red box, or no mug left of it."""
    missing = _relations_of_missing_things(things, rng, shapes)
    wrong = wrong_relations(things, rng)
    while True:
        sources = (wrong, missing) if rng.random() < WRONG_RELATION_SHARE else (missing, wrong)
        expression = next(chain(*sources), None)
        if expression is None:
            return
        yield expression


def _relations_of_missing_things(
    things: VisibleThings, rng: Generator, shapes: tuple[str, ...]
) -> Expressions:
    """Yield `mug left of the red box`, if there is a red box and no mug, or a mug and no red box."""
    anchors = [description for _, description in uniquely_described(things, rng)]
    present = [description for description, _ in groups(things, rng)]
    for description in absent_descriptions(things, rng, shapes):
        target, anchor = description, description
        if present and rng.random() < ABSENT_ANCHOR_SHARE:
            target = choose(present, rng)
        elif anchors:
            anchor = choose(anchors, rng)
        else:
            continue
        if words := _relation_words(things, anchor, rng):
            yield ReferringExpression(f"{target.words} {words}", None, "relation")


def wrong_relations(things: VisibleThings, rng: Generator) -> Expressions:
    """Yield `mug left of the red box`, if all mugs are clearly somewhere else."""
    options = product(groups(things, rng), uniquely_described(things, rng), RELATIONS.items())
    for (description, _), (anchor, name), (synonyms, relation) in shuffled(list(options), rng):
        candidates = matches(things.glimpsed, description.fits)
        others = [thing for thing in candidates or () if thing is not anchor]
        if others and all(relation(thing, anchor) is False for thing in others):
            words = f"{description.words} {choose(synonyms, rng)} the {name.words}"
            yield ReferringExpression(words, None, "relation")


def _relation_words(things: VisibleThings, anchor: Description, rng: Generator) -> str | None:
    """Return `left of the red box` or `between the red box and the mug`.

    Returns:
        None if `between` was drawn and there is no second thing for it.
    """
    synonyms = choose((*ANCHOR_RELATIONS, BETWEEN), rng)
    words = f"{choose(synonyms, rng)} the {anchor.words}"
    if synonyms != BETWEEN:
        return words
    names = [plain_name(things, thing) for thing in things.referents if anchor.fits(thing) is False]
    others = [name.words for name in names if name]
    return f"{words} and the {choose(others, rng)}" if others else None


def absent_commands(
    things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES
) -> Iterator[Item]:
    """Yield commands with an absent phrase; the other phrase may be present."""
    kinds: Mapping[str, DrawExpressions] = EXPRESSION_KINDS | {
        "absent": partial(_absent_in_command, shapes=shapes)
    }
    for item in command_items(things, rng, kinds, ABSENT_COMMAND_SHARE):
        if not all(phrase.boxes for phrase in item.text.phrases):
            yield item


def _absent_in_command(things: VisibleThings, rng: Generator, shapes: tuple[str, ...]) -> Expressions:
    """Yield absent phrases of KINDS_OF_ONE_PHRASE, equally often of each kind."""
    kinds = {**ABSENT, "attribute": absent_expressions}  # with and without a colour
    sources = [kinds[kind](things, rng, shapes) for kind in KINDS_OF_ONE_PHRASE]
    while sources:
        source = choose(sources, rng)
        if expression := next(source, None):
            yield expression
        else:
            sources.remove(source)


PRESENT: Mapping[str, DrawExpressions] = {
    "name": present_names,
    "attribute": present_attributes,
    "size": size_expressions,
    "position": position_expressions,
    "ordinal": ordinal_expressions,
    "relation": relation_expressions,
}
ABSENT: Mapping[str, DrawAbsent] = {
    "name": absent_names,
    "attribute": absent_attributes,
    "size": absent_sizes,
    "position": absent_positions,
    "ordinal": absent_ordinals,
    "relation": absent_relations,
}
PROBE_KINDS = (*PRESENT, COMMAND, SET)
