"""The objects' meshes, made in code, in metres at medium size, upright on z = 0 or around it.

Solids of revolution, tubes along a curve and blocks are enough for all of them. Normals are made here too:
smooth within a patch, sharp between patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (N, 3)

AROUND = 28  # faces around a solid of revolution


@dataclass(frozen=True, eq=False)
class Mesh:
    points: Points
    normals: Points  # one a point
    faces: NDArray[np.int32]  # (M, 3), counter-clockwise seen from outside


@dataclass(frozen=True, eq=False)
class Part:
    """A mesh, and how its shade differs from the object's colour: -1 is black, 1 is white."""

    mesh: Mesh
    shade: float = 0.0


@cache
def parts_of(shape: str) -> tuple[Part, ...]:
    return _MAKERS[shape]()


@cache
def points_of(shape: str) -> Points:
    """All points of a shape, at medium size."""
    return np.concatenate([part.mesh.points for part in parts_of(shape)])


@cache
def outline_of(shape: str) -> Points:
    """Those of its points that are outermost in some direction: enough to see where it is in an image."""
    directions = np.random.default_rng(0).normal(size=(150, 3))
    points = points_of(shape)
    outermost: Points = points[np.unique((points @ directions.T).argmax(0))]
    return outermost


@cache
def bounds_of(shape: str) -> tuple[Points, Points]:
    """The lower and the upper corner of the box around it."""
    points = points_of(shape)
    return points.min(0), points.max(0)


def _grid(points: Points, normals: Points) -> Mesh:
    """A surface from a grid (rows, columns, 3) of points."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), faces)


def _join(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]], dtype=np.int32)
    return Mesh(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def _lathe(profile: Sequence[tuple[float, float]], smooth: bool = False) -> Mesh:
    """A profile of (radius, height), bottom to top with the outside on its right, turned around z."""
    line = np.array(profile, dtype=np.float64)
    if smooth:
        return _turn(line)
    return _join(*(_turn(line[i : i + 2]) for i in range(len(line) - 1)))


def _turn(line: NDArray[np.float64]) -> Mesh:
    angle = np.linspace(0, 2 * np.pi, AROUND + 1)
    along = np.gradient(line, axis=0)
    outward = np.stack([along[:, 1], -along[:, 0]], 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)

    def turned(pairs: NDArray[np.float64]) -> Points:
        radius, height = pairs[:, :1], np.broadcast_to(pairs[:, 1:], (len(pairs), AROUND + 1))
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], -1)

    return _grid(turned(line), turned(outward))


def _tube(path: Points, radii: NDArray[np.float64], across: Sequence[float], closed: bool = False) -> Mesh:
    """A round tube along a curve in the plane that `across` is the normal of."""
    along = np.gradient(path, axis=0)
    if closed:  # its last point is its first
        along[0] = along[-1] = path[1] - path[-2]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    other = np.cross(along, across)
    angle = np.linspace(0, 2 * np.pi, AROUND // 2 + 1)[None, :, None]
    normals = np.cos(angle) * np.array(across) + np.sin(angle) * other[:, None]
    return _grid(path[:, None] + radii[:, None, None] * normals, normals)


def _block(low: Sequence[float], high: Sequence[float]) -> Mesh:
    lower, upper = np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
    sides = []
    for axis in range(3):
        for sign in (-1, 1):
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            if sign < 0:
                u, v = v, u
            normal = sign * np.eye(3)[axis]
            corners = np.array([[normal - u - v, normal + u - v], [normal - u + v, normal + u + v]])
            points = (lower + upper) / 2 + corners * (upper - lower) / 2
            sides.append(_grid(points, np.broadcast_to(normal, (2, 2, 3))))
    return _join(*sides)


def _arc(
    radius_r: float, radius_z: float, middle_z: float, start: float, end: float, count: int = 14
) -> list[tuple[float, float]]:
    """Points (radius, height) of an ellipse around the axis; angles in degrees from straight down."""
    angle = np.radians(np.linspace(start, end, count))
    return [(radius_r * np.sin(a), middle_z - radius_z * np.cos(a)) for a in angle]


def _cube() -> tuple[Part, ...]:
    return (Part(_block((-0.028, -0.028, 0), (0.028, 0.028, 0.056))),)


def _ball() -> tuple[Part, ...]:
    return (Part(_lathe(_arc(0.031, 0.031, 0.031, 0, 180, 20), smooth=True)),)


def _can() -> tuple[Part, ...]:
    side = _lathe([(0.0, 0.0), (0.026, 0.0), (0.03, 0.006), (0.03, 0.084), (0.026, 0.09)])
    rim = _lathe([(0.026, 0.09), (0.024, 0.09), (0.024, 0.086), (0.0, 0.086)])
    return Part(side), Part(rim, 0.45)


def _pill() -> tuple[Part, ...]:
    """Lies along x."""
    radius, half = 0.02, 0.022
    lower = _lathe([*_arc(radius, radius, -half, 0, 90), (radius, 0.0)], smooth=True)
    upper = _lathe([(radius, 0.0), *_arc(radius, radius, half, 90, 180)], smooth=True)
    return Part(_tip(lower)), Part(_tip(upper), 0.3)


def _tip(mesh: Mesh) -> Mesh:
    """Turned so that z becomes x."""
    return Mesh(mesh.points[:, [2, 0, 1]], mesh.normals[:, [2, 0, 1]], mesh.faces)


def _egg() -> tuple[Part, ...]:
    """Lies along x."""
    profile = [*_arc(0.0245, 0.026, 0.0, 0, 90), *_arc(0.0245, 0.043, 0.0, 90, 180)[1:]]
    return (Part(_tip(_lathe(profile, smooth=True))),)


def _cone() -> tuple[Part, ...]:
    return (Part(_join(_lathe([(0.0, 0.0), (0.036, 0.0)]), _lathe([(0.036, 0.0), (0.0005, 0.085)]))),)


def _ring() -> tuple[Part, ...]:
    angle = np.linspace(0, 2 * np.pi, AROUND + 1)
    path = np.stack([0.034 * np.cos(angle), 0.034 * np.sin(angle), np.zeros_like(angle)], 1)
    return (Part(_tube(path, np.full(len(path), 0.0115), (0, 0, 1), closed=True)),)


def _mug() -> tuple[Part, ...]:
    outside = _lathe([(0.0, 0.0), (0.032, 0.0), (0.036, 0.005), (0.036, 0.085), (0.032, 0.085)])
    inside = _lathe([(0.032, 0.085), (0.032, 0.012), (0.0, 0.012)])
    angle = np.radians(np.linspace(-100, 100, 15))
    path = np.stack([0.035 + 0.027 * np.cos(angle), np.zeros_like(angle), 0.044 + 0.026 * np.sin(angle)], 1)
    handle = _tube(path, np.full(len(path), 0.006), (0, 1, 0))
    return Part(_join(outside, handle)), Part(inside, -0.35)


def _bowl() -> tuple[Part, ...]:
    outside = _lathe(_arc(0.062, 0.045, 0.047, 20, 90), smooth=True)
    foot = _lathe([(0.0, 0.0), (0.025, 0.0), (0.0212, 0.0047)])
    rim = _lathe([(0.062, 0.047), (0.058, 0.047)])
    inside = _lathe(_arc(0.058, 0.041, 0.047, 90, 0), smooth=True)
    return Part(_join(outside, foot, rim)), Part(inside, -0.25)


def _bottle() -> tuple[Part, ...]:
    foot = _lathe([(0.0, 0.0), (0.028, 0.0), (0.03, 0.004), (0.03, 0.075)])
    shoulder = _lathe(
        [(0.03, 0.075), (0.0295, 0.083), (0.026, 0.093), (0.019, 0.101), (0.0135, 0.108), (0.0125, 0.118)],
        smooth=True,
    )
    neck = _lathe([(0.0125, 0.118), (0.0125, 0.124)])
    cap = _lathe([(0.0125, 0.124), (0.015, 0.124), (0.015, 0.142), (0.0, 0.142)])
    return Part(_join(foot, shoulder, neck)), Part(cap, 0.5)


def _plate() -> tuple[Part, ...]:
    below = _lathe([(0.0, 0.0), (0.045, 0.0), (0.075, 0.012), (0.075, 0.0145)])
    rim = _lathe([(0.075, 0.0145), (0.048, 0.0045)])
    inside = _lathe([(0.048, 0.0045), (0.0, 0.004)])
    return Part(_join(below, rim)), Part(inside, -0.18)


def _box() -> tuple[Part, ...]:
    """A parcel with a strip of tape."""
    x, y, z = 0.055, 0.034, 0.048
    tape = _block((-x - 0.0006, -0.008, -0.0), (x + 0.0006, 0.008, z + 0.0006))
    return Part(_block((-x, -y, 0), (x, y, z))), Part(tape, 0.4)


def _banana() -> tuple[Part, ...]:
    """Lies curved in the plane of the table."""
    angle = np.radians(np.linspace(-62, 62, 27))
    path = np.stack([0.075 * np.sin(angle), 0.075 * np.cos(angle) - 0.055, np.zeros_like(angle)], 1)
    along = np.linspace(-1, 1, 27)
    radii = 0.0155 * (1 - np.abs(along) ** 3.5) ** 0.5 + 0.0035
    radii[0] = radii[-1] = 0.0
    up = (0, 0, 1)
    return Part(_tube(path[2:25], radii[2:25], up)), Part(
        _join(_tube(path[:3] * [1.06, 1.0, 1.0], radii[:3], up), _tube(path[24:], radii[24:], up)), -0.6
    )


def _hammer() -> tuple[Part, ...]:
    """Lies with its handle along x."""
    turn = _tip(
        _lathe([(0.0, -0.085), (0.01, -0.085), (0.011, -0.03), (0.0075, 0.0), (0.0075, 0.075), (0.0, 0.075)])
    )
    head = _join(
        _block((0.055, -0.03, -0.011), (0.078, 0.018, 0.011)),
        _block((0.053, 0.018, -0.0135), (0.080, 0.034, 0.0135)),
        _block((0.060, -0.05, -0.006), (0.073, -0.03, 0.006)),
    )
    return Part(turn), Part(head, -0.45)


_MAKERS = {
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
