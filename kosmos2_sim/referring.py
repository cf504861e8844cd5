"""What all referring expressions are: words, and the thing they mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from numpy.random import Generator

from kosmos2_core.boxes import Box
from kosmos2_data.records import Item
from kosmos2_sim.descriptions import Description, Things, article, descriptions, fitting, shuffled
from kosmos2_sim.marked import Marked, marked
from kosmos2_sim.relations import box_of
from kosmos2_sim.truth import Thing

PLAIN = ("name", "attribute", "absent")  # kinds without a comparison, which may have the article `a`


@dataclass(frozen=True)
class Referring:
    """Words without their article, and the thing they mean; None: nothing in the image."""

    words: str
    thing: Thing | None
    kind: str

    @property
    def boxes(self) -> tuple[Box, ...]:
        return (box_of(self.thing),) if self.thing else ()


Draw = Iterator[Referring]


def expression_item(referring: Referring, rng: Generator) -> Item:
    words = with_article(referring, rng)
    return Item("locate", marked(Marked(words, referring.boxes)), kind=referring.kind)


def with_article(referring: Referring, rng: Generator) -> str:
    """Mostly `the`; sometimes none, and `a` before what needs no comparison."""
    draw = rng.random()
    if referring.kind in PLAIN and draw < 0.12:
        return article(referring.words)
    return referring.words if draw > 0.82 else f"the {referring.words}"


def groups(things: Things, rng: Generator) -> list[tuple[Description, tuple[Thing, ...]]]:
    """Descriptions, each with all the things that it fits."""
    forms = {one for thing in things.referents for one in descriptions(thing, rng)}
    groups = [(one, fitting(things.seen, one.fits)) for one in sorted(forms, key=lambda one: one.words)]
    return [(one, group) for one, group in groups if group]


def contrasts(things: Things, rng: Generator) -> list[tuple[Thing, Description, tuple[Thing, ...]]]:
    """Descriptions that fit several things, once for each of these that can be meant."""
    several = [
        (thing, one, group)
        for one, group in groups(things, rng)
        if len(group) > 1
        for thing in group
        if thing in things.referents
    ]
    return shuffled(several, rng)
