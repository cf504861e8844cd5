"""Camera models: from pixels to rays and from points to pixels, by a CameraInfo.

Pixel coordinates count from the corner of the image: the first pixel covers 0 to 1. ROS and OpenCV count from
the centre of the first pixel. Only this module knows of the half pixel between the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError

Array = NDArray[np.float64]

# Numbers of distortion coefficients that each model may have.
COEFFICIENT_COUNTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
# OpenCV inverts distortion by iteration, up to this many rounds and this change in units of z = 1.
CRITERIA = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 40, 1e-9)
MAX_ERROR_PX = 0.1  # an undistorted point that is farther off when it is distorted again is not known
FOCAL_LENGTHS = (0.05, 1000.0)  # in widths of the image: from a wide fisheye to a telescope
MAX_RAY_RATIO = 1.2  # times the widest ray of the image: beyond, a distortion polynomial means nothing


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A pinhole or fisheye camera, as its image is sent.

    K and D of the CameraInfo are used, R and P are not. The CameraInfo of a rectified image therefore has to
    have D = 0, as drivers that publish one do.

    Args:
        matrix: (3, 3) camera matrix for pixels that count from the corner of the image.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        distortion: Distortion coefficients; empty for none.
        fisheye: The distortion is OpenCV's fisheye model, `equidistant` in ROS.
    """

    matrix: Array
    width: int
    height: int
    distortion: Array = field(default_factory=lambda: np.zeros(0))
    fisheye: bool = False

    @classmethod
    def of(cls, info: Any) -> Self:
        """Return the model of a sensor_msgs/CameraInfo, with its binning and region of interest.

        Raises:
            InputError: The camera is not calibrated, or a field has an impossible value.
        """
        k = _finite(info.k, "K").reshape(3, 3)
        if not k.any():
            raise InputError("the camera is not calibrated, K is all zero: calibrate it, or set its file.")
        if k[0, 0] <= 0 or k[1, 1] <= 0 or k[0, 1] or k[1, 0] or k[2].tolist() != [0, 0, 1]:
            raise InputError(f"the camera's K {k.ravel().tolist()} is not fx 0 cx, 0 fy cy, 0 0 1.")
        roi = info.roi
        offset = np.array([roi.x_offset, roi.y_offset], float)
        binning = np.array([max(info.binning_x, 1), max(info.binning_y, 1)])
        width, height = np.array([roi.width or info.width, roi.height or info.height], int) // binning
        if width < 1 or height < 1:
            raise InputError(f"the camera's image of {info.width} x {info.height} pixels is empty.")
        _check_intrinsics(k, max(roi.width, info.width), max(roi.height, info.height))
        matrix = k.copy()
        matrix[:2, 2] = k[:2, 2] + 0.5 - offset
        matrix[:2] /= binning[:, None]
        return cls(matrix, int(width), int(height), *_distortion_of(info))

    def same_as(self, other: CameraModel) -> bool:
        """Return whether the images of both cameras show the same directions, pixel by pixel."""
        return (
            (self.width, self.height, self.fisheye) == (other.width, other.height, other.fisheye)
            and np.array_equal(self.distortion, other.distortion)
            and np.allclose(self.matrix, other.matrix, rtol=0, atol=1e-3)
        )

    def rays(self, points_px: Array) -> Array:
        """Return the directions in which pixels look.

        Args:
            points_px: (N, 2) points in the image.

        Returns:
            (N, 3) rays with z = 1 in the optical frame. NaN if no direction in front of the camera is known.
        """
        points = np.asarray(points_px, float).reshape(-1, 2)
        flat = (points - self.matrix[:2, 2]) / self.matrix.diagonal()[:2]
        if self.distortion.size:
            flat = self._undistort(flat)
        return np.column_stack([flat, np.ones(len(flat))])

    def project(self, points_m: Array) -> Array:
        """Return where points appear in the image.

        Args:
            points_m: (N, 3) points in the optical frame.

        Returns:
            (N, 2) pixels, inside the image or outside of it. NaN for points behind the camera, or so far
            outside of the image that their distortion is not known.
        """
        points = np.asarray(points_m, float).reshape(-1, 3)
        depth_m = np.where(points[:, 2:] > 0, points[:, 2:], np.nan)
        flat = points[:, :2] / depth_m
        if self.distortion.size:
            flat[np.hypot(*flat.T) > MAX_RAY_RATIO * self._widest_ray] = np.nan
            flat = self._distort(flat)
        pixels: Array = flat * self.matrix.diagonal()[:2] + self.matrix[:2, 2]
        return pixels

    @cached_property
    def _widest_ray(self) -> float:
        """The longest ray of the edge of the image, measured at z = 1 from the optical axis."""
        x, y = np.linspace(0, self.width, 33), np.linspace(0, self.height, 33)
        edges = [np.column_stack([x, np.full(33, v)]) for v in (0, self.height)]
        edges += [np.column_stack([np.full(33, u), y]) for u in (0, self.width)]
        lengths = np.hypot(*self.rays(np.concatenate(edges))[:, :2].T)
        return float(np.nanmax(lengths, initial=0.0))

    def _distort(self, flat: Array) -> Array:
        """Distort (N, 2) points at z = 1."""
        if not len(flat):
            return flat
        if self.fisheye:
            points = cv2.fisheye.distortPoints(flat[:, None], np.eye(3), self.distortion)
        else:
            at_z_1 = np.column_stack([flat, np.ones(len(flat))])
            points, _ = cv2.projectPoints(at_z_1, np.zeros(3), np.zeros(3), np.eye(3), self.distortion)
        return np.asarray(points, float).reshape(-1, 2)

    def _undistort(self, flat: Array) -> Array:
        """Undistort (N, 2) points at z = 1; NaN where that has no solution."""
        if not len(flat):
            return flat
        found = _undistort_points(flat, self.distortion, self.fisheye)
        with np.errstate(invalid="ignore", over="ignore"):
            error_px = np.abs(self._distort(found) - flat) * self.matrix.diagonal()[:2]
        found[~(error_px.max(axis=1, initial=0.0) < MAX_ERROR_PX)] = np.nan
        return found


def _undistort_points(flat: Array, distortion: Array, fisheye: bool) -> Array:
    """Call OpenCV's solver. The one for pinhole cameras has another name in OpenCV 4 than in OpenCV 5."""
    opencv: Any = cv2  # the signatures differ between the versions
    points, matrix = flat[:, None], np.eye(3)
    if fisheye:
        found = opencv.fisheye.undistortPoints(points, matrix, distortion, criteria=CRITERIA)
    elif hasattr(opencv, "undistortPointsIter"):
        found = opencv.undistortPointsIter(points, matrix, distortion, None, None, CRITERIA)
    else:
        found = opencv.undistortPoints(points, matrix, distortion, criteria=CRITERIA)
    return np.array(found, np.float64).reshape(-1, 2)


def _check_intrinsics(k: Array, width: int, height: int) -> None:
    """Refuse a focal length or a principal point that no camera has: its boxes would be kilometres away.

    Args:
        k: (3, 3).
        width: Width of the camera's full image in pixels.
        height: Height of it.
    """
    shortest, longest = FOCAL_LENGTHS
    focal, centre = k.diagonal()[:2] / width, k[:2, 2] / (width, height)
    if not (np.all((shortest <= focal) & (focal <= longest)) and np.all((centre > -1) & (centre < 2))):
        raise InputError(
            f"the camera's K {k.ravel().tolist()} cannot belong to images of {width} x {height} pixels:"
            " calibrate it again."
        )


def _distortion_of(info: Any) -> tuple[Array, bool]:
    """Return D, and whether it is a fisheye's. All zeros mean no distortion, as elsewhere in ROS."""
    d, model = _finite(info.d, "D"), info.distortion_model
    if not d.any():
        return np.zeros(0), False
    if model not in COEFFICIENT_COUNTS:
        known = ", ".join(COEFFICIENT_COUNTS)
        raise InputError(f"the camera's distortion model {model!r} is not known: known models are {known}.")
    if len(d) not in COEFFICIENT_COUNTS[model]:
        counts = " or ".join(map(str, COEFFICIENT_COUNTS[model]))
        raise InputError(f"the camera's D has {len(d)} numbers: {model} has {counts}.")
    return d, model == "equidistant"


def _finite(values: Any, name: str) -> Array:
    numbers = np.array(values, np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"the camera's {name} has a number that is not finite: calibrate it again.")
    return numbers
