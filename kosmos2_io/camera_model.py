"""Where a camera's pixels look, and where points are in its image, by its CameraInfo.

Points in an image count from its corner: the first pixel covers 0 to 1. To ROS, as to OpenCV, that pixel's
centre is at 0; only this file knows of the half pixel between the two.
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

# How many numbers each model may have.
LENGTHS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
ROUNDS = 40  # of undoing distortion
EXACT_PX = 0.1  # a point is undistorted if, distorted again, it comes back this near
BEYOND = 1.2  # times the widest ray of the image: farther out, a distortion polynomial means nothing


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A pinhole or fisheye camera, as its image is sent: K and D are used, R and P are not.

    A rectified image's CameraInfo therefore has to say D = 0, as drivers that publish one do.
    """

    matrix: Array  # (3, 3); the first pixel covers 0 to 1
    width: int
    height: int
    distortion: Array = field(default_factory=lambda: np.zeros(0))  # empty: none
    fisheye: bool = False  # the distortion is `equidistant`

    @classmethod
    def of(cls, info: Any) -> Self:
        """From a sensor_msgs/CameraInfo, with its binning and region of interest."""
        k = _numbers(info.k, "K").reshape(3, 3)
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
        matrix = k.copy()
        matrix[:2, 2] = k[:2, 2] + 0.5 - offset
        matrix[:2] /= binning[:, None]
        return cls(matrix, int(width), int(height), *_distortion(info))

    def same_as(self, other: CameraModel) -> bool:
        """Whether the images of both show the same directions, pixel for pixel."""
        return (
            (self.width, self.height, self.fisheye) == (other.width, other.height, other.fisheye)
            and np.array_equal(self.distortion, other.distortion)
            and np.allclose(self.matrix, other.matrix, rtol=0, atol=1e-3)
        )

    def rays(self, points_px: Array) -> Array:
        """Of points (N, 2) in the image: where they look, (N, 3) with z = 1. NaN: nowhere in front."""
        points = np.asarray(points_px, float).reshape(-1, 2)
        flat = (points - self.matrix[:2, 2]) / self.matrix.diagonal()[:2]
        if self.distortion.size:
            flat = self._undistorted(flat)
        return np.column_stack([flat, np.ones(len(flat))])

    def project(self, points_m: Array) -> Array:
        """Of points (N, 3) in the optical frame: where in the image they are, (N, 2), in it or beyond it.

        NaN: behind the camera, or so far beyond the image that its distortion is not known.
        """
        points = np.asarray(points_m, float).reshape(-1, 3)
        depth_m = np.where(points[:, 2:] > 0, points[:, 2:], np.nan)
        flat = points[:, :2] / depth_m
        if self.distortion.size:
            flat[np.hypot(*flat.T) > BEYOND * self._widest] = np.nan
            flat = self._distorted(flat)
        pixels: Array = flat * self.matrix.diagonal()[:2] + self.matrix[:2, 2]
        return pixels

    @cached_property
    def _widest(self) -> float:
        """The longest ray of the image's edge, at z = 1."""
        x, y = np.linspace(0, self.width, 33), np.linspace(0, self.height, 33)
        edges = [np.column_stack([x, np.full(33, v)]) for v in (0, self.height)]
        edges += [np.column_stack([np.full(33, u), y]) for u in (0, self.width)]
        lengths = np.hypot(*self.rays(np.concatenate(edges))[:, :2].T)
        return float(np.nanmax(lengths, initial=0.0))

    def _distorted(self, flat: Array) -> Array:
        if not len(flat):
            return flat
        if self.fisheye:
            return _fisheye(flat, self.distortion)
        ones = np.column_stack([flat, np.ones(len(flat))])
        points, _ = cv2.projectPoints(ones, np.zeros(3), np.zeros(3), np.eye(3), self.distortion)
        return np.asarray(points, float).reshape(-1, 2)

    def _undistorted(self, flat: Array) -> Array:
        found = _unfisheye(flat, self.distortion) if self.fisheye else self._iterated(flat)
        with np.errstate(invalid="ignore"):
            off_px = np.abs(self._distorted(found) - flat) * self.matrix.diagonal()[:2]
        found[~(off_px.max(axis=1, initial=0.0) < EXACT_PX)] = np.nan
        return found

    def _iterated(self, flat: Array) -> Array:
        """Each round mends what the last one is off by."""
        found = flat.copy()
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(ROUNDS):
                step = flat - self._distorted(found)
                found += step
                if not (np.abs(step) > 1e-7).any():
                    break
        return found


def _fisheye(flat: Array, d: Array) -> Array:
    """Kannala and Brandt's model: a polynomial of the angle to the optical axis."""
    radius = np.hypot(*flat.T)
    theta = np.arctan(radius)
    scale = _polynomial(theta, d) / np.maximum(radius, 1e-12)
    bent: Array = flat * np.where(radius > 1e-12, scale, 1.0)[:, None]
    return bent


def _unfisheye(flat: Array, d: Array) -> Array:
    bent = np.hypot(*flat.T)
    theta = np.minimum(bent, np.pi / 2)
    for _ in range(ROUNDS):  # Newton's method
        theta2 = theta * theta
        slope = 1 + theta2 * (3 * d[0] + theta2 * (5 * d[1] + theta2 * (7 * d[2] + theta2 * 9 * d[3])))
        theta = np.clip(theta - (_polynomial(theta, d) - bent) / np.where(slope > 0.01, slope, 1), 0, 1.57)
    scale = np.tan(theta) / np.maximum(bent, 1e-12)
    found: Array = flat * np.where(bent > 1e-12, scale, 1.0)[:, None]
    return found


def _polynomial(theta: Array, d: Array) -> Array:
    theta2 = theta * theta
    bent: Array = theta * (1 + theta2 * (d[0] + theta2 * (d[1] + theta2 * (d[2] + theta2 * d[3]))))
    return bent


def _distortion(info: Any) -> tuple[Array, bool]:
    """D, and whether it is a fisheye's. As to the rest of ROS, zeros are none, whatever the model."""
    d, model = _numbers(info.d, "D"), info.distortion_model
    if not d.any():
        return np.zeros(0), False
    if model not in LENGTHS:
        raise InputError(f"the camera's distortion model {model!r} is not known: {', '.join(LENGTHS)} are.")
    if len(d) not in LENGTHS[model]:
        wanted = " or ".join(map(str, LENGTHS[model]))
        raise InputError(f"the camera's D has {len(d)} numbers: {model} has {wanted}.")
    return d, model == "equidistant"


def _numbers(values: Any, name: str) -> Array:
    numbers = np.array(values, np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"the camera's {name} has a number that is not finite: calibrate it again.")
    return numbers
