"""Objects drawn one after the other, each where it touches no other and the split's rules hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_sim.meshes import bounds_of, outline_of
from kosmos2_sim.scenery import clipped
from kosmos2_sim.shapes import COLOURS, LIES, MATERIALS, ONLY, SIZES, Rgb
from kosmos2_sim.view import View

Array = NDArray[np.float64]
Pair = tuple[float, float]
Option = TypeVar("Option")

GAP_M = 0.004  # between two objects' footprints, at least
TRIES = 25  # for each object
ON_SIDE = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
CORNERS = np.array([[number >> axis & 1 for axis in range(3)] for number in range(8)])


@dataclass(frozen=True)
class Rules:
    """How a split's objects stand in the image."""

    count: tuple[int, int]
    across_m: Pair  # of the table, over the image's width
    width_px: Pair  # of an object's box, in an image 224 wide
    overlap: float  # of two boxes, how much of the smaller one may be shared
    spread: float = 0.84  # of the image, where objects' places are
    elevation: Pair = (25, 75)  # of the camera, degrees
    hidden: Pair | None = None  # how much of every second object another one hides


@dataclass(frozen=True, eq=False)
class Placed:
    """An object that stands on the table."""

    shape: str
    colour: str
    material: str
    size: str
    rgb: Rgb
    scale: float  # of its mesh
    axes: Array  # (3, 3), its rotation in the world
    position_m: Array  # (3,), of its mesh's origin

    @cached_property
    def bounds_m(self) -> tuple[Array, Array]:
        """The box around it, in its own frame: lower and upper corner."""
        low, high = bounds_of(self.shape)
        return low * self.scale, high * self.scale

    @cached_property
    def corners_m(self) -> Array:
        """(8, 3), of that box, in the world."""
        low, high = self.bounds_m
        return np.where(CORNERS, high, low) @ self.axes.T + self.position_m

    def outline_px(self, view: View) -> NDArray[np.float32]:
        """The convex hull of it in the image, nearly."""
        points = outline_of(self.shape) * self.scale @ self.axes.T + self.position_m
        return cv2.convexHull(view.project(points)[0].astype(np.float32))[:, 0].astype(np.float32)


def place(
    rng: Generator, rules: Rules, view: View, table_half_m: Pair, shapes: Sequence[str], must: str | None
) -> tuple[list[Placed], int]:
    """The objects that found a place, `must` the first of them, and how many of them are partly hidden."""
    count = int(rng.integers(rules.count[0], rules.count[1] + 1))
    # Few shapes and colours in a scene: they repeat, so that a name alone is often not enough.
    some = [one_of(rng, shapes) for _ in range(rng.integers(2, count + 2))]
    colours = [one_of(rng, list(COLOURS)) for _ in range(rng.integers(2, count + 2))]
    placed: list[Placed] = []
    outlines: list[NDArray[np.float32]] = []
    hidden = 0
    for number in range(count):
        behind = rules.hidden is not None and number % 2 == 1
        for _ in range(TRIES):
            shape = must if must is not None and number == 0 else one_of(rng, some)
            spot_m = _behind(rng, one_of(rng, placed), view) if behind else _anywhere(rng, rules, view)
            if spot_m is None:
                continue
            one = _object(rng, shape, colours, spot_m)
            outline = one.outline_px(view)
            if (
                (np.abs(one.corners_m[:, :2]) <= table_half_m).all()
                and _fits_image(outline, rules, view)
                and (_half_hidden if behind else _apart)(outline, outlines, rules)
                and not any(_touch(one, other) for other in placed)
            ):
                placed.append(one)
                outlines.append(outline)
                hidden += behind
                break
        else:
            if number == 0:
                break
    return placed, hidden


def one_of(rng: Generator, options: Sequence[Option]) -> Option:
    return options[int(rng.integers(len(options)))]


def _object(rng: Generator, shape: str, colours: Sequence[str], spot_m: Pair) -> Placed:
    allowed = ONLY.get(shape, tuple(COLOURS))
    colour = one_of(rng, [one for one in colours if one in allowed] or allowed)
    size = one_of(rng, list(SIZES))
    scale = SIZES[size] * rng.uniform(0.95, 1.05)
    sine, cosine = math.sin(yaw := rng.uniform(0, 2 * math.pi)), math.cos(yaw)
    axes = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    if rng.random() < LIES.get(shape, 0):
        axes = axes @ ON_SIDE
    low, high = bounds_of(shape)
    lowest_m = np.minimum(axes[2] * low, axes[2] * high).sum() * scale
    return Placed(
        shape=shape,
        colour=colour,
        material=one_of(rng, MATERIALS),
        size=size,
        rgb=clipped(np.array(COLOURS[colour]) * rng.uniform(0.92, 1.08) + rng.normal(0, 0.012, 3)),
        scale=scale,
        axes=axes,
        position_m=np.array([*spot_m, -lowest_m]),
    )


def _anywhere(rng: Generator, rules: Rules, view: View) -> Pair | None:
    u, v = 0.5 + rules.spread * rng.uniform(-0.5, 0.5, 2)
    return view.on_table(u * view.width, v * view.height)


def _behind(rng: Generator, front: Placed, view: View) -> Pair:
    """Close behind an object as the camera sees it, a little to a side."""
    away = front.position_m[:2] - view.eye_m[:2]
    away = away / np.linalg.norm(away)
    aside = np.array([-away[1], away[0]])
    x, y = front.position_m[:2] + away * rng.uniform(0.04, 0.14) + aside * rng.uniform(-0.05, 0.05)
    return float(x), float(y)


def _fits_image(outline: NDArray[np.float32], rules: Rules, view: View) -> bool:
    """As wide as wanted, and (nearly) inside."""
    low, high = outline.min(0), outline.max(0)
    size = np.array([view.width, view.height])
    narrowest, widest = rules.width_px
    inside = (low >= -0.02 * size).all() and (high <= 1.02 * size).all()
    return bool(inside and narrowest <= (high[0] - low[0]) * 224 / view.width <= widest)


def _apart(outline: NDArray[np.float32], others: Sequence[NDArray[np.float32]], rules: Rules) -> bool:
    """Whether its box shares little with every other."""
    low, high = outline.min(0), outline.max(0)
    for other in others:
        other_low, other_high = other.min(0), other.max(0)
        shared = np.prod(np.maximum(np.minimum(high, other_high) - np.maximum(low, other_low), 0))
        if shared > rules.overlap * min(np.prod(high - low), np.prod(other_high - other_low)):
            return False
    return True


def _half_hidden(outline: NDArray[np.float32], others: Sequence[NDArray[np.float32]], rules: Rules) -> bool:
    """Whether one other hides what the rules want of it, and no further one much."""
    assert rules.hidden is not None
    area = cv2.contourArea(outline)
    covered = sorted(cv2.intersectConvexConvex(outline, other)[0] / area for other in others)
    return rules.hidden[0] <= covered[-1] <= rules.hidden[1] and sum(covered[:-1]) < 0.05


def _touch(a: Placed, b: Placed) -> bool:
    """Whether two footprints, as rectangles, come nearer than the gap: no side of theirs separates them."""
    feet = a.corners_m[:, :2], b.corners_m[:, :2]
    for foot in feet:
        for edge in foot[[1, 2, 4]] - foot[0]:
            length = np.hypot(*edge)
            if length < 1e-9:  # the upright edge
                continue
            ours, theirs = (one @ (edge / length) for one in feet)
            if ours.max() + GAP_M < theirs.min() or theirs.max() + GAP_M < ours.min():
                return False
    return True
