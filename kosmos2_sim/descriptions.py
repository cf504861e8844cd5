"""Noun phrases for the things in an image, and the test of which things they fit.

A test whether words fit a thing has three results (a Verdict): True, False, or None if people would disagree,
for example whether a mug that reflects no light is shiny. Sentences must be true beyond doubt, so None counts
neither as a yes nor as a no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product

from numpy.random import Generator

from kosmos2_core.boxes import Box
from kosmos2_core.grounded_text import GroundedText, Phrase
from kosmos2_sim.clutter import CLUTTER, NEUTRAL
from kosmos2_sim.draws import shuffled
from kosmos2_sim.shot import Shot, Thing

Verdict = bool | None
Test = Callable[[Thing], Verdict]

# A sentence refers only to things of which at least this part is visible,
REFERENT_VISIBLE = 0.35
# and whose boxes have no side shorter than this part of the image.
REFERENT_SIDE = 10 / 224
# A thing that is visible to at least this part must not be confused with the one that is meant.
CONFUSABLE_VISIBLE = 0.1


@dataclass(frozen=True)
class MarkedWords:
    """Words that are marked in a sentence, with their boxes; no boxes if nothing in the image fits them."""

    words: str
    boxes: tuple[Box, ...]


def grounded(*parts: str | MarkedWords) -> GroundedText:
    """Join plain and marked words to a grounded text."""
    text = ""
    phrases: list[Phrase] = []
    for part in parts:
        words = part if isinstance(part, str) else part.words
        if isinstance(part, MarkedWords):
            phrases.append(Phrase(len(text), len(text) + len(words), part.boxes))
        text += words
    return GroundedText(text, tuple(phrases))


@dataclass(frozen=True)
class ObjectNoun:
    """A noun for things of one shape, or of any shape."""

    word: str
    shape: str | None  # None: any shape
    debatable: tuple[str, ...] = ()  # other shapes that some people would call by this noun

    def fits(self, thing: Thing) -> Verdict:
        """Return whether people call the thing by this noun."""
        if thing.shape in CLUTTER:
            return None if self.shape is None or self.shape in CLUTTER[thing.shape].resembles else False
        if self.shape is None or thing.shape == self.shape:
            return True
        return None if thing.shape in self.debatable else False

    @property
    def plural(self) -> str:
        """The plural of the noun."""
        return self.word + ("es" if self.word.endswith(("x", "sh")) else "s")


OBJECT, THING = ObjectNoun("object", None), ObjectNoun("thing", None)
SYNONYMS = {
    "mug": ObjectNoun("cup", "mug", ("bowl",)),
    "can": ObjectNoun("cylinder", "can", ("bottle", "mug")),
    "cube": ObjectNoun("block", "cube", ("box",)),
    "ball": ObjectNoun("sphere", "ball", ("egg",)),
    "pill": ObjectNoun("capsule", "pill"),
    "plate": ObjectNoun("dish", "plate", ("bowl",)),
}
MAIN_NOUN_PROBABILITY = 0.8  # for shapes that have a synonym


def noun_of(shape: str) -> ObjectNoun:
    """Return the main noun of a shape."""
    return ObjectNoun(shape, shape)


def random_noun(shape: str, rng: Generator) -> ObjectNoun:
    """Return the main noun of a shape, or sometimes its synonym."""
    usual = shape not in SYNONYMS or rng.random() < MAIN_NOUN_PROBABILITY
    return noun_of(shape) if usual else SYNONYMS[shape]


@dataclass(frozen=True)
class Description:
    """A noun with attributes of the thing itself: `shiny red mug`."""

    noun: ObjectNoun
    colour: str = ""
    material: str = ""

    @property
    def words(self) -> str:
        """The words of the description, without an article."""
        return self._with(self.noun.word)

    @property
    def plural_words(self) -> str:
        """The words for several such things, without an article."""
        return self._with(self.noun.plural)

    def _with(self, noun: str) -> str:
        return " ".join(filter(None, (self.material, self.colour, noun)))

    @property
    def is_name(self) -> bool:
        """True for the noun of a shape and nothing else: `mug`."""
        return self.noun.shape is not None and not self.has_attribute

    @property
    def has_attribute(self) -> bool:
        """True with a colour or a material: `red mug`, `shiny object`."""
        return bool(self.colour or self.material)

    def sized(self, size: str) -> str:
        """Return the words with a word for the size in front: `small red mug`."""
        return f"{size} {self.words}"

    def fits(self, thing: Thing) -> Verdict:
        """Return whether noun, colour and material fit the thing."""
        return all_true((self.noun.fits(thing), self._colour_fits(thing), self._material_fits(thing)))

    def _colour_fits(self, thing: Thing) -> Verdict:
        if thing.shape in CLUTTER and self.colour in NEUTRAL:
            return None
        return self.colour in ("", thing.colour)

    def _material_fits(self, thing: Thing) -> Verdict:
        if not self.material:
            return True
        return self.material == thing.material if thing.material_shows else None


def all_true(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the conjunction of verdicts: False if any is False, otherwise None if any is None."""
    known = list(verdicts)
    if False in known:
        return False
    return None if None in known else True


def matches(things: Iterable[Thing], test: Test) -> tuple[Thing, ...] | None:
    """Return the things that pass a test, or None if the result is in doubt for any of them."""
    verdicts = [(thing, test(thing)) for thing in things]
    if any(verdict is None for _, verdict in verdicts):
        return None
    return tuple(thing for thing, verdict in verdicts if verdict)


def only_match(things: Iterable[Thing], test: Test) -> Thing | None:
    """Return the thing that passes a test, or None unless exactly one does, beyond doubt."""
    found = matches(things, test)
    return found[0] if found and len(found) == 1 else None


@dataclass(frozen=True)
class VisibleThings:
    """The things in an image, in three groups of which each contains the one before it."""

    referents: tuple[Thing, ...]  # visible well enough to be referred to
    seen: tuple[Thing, ...]  # visible well enough to be confused with a referent
    glimpsed: tuple[Thing, ...]  # with any pixel in the image; an absent phrase fits none of these

    @property
    def countable(self) -> bool:
        """True if all things that have a name are visible well enough to be counted."""
        return len(self.referents) == len(self.named)

    @property
    def named(self) -> tuple[Thing, ...]:
        """The glimpsed things without the clutter."""
        return tuple(thing for thing in self.glimpsed if thing.shape not in CLUTTER)

    def described(self, description: Description) -> Thing | None:
        """Return the referent that a description fits, or None if it fits no or several seen things."""
        thing = only_match(self.seen, description.fits)
        return thing if thing in self.referents else None


def visible_things(shot: Shot) -> VisibleThings:
    """Group the things of a shot by how well they are visible. Clutter is seen, but never a referent."""
    glimpsed = tuple(thing for thing in (*shot.things, *shot.clutter) if thing.box)
    seen = tuple(thing for thing in glimpsed if thing.visible >= CONFUSABLE_VISIBLE)
    return VisibleThings(tuple(thing for thing in seen if _can_be_referent(thing)), seen, glimpsed)


def _can_be_referent(thing: Thing) -> bool:
    box = thing.box
    return (
        box is not None
        and thing.shape not in CLUTTER
        and thing.visible >= REFERENT_VISIBLE
        and min(box.x2 - box.x1, box.y2 - box.y1) >= REFERENT_SIDE
    )


def descriptions_of(thing: Thing, rng: Generator) -> list[Description]:
    """Return descriptions of a thing by its own attributes, shortest first."""
    specific = random_noun(thing.shape, rng)
    generic = (OBJECT, THING)[int(rng.random() < 0.25)]
    materials = ("", thing.material) if thing.material_shows else ("",)
    found = [
        Description(noun, colour, material)
        for noun, colour, material in product((specific, generic), ("", thing.colour), materials)
    ]
    return sorted(found, key=lambda description: description.words.count(" "))


def unique_descriptions(things: VisibleThings, thing: Thing, rng: Generator) -> list[Description]:
    """Return the descriptions that fit this thing and no other, shortest first."""
    candidates = descriptions_of(thing, rng)
    return [description for description in candidates if things.described(description) is thing]


def uniquely_described(things: VisibleThings, rng: Generator) -> list[tuple[Thing, Description]]:
    """Return all referents with their unique descriptions, as pairs in random order."""
    pairs = [
        (thing, description)
        for thing in things.referents
        for description in unique_descriptions(things, thing, rng)
    ]
    return shuffled(pairs, rng)


def full_description(thing: Thing) -> Description:
    """Return the description by everything that the image shows of a thing: material, colour and shape."""
    return Description(noun_of(thing.shape), thing.colour, thing.material if thing.material_shows else "")


def plain_name(things: VisibleThings, thing: Thing) -> Description | None:
    """Return the shortest unique description by shape, then colour, then material, without random choices.

    Returns:
        None if even all three together fit another thing.
    """
    shape = Description(noun_of(thing.shape))
    coloured = replace(shape, colour=thing.colour)
    candidates = (shape, coloured, replace(coloured, material=thing.material))
    unique = (description for description in candidates if things.described(description) is thing)
    return next(unique, None)


def indefinite(words: str) -> str:
    """Put `a` or `an` before a noun phrase."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
