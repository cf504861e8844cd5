"""From a box in an image to a box in space, by the depth image.

A box around an object also contains what is behind the object and in front of it. The surroundings of the box
are mostly the surface that the object stands on, so a plane is fitted there. The points above the plane are
grouped into things that are apart when seen from above. The object is the thing that fills the middle of the
box and stays inside of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import GRID
from kosmos2_core.errors import InputError
from kosmos2_io.camera_model import CameraModel

Array = NDArray[np.float64]
BoxPx = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max
PixelRect = tuple[int, int, int, int]  # the same in whole pixels

RANGE_M = (0.05, 10.0)  # depths that are used unless a caller gives other limits
MAX_POINTS = 4_000  # used per box; of a large box every second row and column is used, or fewer
MIN_POINTS = 12  # needed to place a box
SURROUNDINGS = 0.5  # looked at around the box, in box sizes on each side
BOX_ERROR = 0.5 / GRID  # of the image: an object may be larger than its box by half a location cell

GAP_M, GAP_PX = 0.006, 2.0  # things that are this near to each other are one
TAIL_PERCENT = 1.0  # of the points of an object that are ignored on each side of its extent
MIN_EXTENT_M = 0.001  # also the smallest standard deviation
ROTATION_VARIANCE = math.pi**2 / 3  # of an unknown angle

PLANE_CANDIDATES = 80  # planes tried, each through three points
PLANE_SAMPLE = 300  # points that each candidate is compared on
MIN_PLANE_POINTS = 100  # needed to look for a plane
MIN_PLANE_SHARE = 0.25  # of these points, which have to be on the plane
FLAT_M, FLAT_PER_M2 = 0.004, 0.0015  # distance from the plane that counts as on it; noise grows with depth^2
MAP_CELLS = 512  # along each side of the map of things, at most


@dataclass(frozen=True, eq=False)
class DepthView:
    """A depth image and the cameras that belong to it.

    Args:
        depth_m: (H, W) depth along the optical axis, NaN where unknown.
        camera: The camera that took it.
        image_camera: The camera of the image that boxes are in.
        pose: (4, 4), the depth camera in the frame of the image camera; the identity if the depth image is
            registered to the image.

    Raises:
        InputError: The depth image does not have the size that its camera says.
    """

    depth_m: NDArray[np.float32]
    camera: CameraModel
    image_camera: CameraModel
    pose: Array = field(default_factory=lambda: np.eye(4))

    def __post_init__(self) -> None:
        if self.depth_m.shape != (self.camera.height, self.camera.width):
            height, width = self.depth_m.shape
            raise InputError(
                f"the depth image has {width} x {height} pixels and its CameraInfo {self.camera.width} x"
                f" {self.camera.height}: send the CameraInfo that belongs to it."
            )

    @property
    def registered(self) -> bool:
        """True if each depth pixel shows the same as the pixel of the image."""
        return np.allclose(self.pose, np.eye(4), rtol=0, atol=1e-6) and self.camera.same_as(self.image_camera)


@dataclass(frozen=True)
class Solid:
    """The visible part of an object, as a box along the axes of the target frame.

    Args:
        centre_m: Middle of the bounds of its visible surface.
        extent_m: Sides of these bounds.
        quaternion_xyzw: Rotation of the box; always none.
        covariance: (6, 6) of x, y, z and the rotations about them, row by row.
        depth_m: Distance from the image's camera along its optical axis.
        pixels: Number of depth pixels of the object.
    """

    centre_m: tuple[float, float, float]
    extent_m: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float]
    covariance: tuple[float, ...]
    depth_m: float
    pixels: int


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in a box and around it.

    Args:
        points_m: (N, 3) in the optical frame of the image camera.
        offsets: (N, 2) in the image, from the middle of the box; 1 is at its edge.
        gap_m: Things that are this near to each other are one.
    """

    points_m: Array
    offsets: Array
    gap_m: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(N,) whether each point is in the box."""
        return np.asarray(np.abs(self.offsets).max(axis=1) < 1)


def lift(
    box_px: BoxPx,
    depth: DepthView,
    target_from_camera: Array,
    range_m: tuple[float, float] = RANGE_M,
) -> Solid | None:
    """Place the object in a box of the image in space.

    Args:
        box_px: The box in pixels of the image.
        depth: The depth image.
        target_from_camera: (4, 4), the image camera's optical frame in the target frame.
        range_m: Depths outside of this range are ignored.

    Returns:
        The object, or None if too few depths in the box are known.

    Raises:
        InputError: The box has no area in the image.
    """
    box = _clip_box(box_px, depth.image_camera)
    cloud = _point_cloud(box, depth, range_m)
    inside = cloud.inside
    if np.count_nonzero(inside) < MIN_POINTS:
        return None
    plane = fit_plane(cloud.points_m[~inside])
    above = above_plane(cloud.points_m, plane)
    if np.count_nonzero(above & inside) < MIN_POINTS:
        chosen = inside  # the object is as flat as what it lies on
    else:
        chosen = np.zeros(len(inside), bool)
        chosen[above] = _in_object(cloud, above, plane)
        chosen &= _near_box(cloud.offsets, box, depth.image_camera)
    points_m = cloud.points_m[chosen]
    if len(points_m) < MIN_POINTS:
        return None
    return _solid(points_m, depth.image_camera, target_from_camera)


def _clip_box(box_px: BoxPx, camera: CameraModel) -> BoxPx:
    """Return the part of a box that is in the image."""
    x_min, y_min, x_max, y_max = map(float, box_px)
    x_min, y_min = max(x_min, 0.0), max(y_min, 0.0)
    x_max, y_max = min(x_max, float(camera.width)), min(y_max, float(camera.height))
    if not (x_min < x_max and y_min < y_max and all(map(math.isfinite, box_px))):  # NaN fails too
        raise InputError(
            f"the box {tuple(box_px)} has no area in the image of {camera.width} x {camera.height} pixels."
        )
    return x_min, y_min, x_max, y_max


# Points around a box.


def _point_cloud(box: BoxPx, depth: DepthView, range_m: tuple[float, float]) -> PointCloud:
    around = _grow_box(box, SURROUNDINGS)
    rect = _pixel_rect(around, depth.camera) if depth.registered else _depth_rect(around, depth, range_m)
    u_min, v_min, u_max, v_max = rect
    step = max(1, math.ceil(math.sqrt((u_max - u_min) * (v_max - v_min) / MAX_POINTS)))
    depth_m = depth.depth_m[v_min:v_max:step, u_min:u_max:step]
    with np.errstate(invalid="ignore"):
        v, u = np.nonzero((depth_m >= range_m[0]) & (depth_m <= range_m[1]))  # NaN is neither
    pixels = np.column_stack([u_min + step * u + 0.5, v_min + step * v + 0.5])
    points_m = depth.camera.rays(pixels) * depth_m[v, u, None].astype(float)
    if not depth.registered:
        points_m = _transform(points_m, depth.pose)
        pixels = depth.image_camera.project(points_m)
    middle, half_size = _middle_and_half_size(box)
    offsets = (pixels - middle) / half_size
    near = np.abs(pixels - middle).max(axis=1, initial=0) < np.inf  # NaN: seen by one camera only
    near &= (np.abs(offsets) < 1 + 2 * SURROUNDINGS).all(axis=1)
    points_m, offsets = points_m[near], offsets[near]
    pixel_m = np.median(points_m[:, 2]) / depth.camera.matrix[0, 0] if len(points_m) else 0.0
    return PointCloud(points_m, offsets, max(GAP_M, GAP_PX * step * float(pixel_m)))


def _depth_rect(around: BoxPx, depth: DepthView, range_m: tuple[float, float]) -> PixelRect:
    """Return the part of the depth image that may show a part of the image, at any known depth."""
    x_min, y_min, x_max, y_max = around
    x, y = np.linspace(x_min, x_max, 5), np.linspace(y_min, y_max, 5)
    rays = depth.image_camera.rays(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    known = depth.depth_m[(depth.depth_m >= range_m[0]) & (depth.depth_m <= range_m[1])]
    if not known.size:
        return 0, 0, 0, 0
    depth_from_camera = np.asarray(np.linalg.inv(depth.pose), np.float64)
    corners = [
        _transform(rays * float(distance_m), depth_from_camera) for distance_m in (known.min(), known.max())
    ]
    pixels = depth.camera.project(np.concatenate(corners))
    if np.isnan(pixels).any():
        return 0, 0, depth.camera.width, depth.camera.height
    return _pixel_rect((*pixels.min(0), *pixels.max(0)), depth.camera)


def _grow_box(box: BoxPx, share: float) -> BoxPx:
    x_min, y_min, x_max, y_max = box
    grow_x, grow_y = share * (x_max - x_min), share * (y_max - y_min)
    return x_min - grow_x, y_min - grow_y, x_max + grow_x, y_max + grow_y


def _pixel_rect(box: BoxPx, camera: CameraModel) -> PixelRect:
    """Return the pixels that a box touches."""
    x_min, y_min, x_max, y_max = box
    u_min, v_min = max(math.floor(x_min), 0), max(math.floor(y_min), 0)
    u_max, v_max = min(math.ceil(x_max), camera.width), min(math.ceil(y_max), camera.height)
    return u_min, v_min, max(u_max, u_min), max(v_max, v_min)


def _middle_and_half_size(box: BoxPx) -> tuple[Array, Array]:
    low, high = np.array(box[:2]), np.array(box[2:])
    return (low + high) / 2, (high - low) / 2


def _transform(points_m: Array, pose: Array) -> Array:
    transformed: Array = points_m @ pose[:3, :3].T + pose[:3, 3]
    return transformed


# The object among the things above the plane.


def _in_object(cloud: PointCloud, above: NDArray[np.bool_], plane: Array | None) -> NDArray[np.bool_]:
    """Tell which of the points above the plane belong to the object.

    The object is the thing with the most points in the middle of the box, weighted by the share of its points
    that is inside.
    """
    points_m, offsets, inside = cloud.points_m[above], cloud.offsets[above], cloud.inside[above]
    things = group_points(points_m, cloud.gap_m, plane)
    weights = np.clip(1 - np.abs(offsets), 0, None).prod(axis=1)
    inside_share = np.bincount(things, inside) / np.maximum(np.bincount(things), 1)
    best = (np.bincount(things, weights) * inside_share**2).argmax()
    return np.asarray(things == best)


def _near_box(offsets: Array, box: BoxPx, camera: CameraModel) -> NDArray[np.bool_]:
    """Tell which points are in the box, or outside of it by no more than the error of a box."""
    error = BOX_ERROR * np.array([camera.width, camera.height]) / _middle_and_half_size(box)[1]
    return np.asarray((np.abs(offsets) < 1 + error).all(axis=1))


# The object in the target frame.


def _solid(points_m: Array, camera: CameraModel, target_from_camera: Array) -> Solid:
    low, high = np.percentile(
        _transform(points_m, target_from_camera), (TAIL_PERCENT, 100 - TAIL_PERCENT), axis=0
    )
    x, y, z = map(float, (low + high) / 2)
    size_x, size_y, size_z = map(float, np.maximum(high - low, MIN_EXTENT_M))
    return Solid(
        centre_m=(x, y, z),
        extent_m=(size_x, size_y, size_z),
        quaternion_xyzw=(0.0, 0.0, 0.0, 1.0),
        covariance=_covariance(points_m, camera, target_from_camera[:3, :3]),
        depth_m=float(np.median(points_m[:, 2])),
        pixels=len(points_m),
    )


def _covariance(points_m: Array, camera: CameraModel, rotation: Array) -> tuple[float, ...]:
    """Estimate the covariance: box corners are known to a location cell, depth to its standard deviation."""
    x, y, depth_m = np.median(points_m, axis=0)
    cell_px = np.array([camera.width, camera.height]) / GRID
    corner = cell_px / math.sqrt(12) / camera.matrix.diagonal()[:2]  # standard deviation at z = 1
    middle = corner / math.sqrt(2)  # the mean of two corners
    deviations = np.array([*middle * depth_m, points_m[:, 2].std() + MIN_EXTENT_M])
    # Depth varies along the ray, not along the optical axis: at the edge of the image what is farther away is
    # also farther out.
    along = np.array([[1, 0, x / depth_m], [0, 1, y / depth_m], [0, 0, 1]])
    root = rotation @ along * np.maximum(deviations, MIN_EXTENT_M)
    covariance = ROTATION_VARIANCE * np.eye(6)
    covariance[:3, :3] = root @ root.T
    return tuple(covariance.ravel().tolist())


# The supporting plane, and the things above it. Points are (N, 3) in an optical frame: z forward, y down.


def fit_plane(points_m: Array) -> Array | None:
    """Fit the plane that most points are on.

    On a plane 1 / z = n . (x / z, y / z, 1), which is linear and equally exact near and far.

    Returns:
        The vector n with n . p = 1 for each point p on the plane, or None if there is no plane.
    """
    if len(points_m) < MIN_PLANE_POINTS:
        return None
    rng = np.random.default_rng(0)
    rays, inverse = points_m / points_m[:, 2:], 1 / points_m[:, 2]
    triples = rng.integers(0, len(points_m), (PLANE_CANDIDATES, 3))
    triples = triples[np.abs(np.linalg.det(rays[triples])) > 1e-9]
    if not len(triples):
        return None
    candidates = np.linalg.solve(rays[triples], inverse[triples][..., None])[..., 0]
    sample = points_m[rng.integers(0, len(points_m), PLANE_SAMPLE)]
    on_plane = np.abs(_heights(sample, candidates.T)) < _plane_tolerance(sample)[:, None]
    best = candidates[on_plane.sum(axis=0).argmax()]
    on_best = np.abs(_heights(points_m, best)) < _plane_tolerance(points_m)
    if np.count_nonzero(on_best) < MIN_PLANE_SHARE * len(points_m):
        return None
    return np.asarray(np.linalg.lstsq(rays[on_best], inverse[on_best], rcond=None)[0], np.float64)


def _heights(points_m: Array, plane: Array) -> Array:
    """Return the distance of points from a plane, positive on the side of the camera."""
    heights: Array = (1 - points_m @ plane) / np.linalg.norm(plane, axis=0)
    return heights


def _plane_tolerance(points_m: Array) -> Array:
    tolerance: Array = FLAT_M + FLAT_PER_M2 * points_m[:, 2] ** 2
    return tolerance


def above_plane(points_m: Array, plane: Array | None) -> NDArray[np.bool_]:
    """Tell which points rise above a plane; all of them if there is no plane."""
    if plane is None:
        return np.ones(len(points_m), bool)
    return np.asarray(_heights(points_m, plane) > _plane_tolerance(points_m))


def group_points(points_m: Array, gap_m: float, plane: Array | None) -> NDArray[np.int32]:
    """Group points into things that are connected on a map seen from above the plane.

    Returns:
        (N,) number of the thing of each point.
    """
    up = np.array([0.0, -1.0, 0.0]) if plane is None else plane / np.linalg.norm(plane)
    axes = np.linalg.svd(up[None])[2][1:]  # two directions in the plane
    positions = points_m @ axes.T
    low = positions.min(axis=0)
    cell_m = max(gap_m, float((positions.max(axis=0) - low).max()) / (MAP_CELLS - 1))
    column, row = ((positions - low) / cell_m).astype(int).T
    occupied = np.zeros((row.max() + 1, column.max() + 1), np.uint8)
    occupied[row, column] = 1
    things = cv2.connectedComponents(occupied, connectivity=8)[1]
    return np.asarray(things[row, column], np.int32)
