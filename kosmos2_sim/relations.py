"""Spatial and size relations between things: left of, in front of, next to, between, bigger.

Left and right are directions in the image. In front and behind compare distances from the camera. Next to and
between are measured on the table. A Verdict is None for a near tie, and where people would disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from kosmos2_core.boxes import Box
from kosmos2_sim.descriptions import Verdict
from kosmos2_sim.shot import Thing

SIDE = 0.06  # smallest distance between the centres of two boxes to be left or right, in image widths
DEPTH_M = 0.04  # smallest difference in distance to be nearer or farther
ABREAST = 0.3  # largest sideways distance to be in front or behind, in image widths
NEARER = 1.4  # smallest ratio of the distances of the second nearest and the nearest thing
LONGER, ROOMIER = 1.2, 1.3  # smallest ratios of the longest sides and of the volumes to be bigger


def box_of(thing: Thing) -> Box:
    """Return the box of a thing that is in the image."""
    assert thing.box is not None, "only things with a pixel in the image are related"
    return thing.box


def x_of(thing: Thing) -> float:
    """Return the horizontal centre of a thing's box, in unit coordinates."""
    return (box_of(thing).x1 + box_of(thing).x2) / 2


def _y_of(thing: Thing) -> float:
    return (box_of(thing).y1 + box_of(thing).y2) / 2


def left_of(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is left of another one, and not mostly above or below it."""
    across, along = x_of(other) - x_of(thing), abs(_y_of(other) - _y_of(thing))
    if abs(across) < max(SIDE, along / 2):
        return None
    return across > 0


def right_of(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is right of another one, and not mostly above or below it."""
    return left_of(other, thing)


def nearer_camera(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is nearer to the camera, if the image agrees: nearer things are lower in it."""
    nearer = other.distance_m - thing.distance_m
    lower = box_of(thing).y2 - box_of(other).y2
    if abs(nearer) < DEPTH_M or nearer * lower < 0:
        return None
    return nearer > 0


def in_front_of(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is nearer to the camera than another one, and not far to its side."""
    nearer = nearer_camera(thing, other)
    return None if nearer and abs(x_of(thing) - x_of(other)) > ABREAST else nearer


def behind(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is farther from the camera than another one, and not far to its side."""
    return in_front_of(other, thing)


def bigger(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is bigger, by its longest side and by its volume at once.

    A plate is neither bigger nor smaller than a bottle.
    """
    length, volume = _length(thing) / _length(other), _volume(thing) / _volume(other)
    if length >= LONGER and volume >= ROOMIER:
        return True
    return False if length <= 1 / LONGER and volume <= 1 / ROOMIER else None


def smaller(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is smaller, by its longest side and by its volume at once."""
    return bigger(other, thing)


def extreme(thing: Thing, others: Sequence[Thing], relation: Callable[[Thing, Thing], Verdict]) -> bool:
    """Return whether a relation holds from a thing to all others, as the leftmost is left of all."""
    return all(relation(thing, other) for other in others if other is not thing)


def is_left(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is farther left, however far above or below; `leftmost` is defined by it."""
    across = x_of(other) - x_of(thing)
    return None if abs(across) < SIDE else across > 0


def is_right(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is farther right, however far above or below."""
    return is_left(other, thing)


def farther_from_camera(thing: Thing, other: Thing) -> Verdict:
    """Return whether a thing is farther from the camera, if the image agrees."""
    return nearer_camera(other, thing)


def distance_m(thing: Thing, other: Thing) -> float:
    """Return the distance between the centres of two things on the table."""
    return math.dist(thing.centre_m[:2], other.centre_m[:2])


def nearest(candidates: Sequence[Thing], anchor: Thing) -> Thing | None:
    """Return the candidate nearest to the anchor, or None if another one is nearly as near."""
    ranked = sorted(candidates, key=lambda candidate: distance_m(candidate, anchor))
    if len(ranked) > 1 and distance_m(ranked[1], anchor) < NEARER * distance_m(ranked[0], anchor):
        return None
    return ranked[0] if ranked else None


def next_to(candidates: Sequence[Thing], anchor: Thing) -> Thing | None:
    """Return the nearest candidate, or None if another thing of such a size would fit in between."""
    thing = nearest(candidates, anchor)
    return thing if thing and distance_m(thing, anchor) <= _width(thing) + _width(anchor) else None


def between(thing: Thing, first: Thing, second: Thing) -> Verdict:
    """Return whether a thing is near the middle of the line between two others, on the table."""
    (ax, ay), (bx, by), (px, py) = first.centre_m[:2], second.centre_m[:2], thing.centre_m[:2]
    length = math.hypot(bx - ax, by - ay)
    if length == 0:
        return None
    along = ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length**2
    aside = abs((px - ax) * (by - ay) - (py - ay) * (bx - ax)) / length**2
    if 0.25 <= along <= 0.75 and aside <= 0.2:
        return True
    return False if not 0 < along < 1 or aside > 0.5 else None


def _length(thing: Thing) -> float:
    return max(thing.extent_m)


def _volume(thing: Thing) -> float:
    return math.prod(thing.extent_m)


def _width(thing: Thing) -> float:
    """Return about how much of the table a thing takes, standing or lying: the middle one of its sides."""
    return sorted(thing.extent_m)[1]
