"""Sentences about an image of the tabletop: what a model is to learn to say, and is evaluated on.

`items` draws all tasks in their shares. A sentence is written as a list of parts: plain words, and things
that are marked in it, with their boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.random import Generator

from kosmos2_data.records import Item
from kosmos2_sim import captions, questions
from kosmos2_sim.commands import command
from kosmos2_sim.descriptions import Things, things_of
from kosmos2_sim.expressions import KINDS, absent
from kosmos2_sim.referring import Draw, expression_item
from kosmos2_sim.shapes import SHAPES
from kosmos2_sim.truth import Shot

# How often each is drawn, beside the short caption of each image; another, where an image has none of it.
SHARES = {
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


def items(shot: Shot, rng: Generator, count: int, shapes: tuple[str, ...] = SHAPES) -> tuple[Item, ...]:
    """Up to so many different items, a caption first. What is said to be absent is one of these shapes."""
    things = things_of(shot)
    drawn: dict[Item, None] = dict.fromkeys(captions.brief(things))
    draws = _draws(things, rng, shapes)
    while draws and len(drawn) < count:
        names = list(draws)
        shares = np.array([SHARES[name] for name in names])
        name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        item = next(draws[name], None)
        if item is None:
            del draws[name]
        else:
            drawn.setdefault(item)
    return tuple(drawn)


def _draws(things: Things, rng: Generator, shapes: tuple[str, ...]) -> dict[str, Iterator[Item]]:
    """What can be said of each kind, lazily, in random order."""
    referring: dict[str, Callable[[Things, Generator], Draw]] = KINDS | {
        "absent": partial(absent, shapes=shapes)
    }
    located = {
        kind: (expression_item(one, rng) for one in draw(things, rng)) for kind, draw in referring.items()
    }
    return {
        **located,
        "command": command(things, rng, referring),
        "detailed": captions.detailed(things),
        "describe": captions.describe(things, rng),
        **{kind: ask(things, rng) for kind, ask in questions.kinds(shapes).items()},
    }
