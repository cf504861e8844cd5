"""Phrases that probe presence: does a model know which things are in an image, and which are not?

    for each kind of phrase: present ones, with their boxes, and absent ones, marked with no box

Present phrases come from the generators of the other items (expressions.py, comparing.py, commands.py).
Absent ones have the same words around a description that fits nothing in the image beyond doubt, not even a
thing of which a single pixel is seen. To add a kind, add a line to PRESENT and one to ABSENT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import TypeVar
from zlib import crc32

import numpy as np
from numpy.random import Generator

from kosmos2_data.records import Item
from kosmos2_sim import comparing, expressions
from kosmos2_sim.commands import KINDS_OF_ONE, command
from kosmos2_sim.comparing import (
    BETWEEN,
    ENDS,
    ORDINALS,
    SIDES,
    SIZE_WORDS,
    WAYS,
    ordinal_words,
)
from kosmos2_sim.descriptions import (
    Description,
    Things,
    choose,
    plain_name,
    things_of,
    unique_names,
)
from kosmos2_sim.expressions import absent, absent_descriptions
from kosmos2_sim.layout import SPLITS
from kosmos2_sim.referring import Draw, Referring, expression_item, groups
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.truth import Shot

T = TypeVar("T")
Draws = Callable[[Things, Generator], Draw]
AbsentDraws = Callable[[Things, Generator, tuple[str, ...]], Draw]

COMMAND = "command"
STREAM = 2  # of a shot's random numbers: 1 is for the items of a data set
ABSENT_ANCHOR_SHARE = 0.25  # of absent relations; the thing itself is then in the image
ABSENT_COMMAND_SHARE = 0.5  # of phrases; a command without any absent phrase is then left out


def probes(shot: Shot, count: int, shapes: tuple[str, ...] = SHAPES) -> tuple[Item, ...]:
    """Up to `count` present and `count` absent items of each of KINDS; the same for a shot at every call.

    An item of the kind "command" may have two phrases, of which at least one is absent in an absent item.
    Shapes that are said to be absent are among `shapes`.
    """
    things = things_of(shot)
    items: list[Item] = []
    for kind in KINDS:
        present = present_items(kind, things, _rng_of(shot, kind, 1))
        missing = absent_items(kind, things, _rng_of(shot, kind, 0), shapes)
        items += [*islice(_different(present), count), *islice(_different(missing), count)]
    return tuple(items)


def _rng_of(shot: Shot, kind: str, present: int) -> Generator:
    """Random numbers for a kind, which do not change when another kind is added."""
    return np.random.default_rng([SPLITS.index(shot.split), shot.seed, STREAM, crc32(kind.encode()), present])


def present_items(kind: str, things: Things, rng: Generator) -> Iterator[Item]:
    """Items of a kind whose phrases are all in the image."""
    if kind == COMMAND:
        return command(things, rng, expressions.KINDS, absent_share=0.0)
    return (expression_item(referring, rng) for referring in PRESENT[kind](things, rng))


def absent_items(
    kind: str, things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES
) -> Iterator[Item]:
    """Items of a kind with a phrase that is not in the image."""
    if kind == COMMAND:
        return absent_commands(things, rng, shapes)
    return (expression_item(referring, rng) for referring in ABSENT[kind](things, rng, shapes))


def _different(values: Iterator[T]) -> Iterator[T]:
    seen: set[T] = set()
    for value in values:
        if value not in seen:
            seen.add(value)
            yield value


# Present phrases.


def present_name(things: Things, rng: Generator) -> Draw:
    """`mug`, of which there is exactly one."""
    for thing, description in unique_names(things, rng):
        if description.is_name:
            yield Referring(description.words, thing, "name")


def present_attribute(things: Things, rng: Generator) -> Draw:
    """`red mug`, `shiny mug`, `red object`."""
    for thing, description in unique_names(things, rng):
        if description.has_attribute:
            yield Referring(description.words, thing, "attribute")


# Absent phrases.


def absent_name(things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Draw:
    """`mug`, of which no pixel is in the image."""
    for description in absent_descriptions(things, rng, shapes):
        if description.is_name:
            yield Referring(description.words, None, "name")


def absent_attribute(things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Draw:
    """`red mug`, also where there is a blue mug and a red ball."""
    for description in absent_descriptions(things, rng, shapes):
        if description.has_attribute:
            yield Referring(description.words, None, "attribute")


def absent_size(things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Draw:
    """`biggest red mug`, without any red mug."""
    words = [word for _, *forms in SIZE_WORDS.values() for form in forms for word in form]
    for description in absent_descriptions(things, rng, shapes):
        yield Referring(description.sized(choose(words, rng)), None, "size")


def absent_position(things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Draw:
    """`mug on the left`, without any mug."""
    for description in absent_descriptions(things, rng, shapes):
        _, phrases, of_two = SIDES[choose(tuple(SIDES), rng)]
        words = choose(phrases + of_two, rng).format(description.words)
        yield Referring(words, None, "position")


def absent_ordinal(things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Draw:
    """`second mug from the left`, without any mug."""
    for description in absent_descriptions(things, rng, shapes):
        words = ordinal_words(choose(ORDINALS, rng), description, choose(ENDS, rng))
        yield Referring(words, None, "ordinal")


def absent_relation(things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Draw:
    """`mug left of the red box`, with the red box and without any mug; or the mug, and no red box."""
    anchors = [description for _, description in unique_names(things, rng)]
    present = [description for description, _ in groups(things, rng)]
    for description in absent_descriptions(things, rng, shapes):
        what, anchor = description, description
        if present and rng.random() < ABSENT_ANCHOR_SHARE:
            what = choose(present, rng)
        elif anchors:
            anchor = choose(anchors, rng)
        else:
            continue
        if words := _related(things, anchor, rng):
            yield Referring(f"{what.words} {words}", None, "relation")


def _related(things: Things, anchor: Description, rng: Generator) -> str | None:
    """`left of the red box`, `between the red box and the mug`; None: there is nothing for the second."""
    way = choose((*WAYS, BETWEEN), rng)
    words = f"{choose(way, rng)} the {anchor.words}"
    if way != BETWEEN:
        return words
    names = [plain_name(things, thing) for thing in things.referents if anchor.fits(thing) is False]
    others = [name.words for name in names if name]
    return f"{words} and the {choose(others, rng)}" if others else None


def absent_commands(things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Iterator[Item]:
    """Commands with an absent phrase, of the kinds that commands have; the other phrase may be present."""
    kinds: Mapping[str, Draws] = expressions.KINDS | {"absent": partial(_absent_in_command, shapes=shapes)}
    for item in command(things, rng, kinds, ABSENT_COMMAND_SHARE):
        if not all(phrase.boxes for phrase in item.text.phrases):
            yield item


def _absent_in_command(things: Things, rng: Generator, shapes: tuple[str, ...]) -> Draw:
    """Absent phrases of KINDS_OF_ONE, as often of each."""
    kinds = {**ABSENT, "attribute": absent}  # with and without a colour
    draws = [kinds[kind](things, rng, shapes) for kind in KINDS_OF_ONE]
    while draws:
        draw = choose(draws, rng)
        if referring := next(draw, None):
            yield referring
        else:
            draws.remove(draw)


PRESENT: Mapping[str, Draws] = {
    "name": present_name,
    "attribute": present_attribute,
    "size": comparing.size,
    "position": comparing.position,
    "ordinal": comparing.ordinal,
    "relation": comparing.relation,
}
ABSENT: Mapping[str, AbsentDraws] = {
    "name": absent_name,
    "attribute": absent_attribute,
    "size": absent_size,
    "position": absent_position,
    "ordinal": absent_ordinal,
    "relation": absent_relation,
}
KINDS = (*PRESENT, COMMAND)
