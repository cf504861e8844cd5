"""Interpret referring expressions by their words, independently of `kosmos2_sim.expressions`.

The rules are plain comparisons of the ground truth, without the margins by which expressions are chosen.
"""

import math
import re

from kosmos2_sim.shapes import COLOURS, MATERIALS, SHAPES

NOUNS = {shape: shape for shape in SHAPES} | {
    "cup": "mug",
    "cylinder": "can",
    "block": "cube",
    "sphere": "ball",
    "capsule": "pill",
    "dish": "plate",
}
ANY = {"object", "thing"}
RELATION = re.compile(
    r"(?P<what>.+?) (?P<how>(?:to the )?(?:left|right) of|in front of|behind|next to|beside|closest to"
    r"|nearest to|between) the (?!camera)(?P<anchor>.+)"
)
ORDINAL = re.compile(r"(?P<number>first|second|third|fourth) (?P<what>.+) from the (?P<side>left|right)")
AFTER = re.compile(
    r"(?P<what>.+?) (?:on the (?:far )?(?P<side>left|right)|at the (?P<end>front|back)"
    r"|(?P<camera>closest to|farthest from) the camera)"
)
COUNTS = {"both": 2, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
SEVERAL = re.compile(rf"(?:the |all (?:the )?)?(?:(?P<count>{'|'.join(COUNTS)}) )?(?P<what>.+)")
FIRST = {
    "left": "left",
    "leftmost": "left",
    "right": "right",
    "rightmost": "right",
    "front": "front",
    "nearest": "front",
    "back": "back",
    "farthest": "back",
}
SIZED = {
    **dict.fromkeys(("big", "bigger", "biggest", "large", "larger", "largest"), "large"),
    **dict.fromkeys(("little", "small", "smaller", "smallest"), "small"),
}


def middle(thing):
    return (thing.box.x1 + thing.box.x2) / 2


def fitting(things, words):
    """What a plain noun phrase fits."""
    *adjectives, noun = words.split()
    assert noun in ANY or noun in NOUNS, words
    for adjective in adjectives:
        assert adjective in COLOURS or adjective in MATERIALS, words
    return [
        thing
        for thing in things
        if (noun in ANY or NOUNS[noun] == thing.shape)
        and all(adjective in (thing.colour, thing.material) for adjective in adjectives)
    ]


def best(group, score):
    """The one thing with the highest score; none where two share it."""
    ranked = sorted(group, key=score, reverse=True)
    return [] if len(ranked) > 1 and score(ranked[0]) == score(ranked[1]) else ranked[:1]


SCORES = {
    "left": lambda thing: -middle(thing),
    "right": middle,
    "front": lambda thing: -thing.distance_m,
    "back": lambda thing: thing.distance_m,
    "large": lambda thing: max(thing.extent_m),
    "small": lambda thing: -max(thing.extent_m),
}


def away(thing, other):
    return math.hypot(thing.centre_m[0] - other.centre_m[0], thing.centre_m[1] - other.centre_m[1])


def is_between(thing, a, b):
    """Within the circle over the two."""
    return away(thing, a) ** 2 + away(thing, b) ** 2 < away(a, b) ** 2


def related(group, how, anchors):
    anchor = anchors[0]
    others = [thing for thing in group if thing not in anchors]
    match how.removeprefix("to the "):
        case "left of":
            return [thing for thing in others if middle(thing) < middle(anchor)]
        case "right of":
            return [thing for thing in others if middle(thing) > middle(anchor)]
        case "in front of":
            return [thing for thing in others if thing.distance_m < anchor.distance_m]
        case "behind":
            return [thing for thing in others if thing.distance_m > anchor.distance_m]
        case "between":
            return [thing for thing in others if is_between(thing, *anchors)]
    return best(others, lambda thing: -away(thing, anchor))


def meant(words, things):
    """All things that the words may mean."""
    words = bare(words)
    if found := ORDINAL.fullmatch(words):
        group = sorted(fitting(things, found["what"]), key=SCORES[found["side"]], reverse=True)
        place = ("first", "second", "third", "fourth").index(found["number"])
        return group[place : place + 1]
    if found := RELATION.fullmatch(words):
        anchors = [meant(name, things) for name in found["anchor"].split(" and the ")]
        assert all(len(anchor) == 1 for anchor in anchors), words
        return related(fitting(things, found["what"]), found["how"], [anchor[0] for anchor in anchors])
    if found := AFTER.fullmatch(words):
        camera = {"closest to": "front", "farthest from": "back"}.get(found["camera"])
        return best(fitting(things, found["what"]), SCORES[found["side"] or found["end"] or camera])
    first, _, rest = words.partition(" ")
    if first in FIRST or first in SIZED:
        return best(fitting(things, rest), SCORES[FIRST.get(first) or SIZED[first]])
    return fitting(things, words)


def several(things, words):
    """All things that a plural fits; none where it counts another number."""
    found = SEVERAL.fullmatch(words)
    *adjectives, plural = found["what"].split()
    [noun] = [noun for noun in (*NOUNS, *ANY) if plural in (f"{noun}s", f"{noun}es")]
    group = fitting(things, " ".join([*adjectives, noun]))
    return group if COUNTS.get(found["count"], len(group)) == len(group) else []


def bare(words):
    """Without an article."""
    return re.sub(r"^(the|an?) ", "", words)
