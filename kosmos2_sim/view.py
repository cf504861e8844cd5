"""A pinhole camera: where it is, what it sees where.

Its optical frame has z forward, x right, y down. Pixel (u, v) of the image covers [u, u + 1) x [v, v + 1),
so that the principal point is (width / 2, height / 2) and the centre of the first pixel (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    eye_m: Array  # (3,), in the world
    axes: Array  # (3, 3), its columns are the optical frame's x, y, z in the world
    fovy: float  # degrees, of the image's height
    width: int
    height: int

    @property
    def focal_px(self) -> float:
        return self.height / 2 / math.tan(math.radians(self.fovy) / 2)

    @property
    def camera(self) -> Array:
        """The camera matrix."""
        f = self.focal_px
        return np.array([[f, 0, self.width / 2], [0, f, self.height / 2], [0, 0, 1]])

    @property
    def pose(self) -> Array:
        """(4, 4), the optical frame in the world."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self.axes, self.eye_m
        return pose

    def project(self, points_m: Array) -> tuple[Array, Array]:
        """Of points (N, 3) in the world: pixels (N, 2), and depths along the optical axis (N,)."""
        seen = (points_m - self.eye_m) @ self.axes
        depth_m = seen[:, 2]
        centre = np.array([self.width, self.height]) / 2
        return seen[:, :2] / depth_m[:, None] * self.focal_px + centre, depth_m

    def on_table(self, u: float, v: float) -> tuple[float, float] | None:
        """Where in the plane z = 0 a pixel looks; None: above the horizon."""
        centre = np.array([self.width, self.height]) / 2
        ray = self.axes @ np.append((np.array([u, v]) - centre) / self.focal_px, 1.0)
        if ray[2] >= -1e-6:
            return None
        point = self.eye_m - ray * self.eye_m[2] / ray[2]
        return float(point[0]), float(point[1])

    def around(self, point_m: Array, azimuth: float, elevation: float, distance: float) -> View:
        """Led about a point, which stays where it is in the image: turned by angles in degrees, at so many
        times its distance."""
        back = self.eye_m - point_m
        right = np.array([-back[1], back[0], 0]) / np.hypot(*back[:2])
        raised, _ = cv2.Rodrigues(-math.radians(elevation) * right)
        turned, _ = cv2.Rodrigues(np.array([0, 0, math.radians(azimuth)]))
        turn = turned @ raised
        return replace(self, eye_m=point_m + distance * (turn @ back), axes=turn @ self.axes)


def look_at(
    target_m: Array,
    azimuth: float,
    elevation: float,
    distance_m: float,
    roll: float,
    fovy: float,
    width: int,
    height: int,
) -> View:
    """A camera at a distance from what it looks at; angles in degrees."""
    a, e, r = np.radians([azimuth, elevation, roll])
    back = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    right = np.array([-math.sin(a), math.cos(a), 0.0])
    down = np.cross(-back, right)
    x, y = right * math.cos(r) + down * math.sin(r), down * math.cos(r) - right * math.sin(r)
    return View(target_m + distance_m * back, np.stack([x, y, -back], 1), fovy, width, height)
