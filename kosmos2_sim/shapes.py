"""The shapes of the objects: their names, colours and sizes, and their meshes, which are made in code.

A mesh is in metres, at medium size, upright on the plane z = 0 or centred on it. Solids of revolution, tubes
along a curve and blocks are enough for all shapes. Normals are smooth within a surface patch and sharp
between patches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from kosmos2_sim.clutter import CLUTTER_MAKERS
from kosmos2_sim.meshes import SEGMENTS, Points, Rgb, ShapePart, arc, block, join, lathe, tip, tube

SIMPLE = ("cube", "ball", "can", "pill", "egg", "cone", "ring")
HOUSEHOLD = ("mug", "bowl", "bottle", "plate", "box", "banana")
SHAPES = SIMPLE + HOUSEHOLD
NOVEL = ("hammer",)  # not in SHAPES, so that the learning of a new object can be tested
LYING_PROBABILITY = {"can": 0.3, "bottle": 0.3, "mug": 0.15}  # of lying on the side

COLOURS: dict[str, Rgb] = {
    "red": (0.80, 0.05, 0.07),
    "green": (0.08, 0.55, 0.15),
    "blue": (0.08, 0.22, 0.85),
    "yellow": (0.95, 0.80, 0.05),
    "orange": (1.00, 0.43, 0.02),
    "purple": (0.42, 0.12, 0.62),
    "pink": (1.00, 0.50, 0.72),
    "brown": (0.36, 0.19, 0.08),
    "white": (0.95, 0.95, 0.93),
    "black": (0.06, 0.06, 0.07),
}
SHAPE_COLOURS = {"banana": ("yellow", "green", "brown")}  # for shapes that do not come in all COLOURS
SIZES = {"small": 0.7, "medium": 1.0, "large": 1.4}  # scale factors of the mesh
MATERIALS = ("matte", "shiny")


@cache
def parts_of(shape: str) -> tuple[ShapePart, ...]:
    """Return the parts that make up a shape."""
    return (_MAKERS | CLUTTER_MAKERS)[shape]()


@cache
def points_of(shape: str) -> Points:
    """Return all mesh points of a shape, at medium size."""
    return np.concatenate([part.mesh.points for part in parts_of(shape)])


@cache
def outline_of(shape: str) -> Points:
    """Return the mesh points that are outermost in one of many directions.

    Their projection into an image is nearly the outline of all points.
    """
    directions = np.random.default_rng(0).normal(size=(150, 3))
    points = points_of(shape)
    outermost: Points = points[np.unique((points @ directions.T).argmax(0))]
    return outermost


@cache
def bounds_of(shape: str) -> tuple[Points, Points]:
    """Return the lower and the upper corner of a shape's bounding box, at medium size."""
    points = points_of(shape)
    return points.min(0), points.max(0)


def _cube() -> tuple[ShapePart, ...]:
    return (ShapePart(block((-0.028, -0.028, 0), (0.028, 0.028, 0.056))),)


def _ball() -> tuple[ShapePart, ...]:
    return (ShapePart(lathe(arc(0.031, 0.031, 0.031, 0, 180, 20), smooth=True)),)


def _can() -> tuple[ShapePart, ...]:
    side = lathe([(0.0, 0.0), (0.026, 0.0), (0.03, 0.006), (0.03, 0.084), (0.026, 0.09)])
    rim = lathe([(0.026, 0.09), (0.024, 0.09), (0.024, 0.086), (0.0, 0.086)])
    return ShapePart(side), ShapePart(rim, 0.45)


def _pill() -> tuple[ShapePart, ...]:
    """A capsule that lies along x."""
    radius, half = 0.02, 0.022
    lower = lathe([*arc(radius, radius, -half, 0, 90), (radius, 0.0)], smooth=True)
    upper = lathe([(radius, 0.0), *arc(radius, radius, half, 90, 180)], smooth=True)
    return ShapePart(tip(lower)), ShapePart(tip(upper), 0.3)


def _egg() -> tuple[ShapePart, ...]:
    """An egg that lies along x."""
    profile = [*arc(0.0245, 0.026, 0.0, 0, 90), *arc(0.0245, 0.043, 0.0, 90, 180)[1:]]
    return (ShapePart(tip(lathe(profile, smooth=True))),)


def _cone() -> tuple[ShapePart, ...]:
    return (ShapePart(join(lathe([(0.0, 0.0), (0.036, 0.0)]), lathe([(0.036, 0.0), (0.0005, 0.085)]))),)


def _ring() -> tuple[ShapePart, ...]:
    angle = np.linspace(0, 2 * np.pi, SEGMENTS + 1)
    path = np.stack([0.034 * np.cos(angle), 0.034 * np.sin(angle), np.zeros_like(angle)], 1)
    return (ShapePart(tube(path, np.full(len(path), 0.0115), (0, 0, 1), closed=True)),)


def _mug() -> tuple[ShapePart, ...]:
    outside = lathe([(0.0, 0.0), (0.032, 0.0), (0.036, 0.005), (0.036, 0.085), (0.032, 0.085)])
    inside = lathe([(0.032, 0.085), (0.032, 0.012), (0.0, 0.012)])
    angle = np.radians(np.linspace(-100, 100, 15))
    path = np.stack([0.035 + 0.027 * np.cos(angle), np.zeros_like(angle), 0.044 + 0.026 * np.sin(angle)], 1)
    handle = tube(path, np.full(len(path), 0.006), (0, 1, 0))
    return ShapePart(join(outside, handle)), ShapePart(inside, -0.35)


def _bowl() -> tuple[ShapePart, ...]:
    outside = lathe(arc(0.062, 0.045, 0.047, 20, 90), smooth=True)
    foot = lathe([(0.0, 0.0), (0.025, 0.0), (0.0212, 0.0047)])
    rim = lathe([(0.062, 0.047), (0.058, 0.047)])
    inside = lathe(arc(0.058, 0.041, 0.047, 90, 0), smooth=True)
    return ShapePart(join(outside, foot, rim)), ShapePart(inside, -0.25)


def _bottle() -> tuple[ShapePart, ...]:
    foot = lathe([(0.0, 0.0), (0.028, 0.0), (0.03, 0.004), (0.03, 0.075)])
    shoulder = lathe(
        [(0.03, 0.075), (0.0295, 0.083), (0.026, 0.093), (0.019, 0.101), (0.0135, 0.108), (0.0125, 0.118)],
        smooth=True,
    )
    neck = lathe([(0.0125, 0.118), (0.0125, 0.124)])
    cap = lathe([(0.0125, 0.124), (0.015, 0.124), (0.015, 0.142), (0.0, 0.142)])
    return ShapePart(join(foot, shoulder, neck)), ShapePart(cap, 0.5)


def _plate() -> tuple[ShapePart, ...]:
    below = lathe([(0.0, 0.0), (0.045, 0.0), (0.075, 0.012), (0.075, 0.0145)])
    rim = lathe([(0.075, 0.0145), (0.048, 0.0045)])
    inside = lathe([(0.048, 0.0045), (0.0, 0.004)])
    return ShapePart(join(below, rim)), ShapePart(inside, -0.18)


def _box() -> tuple[ShapePart, ...]:
    """A parcel with a strip of tape."""
    x, y, z = 0.055, 0.034, 0.048
    tape = block((-x - 0.0006, -0.008, -0.0), (x + 0.0006, 0.008, z + 0.0006))
    return ShapePart(block((-x, -y, 0), (x, y, z))), ShapePart(tape, 0.4)


def _banana() -> tuple[ShapePart, ...]:
    """A banana that lies on the table, curved in the table's plane."""
    angle = np.radians(np.linspace(-62, 62, 27))
    path = np.stack([0.075 * np.sin(angle), 0.075 * np.cos(angle) - 0.055, np.zeros_like(angle)], 1)
    along = np.linspace(-1, 1, 27)
    radii = 0.0155 * (1 - np.abs(along) ** 3.5) ** 0.5 + 0.0035
    radii[0] = radii[-1] = 0.0
    up = (0, 0, 1)
    return ShapePart(tube(path[2:25], radii[2:25], up)), ShapePart(
        join(tube(path[:3] * [1.06, 1.0, 1.0], radii[:3], up), tube(path[24:], radii[24:], up)), -0.6
    )


def _hammer() -> tuple[ShapePart, ...]:
    """A hammer that lies with its handle along x."""
    handle = tip(
        lathe([(0.0, -0.085), (0.01, -0.085), (0.011, -0.03), (0.0075, 0.0), (0.0075, 0.075), (0.0, 0.075)])
    )
    head = join(
        block((0.055, -0.03, -0.011), (0.078, 0.018, 0.011)),
        block((0.053, 0.018, -0.0135), (0.080, 0.034, 0.0135)),
        block((0.060, -0.05, -0.006), (0.073, -0.03, 0.006)),
    )
    return ShapePart(handle), ShapePart(head, -0.45)


_MAKERS: dict[str, Callable[[], tuple[ShapePart, ...]]] = {
    "cube": _cube,
    "ball": _ball,
    "can": _can,
    "pill": _pill,
    "egg": _egg,
    "cone": _cone,
    "ring": _ring,
    "mug": _mug,
    "bowl": _bowl,
    "bottle": _bottle,
    "plate": _plate,
    "box": _box,
    "banana": _banana,
    "hammer": _hammer,
}
