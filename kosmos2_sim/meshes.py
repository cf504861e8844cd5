"""Triangle meshes made in code: solids of revolution, tubes along a curve, blocks, and parts made of them.

A mesh is in metres. Normals are smooth within a surface patch and sharp between patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (N, 3)
Rgb = tuple[float, float, float]  # red, green, blue, from 0 to 1

SEGMENTS = 28  # faces around a solid of revolution


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh."""

    points: Points
    normals: Points  # one for each point
    faces: NDArray[np.int32]  # (M, 3), counter-clockwise seen from outside


@dataclass(frozen=True, eq=False)
class ShapePart:
    """A part of a shape with its own shade of the object's colour: -1 is black, 0 the colour, 1 white."""

    mesh: Mesh
    shade: float = 0.0
    rgb: Rgb | None = None  # replaces the object's colour


def grid(points: Points, normals: Points) -> Mesh:
    """Return the surface through a grid (rows, columns, 3) of points."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), faces)


def join(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]], dtype=np.int32)
    return Mesh(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def lathe(profile: Sequence[tuple[float, float]], smooth: bool = False) -> Mesh:
    """Return the solid of revolution of a profile around z.

    Args:
        profile: points (radius, height), ordered so that the outside is on the right of the line.
        smooth: shade over the corners of the profile.
    """
    line = np.array(profile, dtype=np.float64)
    if smooth:
        return _revolve(line)
    return join(*(_revolve(line[i : i + 2]) for i in range(len(line) - 1)))


def _revolve(line: NDArray[np.float64]) -> Mesh:
    angle = np.linspace(0, 2 * np.pi, SEGMENTS + 1)
    along = np.gradient(line, axis=0)
    outward = np.stack([along[:, 1], -along[:, 0]], 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)

    def revolved(pairs: NDArray[np.float64]) -> Points:
        radius, height = pairs[:, :1], np.broadcast_to(pairs[:, 1:], (len(pairs), SEGMENTS + 1))
        return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], -1)

    return grid(revolved(line), revolved(outward))


def tube(path: Points, radii: NDArray[np.float64], across: Sequence[float], closed: bool = False) -> Mesh:
    """Return a round tube along a plane curve.

    Args:
        path: points (N, 3) of the curve.
        radii: the tube's radius (N,) at each point.
        across: the normal of the curve's plane.
        closed: the last point of the curve is its first.
    """
    along = np.gradient(path, axis=0)
    if closed:
        along[0] = along[-1] = path[1] - path[-2]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    other = np.cross(along, across)
    angle = np.linspace(0, 2 * np.pi, SEGMENTS // 2 + 1)[None, :, None]
    normals = np.cos(angle) * np.array(across) + np.sin(angle) * other[:, None]
    return grid(path[:, None] + radii[:, None, None] * normals, normals)


def block(low: Sequence[float], high: Sequence[float]) -> Mesh:
    """Return an axis-aligned block from its lower and its upper corner."""
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
            sides.append(grid(points, np.broadcast_to(normal, (2, 2, 3))))
    return join(*sides)


def arc(
    radius_r: float, radius_z: float, middle_z: float, start: float, end: float, count: int = 14
) -> list[tuple[float, float]]:
    """Return points (radius, height) of an arc of an ellipse; angles are in degrees from straight down."""
    angle = np.radians(np.linspace(start, end, count))
    return [(radius_r * np.sin(a), middle_z - radius_z * np.cos(a)) for a in angle]


def tip(mesh: Mesh) -> Mesh:
    """Turn a mesh so that its z axis becomes x."""
    return Mesh(mesh.points[:, [2, 0, 1]], mesh.normals[:, [2, 0, 1]], mesh.faces)


def moved(mesh: Mesh, offset: Sequence[float]) -> Mesh:
    """Return a mesh after a translation."""
    return Mesh(mesh.points + np.array(offset), mesh.normals, mesh.faces)


def stretched(mesh: Mesh, factors: Sequence[float]) -> Mesh:
    """Return a mesh that is scaled along each axis."""
    normals = mesh.normals / np.array(factors)
    return Mesh(
        mesh.points * np.array(factors), normals / np.linalg.norm(normals, axis=1, keepdims=True), mesh.faces
    )


def turned(mesh: Mesh, degrees: float) -> Mesh:
    """Return a mesh after a rotation around z."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    axes = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return Mesh(mesh.points @ axes.T, mesh.normals @ axes.T, mesh.faces)


def ellipsoid(half: Sequence[float]) -> Mesh:
    """Return an ellipsoid around the origin."""
    return stretched(lathe(arc(1.0, 1.0, 0.0, 0, 180, 12), smooth=True), half)
