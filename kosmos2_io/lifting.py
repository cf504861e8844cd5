"""From a box in an image to a box in space, by the depth in it.

A box around an object also holds what is behind it and in front of it. What surrounds the box is mostly
what the object stands on: a plane is fitted there, and what rises above the plane falls apart, seen from
above, into things. The object is the thing that fills the middle of the box and does not leave it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import GRID
from kosmos2_core.errors import InputError
from kosmos2_io.camera_model import CameraModel
from kosmos2_io.standing_points import plane_of, standing_on, things_of

Array = NDArray[np.float64]
BoxPx = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max
Window = tuple[int, int, int, int]  # the same in whole pixels

MOST_POINTS = 4_000  # looked at for a box; of a large one every second row and column, or fewer
FEWEST_POINTS = 12  # a place is not known by fewer
AROUND = 0.5  # how much of its surroundings is looked at, times the box, to each side
EDGE = 0.5 / GRID  # of the image: an object may be larger than its box by half a location cell

GAP_M, GAP_PX = 0.006, 2.0  # things as near as this to each other are one
TAIL = 1.0  # percent of an object's points that are beyond its extent, on each side
LEAST_M = 0.001  # an extent, and a deviation
TURN_VARIANCE = math.pi**2 / 3  # nothing is known of how an object is turned


@dataclass(frozen=True, eq=False)
class DepthView:
    """A depth image, and where it was taken. The pose is the identity where it is registered."""

    depth_m: NDArray[np.float32]  # (H, W), along the optical axis; NaN where unknown
    camera: CameraModel  # that took it
    image_camera: CameraModel  # of the image that boxes are in
    pose: Array = field(default_factory=lambda: np.eye(4))  # the depth camera in the image camera's frame

    def __post_init__(self) -> None:
        if self.depth_m.shape != (self.camera.height, self.camera.width):
            high, wide = self.depth_m.shape
            raise InputError(
                f"the depth image has {wide} x {high} pixels and its CameraInfo {self.camera.width} x"
                f" {self.camera.height}: send the CameraInfo that belongs to it."
            )

    @property
    def registered(self) -> bool:
        return np.allclose(self.pose, np.eye(4), rtol=0, atol=1e-6) and self.camera.same_as(self.image_camera)


@dataclass(frozen=True)
class Solid:
    """What is seen of an object, as a box along the axes of the target frame."""

    centre_m: tuple[float, float, float]  # the middle of the bounds of its visible surface
    extent_m: tuple[float, float, float]  # the sides of those bounds
    quaternion_xyzw: tuple[float, float, float, float]
    covariance: tuple[float, ...]  # of x, y, z and turns about them, row by row
    depth_m: float  # from the image's camera, along its optical axis
    pixels: int  # depths that it rests on


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points around a box."""

    points_m: Array  # (N, 3), in the image camera's optical frame
    offsets: Array  # (N, 2), in the image, from the middle of the box: 1 is at its edge
    gap_m: float  # things as near as this to each other are one

    @property
    def inside(self) -> NDArray[np.bool_]:
        return np.asarray(np.abs(self.offsets).max(axis=1) < 1)


def lift(
    box_px: BoxPx,
    depth: DepthView,
    target_from_camera: Array,
    range_m: tuple[float, float] = (0.05, 10.0),
) -> Solid | None:
    """The object in a box of the image; None: too few depths in the box are known.

    target_from_camera: (4, 4), the image camera's optical frame in the frame that is wanted.
    """
    box = _checked(box_px, depth.image_camera)
    cloud = _cloud(box, depth, range_m)
    inside = cloud.inside
    if np.count_nonzero(inside) < FEWEST_POINTS:
        return None
    plane = plane_of(cloud.points_m[~inside])
    standing = standing_on(cloud.points_m, plane)
    if np.count_nonzero(standing & inside) < FEWEST_POINTS:
        chosen = inside  # as flat as what it lies on
    else:
        chosen = np.zeros(len(inside), bool)
        chosen[standing] = _object(cloud, standing, plane)
        chosen &= _within(cloud.offsets, box, depth.image_camera)
    points_m = cloud.points_m[chosen]
    return (
        _solid(points_m, depth.image_camera, target_from_camera) if len(points_m) >= FEWEST_POINTS else None
    )


def _checked(box_px: BoxPx, camera: CameraModel) -> BoxPx:
    """The part of a box that is in the image."""
    x_min, y_min, x_max, y_max = map(float, box_px)
    x_min, y_min = max(x_min, 0.0), max(y_min, 0.0)
    x_max, y_max = min(x_max, float(camera.width)), min(y_max, float(camera.height))
    if not (x_min < x_max and y_min < y_max and all(map(math.isfinite, box_px))):  # NaN fails too
        raise InputError(
            f"the box {tuple(box_px)} has no area in the image of {camera.width} x {camera.height} pixels."
        )
    return x_min, y_min, x_max, y_max


# Depths around a box, as points.


def _cloud(box: BoxPx, depth: DepthView, range_m: tuple[float, float]) -> Cloud:
    around = _grown(box, AROUND)
    window = _cut(around, depth.camera) if depth.registered else _seen_by_depth(around, depth, range_m)
    u_min, v_min, u_max, v_max = window
    step = max(1, math.ceil(math.sqrt((u_max - u_min) * (v_max - v_min) / MOST_POINTS)))
    depth_m = depth.depth_m[v_min:v_max:step, u_min:u_max:step]
    with np.errstate(invalid="ignore"):
        v, u = np.nonzero((depth_m >= range_m[0]) & (depth_m <= range_m[1]))  # NaN is neither
    pixels = np.column_stack([u_min + step * u + 0.5, v_min + step * v + 0.5])
    points_m = depth.camera.rays(pixels) * depth_m[v, u, None].astype(float)
    if not depth.registered:
        points_m = _moved(points_m, depth.pose)
        pixels = depth.image_camera.project(points_m)
    middle, half = _middle(box)
    offsets = (pixels - middle) / half
    near = np.abs(pixels - middle).max(axis=1, initial=0) < np.inf  # NaN: seen by one camera alone
    near &= (np.abs(offsets) < 1 + 2 * AROUND).all(axis=1)
    points_m, offsets = points_m[near], offsets[near]
    pixel_m = np.median(points_m[:, 2]) / depth.camera.matrix[0, 0] if len(points_m) else 0.0
    return Cloud(points_m, offsets, max(GAP_M, GAP_PX * step * float(pixel_m)))


def _seen_by_depth(around: BoxPx, depth: DepthView, range_m: tuple[float, float]) -> Window:
    """Where in the depth image that part of the image is, at whatever depth."""
    x_min, y_min, x_max, y_max = around
    x, y = np.linspace(x_min, x_max, 5), np.linspace(y_min, y_max, 5)
    rays = depth.image_camera.rays(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    known = depth.depth_m[(depth.depth_m >= range_m[0]) & (depth.depth_m <= range_m[1])]
    if not known.size:
        return 0, 0, 0, 0
    into = np.asarray(np.linalg.inv(depth.pose), np.float64)
    corners = [_moved(rays * float(far_m), into) for far_m in (known.min(), known.max())]
    pixels = depth.camera.project(np.concatenate(corners))
    if np.isnan(pixels).any():
        return 0, 0, depth.camera.width, depth.camera.height
    return _cut((*pixels.min(0), *pixels.max(0)), depth.camera)


def _grown(box: BoxPx, share: float) -> BoxPx:
    x_min, y_min, x_max, y_max = box
    by_x, by_y = share * (x_max - x_min), share * (y_max - y_min)
    return x_min - by_x, y_min - by_y, x_max + by_x, y_max + by_y


def _cut(box: BoxPx, camera: CameraModel) -> Window:
    """The whole pixels that a box touches."""
    x_min, y_min, x_max, y_max = box
    u_min, v_min = max(math.floor(x_min), 0), max(math.floor(y_min), 0)
    u_max, v_max = min(math.ceil(x_max), camera.width), min(math.ceil(y_max), camera.height)
    return u_min, v_min, max(u_max, u_min), max(v_max, v_min)


def _middle(box: BoxPx) -> tuple[Array, Array]:
    """Middle and half size."""
    low, high = np.array(box[:2]), np.array(box[2:])
    return (low + high) / 2, (high - low) / 2


def _moved(points_m: Array, pose: Array) -> Array:
    moved: Array = points_m @ pose[:3, :3].T + pose[:3, 3]
    return moved


# Which of the things is the object.


def _object(cloud: Cloud, standing: NDArray[np.bool_], plane: Array | None) -> NDArray[np.bool_]:
    """Of the standing points, those of the thing that has most of the box's middle and is mostly inside."""
    points_m, offsets, inside = cloud.points_m[standing], cloud.offsets[standing], cloud.inside[standing]
    things = things_of(points_m, cloud.gap_m, plane)
    middle = np.clip(1 - np.abs(offsets), 0, None).prod(axis=1)
    share = np.bincount(things, inside) / np.maximum(np.bincount(things), 1)
    best = (np.bincount(things, middle) * share**2).argmax()
    return np.asarray(things == best)


def _within(offsets: Array, box: BoxPx, camera: CameraModel) -> NDArray[np.bool_]:
    """Which points are in the box, or beyond it by no more than a box is off."""
    edge = EDGE * np.array([camera.width, camera.height]) / _middle(box)[1]
    return np.asarray((np.abs(offsets) < 1 + edge).all(axis=1))


# Its place in the target frame.


def _solid(points_m: Array, camera: CameraModel, target_from_camera: Array) -> Solid:
    low, high = np.percentile(_moved(points_m, target_from_camera), (TAIL, 100 - TAIL), axis=0)
    x, y, z = map(float, (low + high) / 2)
    along_x, along_y, along_z = map(float, np.maximum(high - low, LEAST_M))
    return Solid(
        centre_m=(x, y, z),
        extent_m=(along_x, along_y, along_z),
        quaternion_xyzw=(0.0, 0.0, 0.0, 1.0),
        covariance=_covariance(points_m, camera, target_from_camera[:3, :3]),
        depth_m=float(np.median(points_m[:, 2])),
        pixels=len(points_m),
    )


def _covariance(points_m: Array, camera: CameraModel, turn: Array) -> tuple[float, ...]:
    """A box's corners are known to a location cell, and the depth to what it varies by."""
    x, y, depth_m = np.median(points_m, axis=0)
    cell_px = np.array([camera.width, camera.height]) / GRID
    corner = cell_px / math.sqrt(12) / camera.matrix.diagonal()[:2]  # of a ray, at z = 1
    middle = corner / math.sqrt(2)  # it is half of two corners
    deviations = np.array([*middle * depth_m, points_m[:, 2].std() + LEAST_M])
    # Along the rays, not the optical axis: at the image's edge what is farther is also farther out.
    along = np.array([[1, 0, x / depth_m], [0, 1, y / depth_m], [0, 0, 1]])
    root = turn @ along * np.maximum(deviations, LEAST_M)
    covariance = TURN_VARIANCE * np.eye(6)
    covariance[:3, :3] = root @ root.T
    return tuple(covariance.ravel().tolist())
