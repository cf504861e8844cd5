"""Referring expressions: words that fit one thing of an image, and no other, and words that fit none.

How it is made sure that an expression is true: it is tried on all things in the image
(`descriptions.Things`), and dropped where any answer is in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, product

from numpy.random import Generator

from kosmos2_data.records import Item
from kosmos2_sim.comparing import ordinal, position, relation, size
from kosmos2_sim.descriptions import (
    OBJECT,
    Description,
    Things,
    fitting,
    in_pairs,
    shuffled,
    some_noun,
    things_of,
    unique_names,
)
from kosmos2_sim.referring import Draw, Referring, expression_item
from kosmos2_sim.shapes import COLOURS, ONLY, SHAPES
from kosmos2_sim.truth import Shot

BARE = 4  # how many times likelier a missing shape is drawn without a colour than with one of them


def attribute(things: Things, rng: Generator) -> Draw:
    """`red mug`, `shiny red mug`, `red object`."""
    for thing, description in unique_names(things, rng):
        yield Referring(description.words, thing, "attribute")


def absent(things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES) -> Draw:
    """`blue ball`, where none is: by name, or by name and colour."""
    for description in absent_descriptions(things, rng, shapes):
        yield Referring(description.words, None, "absent")


def absent_descriptions(
    things: Things, rng: Generator, shapes: tuple[str, ...] = SHAPES
) -> Iterator[Description]:
    """Descriptions that fit nothing in the image: a shape, a colour, or both together.

    Half are hard, while there are such: the colour is in the image, and the shape is, but not together. A
    shape that is not in the image is one of `shapes`.
    """
    here = sorted({thing.shape for thing in things.glimpsed})
    colours = sorted({thing.colour for thing in things.glimpsed})
    missing = [shape for shape in shapes if shape not in here]
    together = [(shape, colour) for shape, colour in product(here, colours) if _possible(shape, colour)]
    alone = [(shape, colour) for shape in missing for colour in COLOURS if _possible(shape, colour)]
    alone += [(shape, "") for shape in missing] * BARE
    alone += [("", colour) for colour in COLOURS if colour not in colours]
    hard, easy = (_fitting_none(things, options, rng) for options in (together, alone))
    return chain(in_pairs(hard, easy, rng), easy)


def _possible(shape: str, colour: str) -> bool:
    """A blue banana is not asked for: its colour alone would tell that there is none."""
    return colour in ONLY.get(shape, tuple(COLOURS))


def _fitting_none(things: Things, options: list[tuple[str, str]], rng: Generator) -> Iterator[Description]:
    for shape, colour in shuffled(options, rng):
        description = Description(some_noun(shape, rng) if shape else OBJECT, colour)
        if fitting(things.glimpsed, description.fits) == ():
            yield description


KINDS: dict[str, Callable[[Things, Generator], Draw]] = {
    "attribute": attribute,
    "size": size,
    "position": position,
    "relation": relation,
    "ordinal": ordinal,
    "absent": absent,
}


def expressions(shot: Shot, rng: Generator) -> list[Item]:
    """Expressions of all kinds about one image."""
    things = things_of(shot)
    return [expression_item(one, rng) for draw in KINDS.values() for one in draw(things, rng)]
