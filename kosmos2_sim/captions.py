"""What is in an image: in a sentence, in a paragraph, and in one box of it.

Captions go from left to right and always use the same words for the same thing, so that there is one right
answer to learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

from numpy.random import Generator

from kosmos2_data.records import Item
from kosmos2_sim import relations
from kosmos2_sim.descriptions import Description, Things, article, full_description, plain_name, shuffled
from kosmos2_sim.marked import Marked, marked
from kosmos2_sim.truth import Thing

NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SENTENCES = 3  # at most, after the list, in a detailed caption


def brief(things: Things) -> Iterator[Item]:
    """After `An image of`: `[a red mug](..), [a blue ball](..) and [a plate](..) on a table`."""
    row = _left_to_right(things)
    if row:
        named = [_marked(article(f"{thing.colour} {thing.shape}"), thing) for thing in row]
        yield Item("caption", marked(*_listed(named), " on a table"), kind="brief")


def detailed(things: Things) -> Iterator[Item]:
    """After `Describe this image in detail:`: how many things, and each with its place beside the next."""
    row = _left_to_right(things)
    if not row:
        return
    parts: list[str | Marked] = []
    if things.all_clear:
        is_are, plural = ("is", "") if len(row) == 1 else ("are", "s")
        parts.append(f"There {is_are} {NUMBERS[len(row)]} object{plural} on a table. ")
    kinds = [_marked(article(full_description(thing).words), thing) for thing in row]
    parts += ["From left to right: ", *_listed(kinds), "."]
    depths = [_sentence(things, thing, following) for thing, following in pairwise(row)]
    parts += chain.from_iterable(list(filter(None, depths))[:SENTENCES])
    yield Item("caption", marked(*parts), detailed=True, kind="detailed")


def _sentence(things: Things, thing: Thing, other: Thing) -> list[str | Marked]:
    """Which of two neighbours is in front, where both have a name of their own."""
    words, name, anchor = _depth(thing, other), plain_name(things, thing), plain_name(things, other)
    if not (words and name and anchor):
        return []
    return [
        " ",
        _marked(f"The {name.words}", thing),
        f" is {words} ",
        _marked(f"the {anchor.words}", other),
        ".",
    ]


def _depth(thing: Thing, other: Thing) -> str:
    in_front = relations.in_front_of(thing, other)
    return "in front of" if in_front else "behind" if relations.behind(thing, other) else ""


def describe(things: Things, rng: Generator) -> Iterator[Item]:
    """`[a small shiny red mug](..)`: as much as tells the thing from all others, and its material where
    that shows."""
    for thing in shuffled(things.referents, rng):
        description = full_description(thing)
        if things.one(description) is thing:
            words = article(_sized(things, thing, description))
            yield Item("describe", marked(_marked(words, thing)), kind="describe")


def _sized(things: Things, thing: Thing, description: Description) -> str:
    """With its size, where another of its shape is clearly bigger or smaller."""
    relation = {"small": relations.smaller, "large": relations.bigger}.get(thing.size)
    others = [other for other in things.seen if other.shape == thing.shape and other is not thing]
    contrast = relation and others and relations.extreme(thing, others, relation)
    return description.sized(thing.size) if contrast else description.words


def _left_to_right(things: Things) -> list[Thing]:
    return sorted(things.referents, key=relations.x_of)


def _marked(words: str, thing: Thing) -> Marked:
    return Marked(words, (relations.box_of(thing),))


def _listed(named: list[Marked]) -> list[str | Marked]:
    """`a, b and c`"""
    parts: list[str | Marked] = []
    for place, one in enumerate(named):
        joint = "" if place == 0 else " and " if place == len(named) - 1 else ", "
        parts += [joint, one] if joint else [one]
    return parts
