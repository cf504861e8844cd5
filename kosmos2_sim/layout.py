"""The layout of a scene: camera, objects and surroundings, drawn from a split and a seed before rendering.

Objects are drawn one after the other. A candidate is accepted if it satisfies the rules of its split and its
footprint keeps a distance from those of the objects before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_sim.clutter import draw_clutter_colour
from kosmos2_sim.draws import choose
from kosmos2_sim.image_effects import NO_EFFECTS, ImageEffects
from kosmos2_sim.meshes import Rgb
from kosmos2_sim.scenery import Scenery, clipped, draw_scenery
from kosmos2_sim.shapes import (
    COLOURS,
    LYING_PROBABILITY,
    MATERIALS,
    NOVEL,
    SHAPE_COLOURS,
    SHAPES,
    SIZES,
    bounds_of,
    outline_of,
)
from kosmos2_sim.shot import CameraView, view_towards
from kosmos2_sim.worlds import WORLDS, clutter_kinds

Array = NDArray[np.float64]
Pair = tuple[float, float]
Outline = NDArray[np.float32]  # (N, 2), a convex polygon in pixels

GAP_M = 0.004  # the smallest distance between the footprints of two objects
LAYOUT_ATTEMPTS = 12  # more than two are rarely needed
OBJECT_ATTEMPTS = 25  # for each object
ON_SIDE = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
CORNERS = np.array([[number >> axis & 1 for axis in range(3)] for number in range(8)])  # of a unit cube


@dataclass(frozen=True)
class SplitRules:
    """The rules for the objects of a split: number, size, overlap, and how much is hidden."""

    count: tuple[int, int]
    across_m: Pair  # how much of the table the image's width shows
    width_px: Pair  # the width of an object's box, in an image that is 224 pixels wide
    overlap: float  # the largest part of the smaller of two boxes that both may share
    spread: float = 0.84  # the part of the image, around its middle, in which objects are placed
    elevation: Pair = (25, 75)  # of the camera, in degrees
    hidden: Pair | None = None  # how much of every second object is hidden by another object
    fovy: Pair = (32, 58)  # the camera's vertical field of view, in degrees
    roll: float = 2.5  # standard deviation, in degrees
    aim_m: float = 0.06  # from the middle of the table to the point that the camera looks at, along x and y


# Every split has its own random numbers by its index: append new splits at the end.
SPLITS = ("train", "standard", "cluttered", "occluded", "far", "worlds", "rooms", "outdoors")
RULES = {
    "standard": SplitRules((2, 6), across_m=(0.32, 0.44), width_px=(27, 84), overlap=0.12),
    "cluttered": SplitRules((6, 8), across_m=(0.36, 0.48), width_px=(20, 84), overlap=0.5, spread=0.62),
    "occluded": SplitRules(
        (3, 6),
        across_m=(0.32, 0.44),
        width_px=(24, 90),
        overlap=0.12,
        elevation=(25, 50),
        hidden=(0.28, 0.68),
    ),
    "far": SplitRules((2, 6), across_m=(0.95, 1.25), width_px=(13, 31), overlap=0.1),
}
MIXTURE = {
    "standard": 0.4,
    "cluttered": 0.35,
    "occluded": 0.15,
    "far": 0.1,
}  # of `train` and the wider worlds
MIXED_SPLITS = ("train", *WORLDS)
MAX_CLUTTER = 5
CLUTTER_ATTEMPTS = 4  # for each
CLUTTER_PROBABILITY = 0.75  # of a scene in a wider world
HIDDEN_BY_CLUTTER = 0.05  # the largest part of an object


@dataclass(frozen=True, eq=False)
class PlacedObject:
    """An object at rest on the table."""

    shape: str
    colour: str
    material: str
    size: str
    rgb: Rgb
    scale: float  # of the mesh
    axes: Array  # (3, 3), the object's rotation in the world
    position_m: Array  # (3,), of the mesh's origin

    @cached_property
    def bounds_m(self) -> tuple[Array, Array]:
        """The lower and the upper corner of the object's bounding box, in the object's frame."""
        low, high = bounds_of(self.shape)
        return low * self.scale, high * self.scale

    @cached_property
    def corners_m(self) -> Array:
        """(8, 3), the corners of the object's bounding box, in the world."""
        low, high = self.bounds_m
        return np.where(CORNERS, high, low) @ self.axes.T + self.position_m

    def outline_px(self, view: CameraView) -> Outline:
        """Return approximately the convex hull of the object in the image."""
        points = outline_of(self.shape) * self.scale @ self.axes.T + self.position_m
        return cv2.convexHull(view.project(points)[0].astype(np.float32))[:, 0].astype(np.float32)


@dataclass(frozen=True)
class SceneLayout:
    """A scene before it is rendered."""

    view: CameraView
    objects: tuple[PlacedObject, ...]
    scenery: Scenery
    clutter: tuple[PlacedObject, ...] = ()
    effects: ImageEffects = NO_EFFECTS


def draw_layout(
    seed: int,
    split: str,
    shapes: Sequence[str] = SHAPES,
    must: str | None = None,
    width: int = 224,
    height: int = 224,
) -> SceneLayout:
    """Draw the scene of a split and a seed. No two splits use the same random numbers.

    Args:
        shapes: the shapes that may appear.
        must: a shape that must appear.
        width: the width of the image in pixels.
        height: the height of the image in pixels.

    Raises:
        InputError: an argument is wrong, or no scene satisfies the rules of the split.
    """
    check_scene(seed, split, shapes, must)
    rng = np.random.default_rng([SPLITS.index(split), seed])
    rules = _draw_rules(rng, split)
    wide_m = rules.across_m[1] / 4  # a far camera sees a larger table
    best: tuple[CameraView, Pair, list[PlacedObject]] | None = None
    most = (0, 0)
    for _ in range(LAYOUT_ATTEMPTS):
        view = _view(rng, rules, width, height)
        table_half_m = float(rng.uniform(0.2, 0.5) + wide_m), float(rng.uniform(0.2, 0.5) + wide_m)
        objects, hidden = _place_objects(rng, rules, view, table_half_m, shapes, must)
        if (hidden, len(objects)) > most:
            best, most = (view, table_half_m, objects), (hidden, len(objects))
        if len(objects) >= rules.count[0] and (rules.hidden is None or hidden >= len(objects) // 2):
            break
    if best is None:
        raise InputError(
            f"no scene of {', '.join(shapes)} fits split {split}, seed {seed}: choose another seed."
        )
    view, table_half_m, objects = best
    if split not in WORLDS:
        return SceneLayout(view, tuple(objects), draw_scenery(rng, table_half_m))
    world = WORLDS[split](rng, view, table_half_m)
    clutter = _place_clutter(rng, rules, view, table_half_m, objects, clutter_kinds(split))
    return SceneLayout(view, tuple(objects), world.scenery, tuple(clutter), world.effects)


def _draw_rules(rng: Generator, split: str) -> SplitRules:
    """Return the rules of a split; those of a mixed split are drawn, and a wider world has wider cameras."""
    rules = RULES[rng.choice(list(MIXTURE), p=list(MIXTURE.values())) if split in MIXED_SPLITS else split]
    if split not in WORLDS:
        return rules
    low, high = rules.elevation
    return replace(rules, elevation=(low - 7, high + 7), fovy=(24, 75), roll=5.0, aim_m=0.09)


def check_scene(seed: int, split: str, shapes: Sequence[str], must: str | None) -> None:
    """Raise an InputError if no scene can be drawn with these arguments."""
    known = SHAPES + NOVEL
    if split not in SPLITS:
        raise InputError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}.")
    if seed < 0:
        raise InputError(f"the seed {seed} is negative: choose 0 or more.")
    if not shapes:
        raise InputError(f"the list of shapes is empty: name at least one of {', '.join(known)}.")
    for shape in (*shapes, *([] if must is None else [must])):
        if shape not in known:
            raise InputError(f"there is no shape {shape!r}: choose from {', '.join(known)}.")


def _view(rng: Generator, rules: SplitRules, width: int, height: int) -> CameraView:
    fovy = rng.uniform(*rules.fovy)
    across_m = rng.uniform(*rules.across_m)
    return view_towards(
        target_m=np.array([*rng.uniform(-rules.aim_m, rules.aim_m, 2), 0.02]),
        azimuth=rng.uniform(0, 360),
        elevation=rng.uniform(*rules.elevation),
        distance_m=across_m * height / width / 2 / math.tan(math.radians(fovy) / 2),
        roll=rng.normal(0, rules.roll),
        fovy=fovy,
        width=width,
        height=height,
    )


def _place_objects(
    rng: Generator,
    rules: SplitRules,
    view: CameraView,
    table_half_m: Pair,
    shapes: Sequence[str],
    must: str | None,
) -> tuple[list[PlacedObject], int]:
    """Return the objects for which a place was found, and how many of them are partly hidden.

    The first object has the shape `must`; without it the result is empty.
    """
    count = int(rng.integers(rules.count[0], rules.count[1] + 1))
    # A scene draws from few shapes and colours. They repeat, so that a name alone is often ambiguous.
    shape_pool = [choose(shapes, rng) for _ in range(rng.integers(2, count + 2))]
    colours = [choose(list(COLOURS), rng) for _ in range(rng.integers(2, count + 2))]
    placed: list[PlacedObject] = []
    outlines: list[Outline] = []
    hidden = 0
    for number in range(count):
        behind = rules.hidden is not None and number % 2 == 1
        for _ in range(OBJECT_ATTEMPTS):
            shape = must if must is not None and number == 0 else choose(shape_pool, rng)
            spot_m = _spot_behind(rng, choose(placed, rng), view) if behind else _any_spot(rng, rules, view)
            if spot_m is None:
                continue
            candidate = _draw_object(rng, shape, colours, spot_m)
            outline = candidate.outline_px(view)
            if (
                (np.abs(candidate.corners_m[:, :2]) <= table_half_m).all()
                and _fits_image(outline, rules, view)
                and (_is_partly_hidden if behind else _is_apart)(outline, outlines, rules)
                and not any(_are_close(candidate, other) for other in placed)
            ):
                placed.append(candidate)
                outlines.append(outline)
                hidden += behind
                break
        else:
            if number == 0:
                break
    return placed, hidden


def _place_clutter(
    rng: Generator,
    rules: SplitRules,
    view: CameraView,
    table_half_m: Pair,
    objects: Sequence[PlacedObject],
    kinds: Sequence[str],
) -> list[PlacedObject]:
    """Return clutter that touches no object and hides at most a little of one."""
    placed: list[PlacedObject] = []
    outlines = [thing.outline_px(view) for thing in objects]
    for _ in range(rng.integers(0, MAX_CLUTTER + 1) if rng.random() < CLUTTER_PROBABILITY else 0):
        for _ in range(CLUTTER_ATTEMPTS):
            spot_m = _any_spot(rng, replace(rules, spread=1.1), view)
            if spot_m is None:
                continue
            candidate = _draw_clutter(rng, choose(kinds, rng), spot_m)
            outline = candidate.outline_px(view)
            if (
                (np.abs(candidate.corners_m[:, :2]) <= table_half_m).all()
                and not any(_are_close(candidate, other) for other in (*objects, *placed))
                and not any(_hides(outline, other) for other in outlines)
            ):
                placed.append(candidate)
                break
    return placed


def _hides(outline: Outline, other: Outline) -> bool:
    """Return whether the outlines of clutter and of an object share more than a little."""
    shared = cv2.intersectConvexConvex(outline, other)[0]
    return bool(shared > HIDDEN_BY_CLUTTER * cv2.contourArea(other))


def _draw_clutter(rng: Generator, kind: str, spot_m: Pair) -> PlacedObject:
    colour, rgb = draw_clutter_colour(rng, kind)
    scale = float(rng.uniform(0.75, 1.3))
    sine, cosine = math.sin(yaw := rng.uniform(0, 2 * math.pi)), math.cos(yaw)
    axes = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    height_m = -float(bounds_of(kind)[0][2]) * scale
    material = choose(MATERIALS, rng)
    return PlacedObject(kind, colour, material, "medium", rgb, scale, axes, np.array([*spot_m, height_m]))


def _draw_object(rng: Generator, shape: str, colours: Sequence[str], spot_m: Pair) -> PlacedObject:
    allowed = SHAPE_COLOURS.get(shape, tuple(COLOURS))
    colour = choose([colour for colour in colours if colour in allowed] or allowed, rng)
    size = choose(list(SIZES), rng)
    scale = SIZES[size] * rng.uniform(0.95, 1.05)
    sine, cosine = math.sin(yaw := rng.uniform(0, 2 * math.pi)), math.cos(yaw)
    axes = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    if rng.random() < LYING_PROBABILITY.get(shape, 0):
        axes = axes @ ON_SIDE
    low, high = bounds_of(shape)
    lowest_m = np.minimum(axes[2] * low, axes[2] * high).sum() * scale
    return PlacedObject(
        shape=shape,
        colour=colour,
        material=choose(MATERIALS, rng),
        size=size,
        rgb=clipped(np.array(COLOURS[colour]) * rng.uniform(0.92, 1.08) + rng.normal(0, 0.012, 3)),
        scale=scale,
        axes=axes,
        position_m=np.array([*spot_m, -lowest_m]),
    )


def _any_spot(rng: Generator, rules: SplitRules, view: CameraView) -> Pair | None:
    """Draw a point on the table that the image shows."""
    u, v = 0.5 + rules.spread * rng.uniform(-0.5, 0.5, 2)
    return view.table_point(u * view.width, v * view.height)


def _spot_behind(rng: Generator, front: PlacedObject, view: CameraView) -> Pair:
    """Draw a point close behind an object, as the camera sees it, and a little to a side."""
    away = front.position_m[:2] - view.eye_m[:2]
    away = away / np.linalg.norm(away)
    aside = np.array([-away[1], away[0]])
    x, y = front.position_m[:2] + away * rng.uniform(0.04, 0.14) + aside * rng.uniform(-0.05, 0.05)
    return float(x), float(y)


def _fits_image(outline: Outline, rules: SplitRules, view: CameraView) -> bool:
    """Return whether an object has the wanted width and is (almost) completely in the image."""
    low, high = outline.min(0), outline.max(0)
    size = np.array([view.width, view.height])
    narrowest, widest = rules.width_px
    inside = (low >= -0.02 * size).all() and (high <= 1.02 * size).all()
    return bool(inside and narrowest <= (high[0] - low[0]) * 224 / view.width <= widest)


def _is_apart(outline: Outline, others: Sequence[Outline], rules: SplitRules) -> bool:
    """Return whether an object's box shares little with the box of every other object."""
    low, high = outline.min(0), outline.max(0)
    for other in others:
        other_low, other_high = other.min(0), other.max(0)
        shared = np.prod(np.maximum(np.minimum(high, other_high) - np.maximum(low, other_low), 0))
        if shared > rules.overlap * min(np.prod(high - low), np.prod(other_high - other_low)):
            return False
    return True


def _is_partly_hidden(outline: Outline, others: Sequence[Outline], rules: SplitRules) -> bool:
    """Return whether one object hides as much of this one as the rules want, and the others hardly any."""
    assert rules.hidden is not None
    area = cv2.contourArea(outline)
    covered = sorted(cv2.intersectConvexConvex(outline, other)[0] / area for other in others)
    return rules.hidden[0] <= covered[-1] <= rules.hidden[1] and sum(covered[:-1]) < 0.05


def _are_close(a: PlacedObject, b: PlacedObject) -> bool:
    """Return whether the footprints of two objects, as rectangles, are nearer than GAP_M.

    By the separating axis theorem they are not if a side of one of them separates them.
    """
    footprints = a.corners_m[:, :2], b.corners_m[:, :2]
    for footprint in footprints:
        for edge in footprint[[1, 2, 4]] - footprint[0]:
            length = np.hypot(*edge)
            if length < 1e-9:  # the vertical edge
                continue
            first, second = (corners @ (edge / length) for corners in footprints)
            if first.max() + GAP_M < second.min() or second.max() + GAP_M < first.min():
                return False
    return True
