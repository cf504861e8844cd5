"""Where things are to each other: left of, in front of, next to, between, bigger.

Left and right are the image's; in front and behind are by the distance from the camera; next to and
between are on the table. Answers are True, False, or None: nearly a tie, or a matter of opinion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from kosmos2_core.boxes import Box
from kosmos2_sim.descriptions import Answer
from kosmos2_sim.truth import Thing

SIDE = 0.06  # of the image's width, between the boxes' centres
DEPTH_M = 0.04
ABREAST = 0.3  # of the image's width: farther to the side nothing is in front of or behind another
NEARER = 1.4  # how many times nearer the nearest is than the next
LONGER, ROOMIER = 1.2, 1.3  # how many times a bigger thing's longest side and volume are the other's


def box_of(thing: Thing) -> Box:
    assert thing.box is not None, "only things with a pixel in the image are related"
    return thing.box


def x_of(thing: Thing) -> float:
    return (box_of(thing).x1 + box_of(thing).x2) / 2


def _y_of(thing: Thing) -> float:
    return (box_of(thing).y1 + box_of(thing).y2) / 2


def left_of(thing: Thing, other: Thing) -> Answer:
    across, along = x_of(other) - x_of(thing), abs(_y_of(other) - _y_of(thing))
    if abs(across) < max(SIDE, along / 2):  # hardly to the side, mostly above or below
        return None
    return across > 0


def right_of(thing: Thing, other: Thing) -> Answer:
    return left_of(other, thing)


def nearer_camera(thing: Thing, other: Thing) -> Answer:
    """By distance; the image must agree, where what is nearer is lower."""
    nearer = other.distance_m - thing.distance_m
    lower = box_of(thing).y2 - box_of(other).y2
    if abs(nearer) < DEPTH_M or nearer * lower < 0:
        return None
    return nearer > 0


def in_front_of(thing: Thing, other: Thing) -> Answer:
    nearer = nearer_camera(thing, other)
    return None if nearer and abs(x_of(thing) - x_of(other)) > ABREAST else nearer


def behind(thing: Thing, other: Thing) -> Answer:
    return in_front_of(other, thing)


def bigger(thing: Thing, other: Thing) -> Answer:
    """By the longest side and by volume at once: a plate is neither bigger nor smaller than a bottle."""
    length, volume = _length(thing) / _length(other), _volume(thing) / _volume(other)
    if length >= LONGER and volume >= ROOMIER:
        return True
    return False if length <= 1 / LONGER and volume <= 1 / ROOMIER else None


def smaller(thing: Thing, other: Thing) -> Answer:
    return bigger(other, thing)


def extreme(thing: Thing, others: Sequence[Thing], relation: Callable[[Thing, Thing], Answer]) -> bool:
    """Whether the relation holds from a thing to each of the others, as the leftmost is left of all."""
    return all(relation(thing, other) for other in others if other is not thing)


def is_left(thing: Thing, other: Thing) -> Answer:
    """As `left_of`, however far above or below: for who is leftmost, and second from the left."""
    across = x_of(other) - x_of(thing)
    return None if abs(across) < SIDE else across > 0


def is_right(thing: Thing, other: Thing) -> Answer:
    return is_left(other, thing)


def farther_from_camera(thing: Thing, other: Thing) -> Answer:
    return nearer_camera(other, thing)


def distance_m(thing: Thing, other: Thing) -> float:
    """On the table, between centres."""
    return math.dist(thing.centre_m[:2], other.centre_m[:2])


def nearest(candidates: Sequence[Thing], anchor: Thing) -> Thing | None:
    """The candidate closest to the anchor, clearly closer than the others."""
    ranked = sorted(candidates, key=lambda one: distance_m(one, anchor))
    if len(ranked) > 1 and distance_m(ranked[1], anchor) < NEARER * distance_m(ranked[0], anchor):
        return None
    return ranked[0] if ranked else None


def next_to(candidates: Sequence[Thing], anchor: Thing) -> Thing | None:
    """The nearest, where between it and the anchor there is no room for another such thing."""
    thing = nearest(candidates, anchor)
    return thing if thing and distance_m(thing, anchor) <= _width(thing) + _width(anchor) else None


def between(thing: Thing, one: Thing, other: Thing) -> Answer:
    """On the table: near the middle of the line from one to the other."""
    (ax, ay), (bx, by), (px, py) = one.centre_m[:2], other.centre_m[:2], thing.centre_m[:2]
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
    """Of the table that it takes, standing or lying."""
    return sorted(thing.extent_m)[1]
