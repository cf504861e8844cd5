"""Noun phrases, and which things of an image they fit.

Whether words fit a thing has three answers: True, False, and None where people would not agree (is a mug
shiny that reflects no light?). What is said of an image must be beyond doubt, so None counts as neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from numpy.random import Generator

from kosmos2_sim.truth import Shot, Thing

Answer = bool | None
T = TypeVar("T")
Test = Callable[[Thing], Answer]

REFERENT_VISIBLE = 0.35  # a thing that is meant is seen at least so much,
REFERENT_SIDE = 10 / 224  # and its box has no side shorter than this part of the image
SEEN = 0.1  # from here on an expression must not fit a thing that is not meant


@dataclass(frozen=True)
class Noun:
    word: str
    shape: str | None  # None: of any
    perhaps: tuple[str, ...] = ()  # shapes that some would call so too

    def fits(self, thing: Thing) -> Answer:
        if self.shape is None or thing.shape == self.shape:
            return True
        return None if thing.shape in self.perhaps else False

    @property
    def plural(self) -> str:
        return self.word + ("es" if self.word.endswith(("x", "sh")) else "s")


OBJECT, THING = Noun("object", None), Noun("thing", None)
SYNONYMS = {
    "mug": Noun("cup", "mug", ("bowl",)),
    "can": Noun("cylinder", "can", ("bottle", "mug")),
    "cube": Noun("block", "cube", ("box",)),
    "ball": Noun("sphere", "ball", ("egg",)),
    "pill": Noun("capsule", "pill"),
    "plate": Noun("dish", "plate", ("bowl",)),
}
MAIN_SHARE = 0.8  # of the nouns that have a synonym too


def noun_of(shape: str) -> Noun:
    return Noun(shape, shape)


def some_noun(shape: str, rng: Generator) -> Noun:
    """The shape's name, or now and then a synonym."""
    usual = shape not in SYNONYMS or rng.random() < MAIN_SHARE
    return noun_of(shape) if usual else SYNONYMS[shape]


@dataclass(frozen=True)
class Description:
    """`shiny red mug`: each word is a fact of the thing alone."""

    noun: Noun
    colour: str = ""
    material: str = ""

    @property
    def words(self) -> str:
        return " ".join(filter(None, (self.material, self.colour, self.noun.word)))

    @property
    def is_name(self) -> bool:
        """Whether it is the noun of a shape, and nothing else: `mug`."""
        return self.noun.shape is not None and not self.has_attribute

    @property
    def has_attribute(self) -> bool:
        """Whether it has a colour or a material: `red mug`, `shiny object`."""
        return bool(self.colour or self.material)

    def sized(self, size: str) -> str:
        return f"{size} {self.words}"

    def fits(self, thing: Thing) -> Answer:
        colour = self.colour in ("", thing.colour)
        return all_hold((self.noun.fits(thing), colour, self._material_fits(thing)))

    def _material_fits(self, thing: Thing) -> Answer:
        if not self.material:
            return True
        return self.material == thing.material if thing.material_shows else None


def all_hold(answers: Iterable[Answer]) -> Answer:
    given = list(answers)
    if False in given:
        return False
    return None if None in given else True


def fitting(things: Iterable[Thing], test: Test) -> tuple[Thing, ...] | None:
    """The things that pass; None where that is in doubt for any."""
    answers = [(thing, test(thing)) for thing in things]
    if any(answer is None for _, answer in answers):
        return None
    return tuple(thing for thing, answer in answers if answer)


def only(things: Iterable[Thing], test: Test) -> Thing | None:
    """The one thing that passes, beyond doubt."""
    found = fitting(things, test)
    return found[0] if found and len(found) == 1 else None


@dataclass(frozen=True)
class Things:
    """The things of an image, as far as words can be about them."""

    referents: tuple[Thing, ...]  # seen well enough to be meant
    seen: tuple[Thing, ...]  # with these a referent must not be confused
    glimpsed: tuple[Thing, ...]  # any pixel is in the image: what is absent is none of these

    @property
    def all_clear(self) -> bool:
        """Whether the things in the image can be counted."""
        return len(self.referents) == len(self.glimpsed)

    def one(self, description: Description) -> Thing | None:
        """The referent that the description fits, and nothing else seen."""
        thing = only(self.seen, description.fits)
        return thing if thing in self.referents else None


def things_of(shot: Shot) -> Things:
    glimpsed = tuple(thing for thing in shot.things if thing.box)
    seen = tuple(thing for thing in glimpsed if thing.visible >= SEEN)
    return Things(tuple(thing for thing in seen if _can_be_meant(thing)), seen, glimpsed)


def _can_be_meant(thing: Thing) -> bool:
    box = thing.box
    return (
        box is not None
        and thing.visible >= REFERENT_VISIBLE
        and min(box.x2 - box.x1, box.y2 - box.y1) >= REFERENT_SIDE
    )


def descriptions(thing: Thing, rng: Generator) -> list[Description]:
    """All ways to name a thing by what it is alone, shortest first."""
    own = some_noun(thing.shape, rng)
    generic = (OBJECT, THING)[int(rng.random() < 0.25)]
    materials = ("", thing.material) if thing.material_shows else ("",)
    named = [
        Description(noun, colour, material)
        for noun, colour, material in product((own, generic), ("", thing.colour), materials)
    ]
    return sorted(named, key=lambda one: one.words.count(" "))


def unique_descriptions(things: Things, thing: Thing, rng: Generator) -> list[Description]:
    """Those that fit this thing alone, shortest first."""
    return [one for one in descriptions(thing, rng) if things.one(one) is thing]


def unique_names(things: Things, rng: Generator) -> list[tuple[Thing, Description]]:
    """Descriptions that fit exactly one thing, with that thing, in random order."""
    named = [
        (thing, description)
        for thing in things.referents
        for description in unique_descriptions(things, thing, rng)
    ]
    return shuffled(named, rng)


def full_description(thing: Thing) -> Description:
    """All that can be seen of it."""
    return Description(noun_of(thing.shape), thing.colour, thing.material if thing.material_shows else "")


def plain_name(things: Things, thing: Thing) -> Description | None:
    """The shortest of shape, colour and material that tells a thing, always in the same words."""
    shape = Description(noun_of(thing.shape))
    coloured = replace(shape, colour=thing.colour)
    ways = (shape, coloured, replace(coloured, material=thing.material))
    return next((one for one in ways if things.one(one) is thing), None)


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def shuffled(options: Sequence[T], rng: Generator) -> list[T]:
    return [options[index] for index in rng.permutation(len(options))]


def choose(options: Sequence[T], rng: Generator) -> T:
    """One of the options, each with the same probability."""
    return options[int(rng.integers(len(options)))]


def in_pairs(ones: Iterable[T], others: Iterable[T], rng: Generator) -> Iterator[T]:
    """One of each by turns, either first, until one side runs out."""
    for pair in zip(ones, others, strict=False):
        yield from shuffled(pair, rng)
