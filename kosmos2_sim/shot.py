"""A rendered image of the simulated tabletop with its ground truth, and the camera that took it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import Box

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Thing:
    """The ground truth of one object on the table, as seen in one image."""

    shape: str  # "mug"
    colour: str  # "red"
    material: str  # "shiny"
    material_shows: bool  # the image shows the material, by a highlight or by its absence where one would be
    size: str  # "small", "medium" or "large", for its shape
    mark: int  # the object's value in the instance mask, from 1
    box: Box | None  # around the visible part; None: no pixel of the object is in the image
    visible: float  # the visible part of the object, 0 to 1: the rest is hidden or outside the image
    distance_m: float  # from the camera, along the optical axis
    centre_m: tuple[float, float, float]  # of the oriented bounding box, in the world
    extent_m: tuple[float, float, float]  # the side lengths of that box
    quaternion: tuple[float, float, float, float]  # the rotation of that box in the world, w x y z


@dataclass(frozen=True, eq=False)
class Shot:
    """One image with its ground truth.

    The world's origin is in the middle of the table's top, with z up.
    """

    seed: int
    split: str
    image: NDArray[np.uint8]  # (H, W, 3), RGB
    depth_m: NDArray[np.float32]  # (H, W), along the optical axis
    mask: NDArray[np.uint8]  # (H, W), the Thing.mark of each pixel, 0: no object
    camera: NDArray[np.float64]  # (3, 3), the camera matrix
    pose: NDArray[np.float64]  # (4, 4), the camera's optical frame (z forward, x right, y down) in the world
    things: tuple[Thing, ...]
    clutter: tuple[
        Thing, ...
    ] = ()  # without a name: shape is a kind of clutter.py, the mask does not show it


@dataclass(frozen=True, eq=False)
class CameraView:
    """A pinhole camera at a pose in the world.

    The optical frame has z forward, x right, y down. Pixel (u, v) covers [u, u + 1) x [v, v + 1).
    So the principal point is (width / 2, height / 2), and the centre of the first pixel is (0.5, 0.5).
    """

    eye_m: Array  # (3,), the camera's position in the world
    axes: Array  # (3, 3), its columns are the optical frame's x, y, z in the world
    fovy: float  # the vertical field of view, in degrees
    width: int
    height: int

    @property
    def focal_px(self) -> float:
        """The focal length in pixels, the same along x and y."""
        return self.height / 2 / math.tan(math.radians(self.fovy) / 2)

    @property
    def camera(self) -> Array:
        """(3, 3), the camera matrix."""
        f = self.focal_px
        return np.array([[f, 0, self.width / 2], [0, f, self.height / 2], [0, 0, 1]])

    @property
    def pose(self) -> Array:
        """(4, 4), the optical frame in the world."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self.axes, self.eye_m
        return pose

    def project(self, points_m: Array) -> tuple[Array, Array]:
        """Project points (N, 3) of the world into the image.

        Returns:
            Pixels (N, 2), and depths along the optical axis (N,) in metres.
        """
        in_camera_m = (points_m - self.eye_m) @ self.axes
        depth_m = in_camera_m[:, 2]
        centre = np.array([self.width, self.height]) / 2
        return in_camera_m[:, :2] / depth_m[:, None] * self.focal_px + centre, depth_m

    def may_show(self, points_m: Array) -> bool:
        """Return False if a convex body with these corners (N, 3) is certainly outside of the image."""
        x, y, depth = ((points_m - self.eye_m) @ self.axes).T
        wide, high = self.width / 2 / self.focal_px * depth, self.height / 2 / self.focal_px * depth
        outside = (x < -wide, x > wide, y < -high, y > high, depth < 0)
        return not any(side.all() for side in outside)

    def table_point(self, u: float, v: float) -> tuple[float, float] | None:
        """Return the point of the plane z = 0 that a pixel shows, or None if it is above the horizon."""
        centre = np.array([self.width, self.height]) / 2
        ray = self.axes @ np.append((np.array([u, v]) - centre) / self.focal_px, 1.0)
        if ray[2] >= -1e-6:
            return None
        point = self.eye_m - ray * self.eye_m[2] / ray[2]
        return float(point[0]), float(point[1])

    def orbited(self, point_m: Array, azimuth: float, elevation: float, distance: float) -> CameraView:
        """Return the view after moving the camera around a point, which stays where it is in the image.

        Args:
            azimuth: the rotation around the vertical axis, in degrees.
            elevation: the rotation up, in degrees.
            distance: the new distance to the point, as a multiple of the current one.
        """
        back = self.eye_m - point_m
        right = np.array([-back[1], back[0], 0]) / np.hypot(*back[:2])
        raised, _ = cv2.Rodrigues(-math.radians(elevation) * right)
        turned, _ = cv2.Rodrigues(np.array([0, 0, math.radians(azimuth)]))
        turn = turned @ raised
        return replace(self, eye_m=point_m + distance * (turn @ back), axes=turn @ self.axes)


def view_towards(
    target_m: Array,
    azimuth: float,
    elevation: float,
    distance_m: float,
    roll: float,
    fovy: float,
    width: int,
    height: int,
) -> CameraView:
    """Return the view of a camera that looks at a target from a distance; angles are in degrees."""
    a, e, r = np.radians([azimuth, elevation, roll])
    back = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    right = np.array([-math.sin(a), math.cos(a), 0.0])
    down = np.cross(-back, right)
    x, y = right * math.cos(r) + down * math.sin(r), down * math.cos(r) - right * math.sin(r)
    return CameraView(target_m + distance_m * back, np.stack([x, y, -back], 1), fovy, width, height)
