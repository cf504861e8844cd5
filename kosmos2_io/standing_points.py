"""What stands on what, among points before a camera: a plane, and the things that rise above it.

Points are (N, 3) in an optical frame: z forward, x right, y down.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PLANES = 80  # tried, each through three points
SAMPLE = 300  # points that say how good a plane is
FEWEST = 100  # points that a plane is looked for in
FLAT_SHARE = 0.25  # of them: fewer are no plane
FLAT_M, FLAT_PER_M2 = 0.004, 0.0015  # how far a point of a plane is off it; a camera's noise grows by depth^2
CELLS = 512  # along each side of the map of things, at most


def plane_of(points_m: Array) -> Array | None:
    """Of the plane of most points, the n with n . p = 1; None: there is none.

    On a plane 1 / z = n . (x / z, y / z, 1): linear, and as exact far away as near.
    """
    if len(points_m) < FEWEST:
        return None
    rng = np.random.default_rng(0)
    rays, inverse = points_m / points_m[:, 2:], 1 / points_m[:, 2]
    three = rng.integers(0, len(points_m), (PLANES, 3))
    three = three[np.abs(np.linalg.det(rays[three])) > 1e-9]
    if not len(three):
        return None
    planes = np.linalg.solve(rays[three], inverse[three][..., None])[..., 0]
    some = points_m[rng.integers(0, len(points_m), SAMPLE)]
    flat = np.abs(_heights(some, planes.T)) < _off_plane(some)[:, None]
    best = planes[flat.sum(axis=0).argmax()]
    flat_all = np.abs(_heights(points_m, best)) < _off_plane(points_m)
    if np.count_nonzero(flat_all) < FLAT_SHARE * len(points_m):
        return None
    return np.asarray(np.linalg.lstsq(rays[flat_all], inverse[flat_all], rcond=None)[0], np.float64)


def _heights(points_m: Array, plane: Array) -> Array:
    """Above the plane, on the camera's side."""
    heights: Array = (1 - points_m @ plane) / np.linalg.norm(plane, axis=0)
    return heights


def _off_plane(points_m: Array) -> Array:
    off: Array = FLAT_M + FLAT_PER_M2 * points_m[:, 2] ** 2
    return off


def standing_on(points_m: Array, plane: Array | None) -> NDArray[np.bool_]:
    if plane is None:
        return np.ones(len(points_m), bool)
    return np.asarray(_heights(points_m, plane) > _off_plane(points_m))


def things_of(points_m: Array, gap_m: float, plane: Array | None) -> NDArray[np.int32]:
    """Each point's thing: what hangs together on a map, seen from above the plane."""
    up = np.array([0.0, -1.0, 0.0]) if plane is None else plane / np.linalg.norm(plane)
    across = np.linalg.svd(up[None])[2][1:]  # two directions in the plane
    places = points_m @ across.T
    low = places.min(axis=0)
    cell_m = max(gap_m, float((places.max(axis=0) - low).max()) / (CELLS - 1))
    column, row = ((places - low) / cell_m).astype(int).T
    taken = np.zeros((row.max() + 1, column.max() + 1), np.uint8)
    taken[row, column] = 1
    things = cv2.connectedComponents(taken, connectivity=8)[1]
    return np.asarray(things[row, column], np.int32)
