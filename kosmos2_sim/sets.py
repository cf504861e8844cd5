"""Phrases for several things at once: `the red mugs`, `all objects`, `two cubes`.

The boxes of a set are in the order in which a model says them: by their left edges, from left to right.
"""

from __future__ import annotations

from collections.abc import Iterator

from numpy.random import Generator

from kosmos2_data.records import Item
from kosmos2_sim.descriptions import MarkedWords, VisibleThings, grounded, matches
from kosmos2_sim.draws import choose, shuffled
from kosmos2_sim.expressions import absent_descriptions, groups
from kosmos2_sim.relations import box_of
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.shot import Thing
from kosmos2_sim.text_items import NUMBERS

SET = "set"  # the kind of these items
LARGEST_SET = 6  # things; people do not see at a glance how many there are in a larger one
PLURALS = ("the {}", "the {}", "{}", "all {}", "all the {}")
COUNTED = ("{number} {}", "the {number} {}")
PAIRS = ("both {}", *COUNTED)


def set_items(things: VisibleThings, rng: Generator) -> Iterator[Item]:
    """Yield items that ask for all things that a plural fits, two or more, each of them a referent."""
    for description, _ in shuffled(groups(things, rng), rng):
        members = matches(things.glimpsed, description.fits)
        if members and 2 <= len(members) <= LARGEST_SET and set(members) <= set(things.referents):
            counted = PAIRS if len(members) == 2 else COUNTED
            template = choose(counted if rng.random() < 0.4 else PLURALS, rng)
            words = template.format(description.plural_words, number=NUMBERS[len(members)])
            yield _item(words, members)


def absent_set_items(
    things: VisibleThings, rng: Generator, shapes: tuple[str, ...] = SHAPES
) -> Iterator[Item]:
    """Yield items that ask for things of which there is none in the image."""
    for description in absent_descriptions(things, rng, shapes):
        template = choose((*PLURALS, *PAIRS), rng)
        yield _item(template.format(description.plural_words, number=choose(NUMBERS[2:5], rng)), ())


def _item(words: str, members: tuple[Thing, ...]) -> Item:
    boxes = sorted((box_of(thing) for thing in members), key=lambda box: (box.x1, box.y1))
    return Item("locate", grounded(MarkedWords(words, tuple(boxes))), kind=SET)
