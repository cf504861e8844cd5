"""From boxes in an image to boxes in space. The node and the evaluation of bags both call `place_boxes`.

scene = DepthScene(depth, camera, depth_camera, camera_from_depth, target_from_camera)
solids = place_boxes(scene, [box.pixels(640, 480) for box in boxes])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.errors import InputError
from kosmos2_io.camera_model import CameraModel
from kosmos2_io.depth import to_depth_m
from kosmos2_io.lifting import RANGE_M, BoxPx, DepthView, Solid, lift
from kosmos2_io.transforms import MAX_DISTANCE_M

Matrix = NDArray[np.float64]  # (4, 4)

MAX_CAMERA_OFFSET_M = 10.0  # between the image's camera and the depth camera


class NoPlacement(Enum):
    """Why no box of an image can be placed."""

    NO_DEPTH_IMAGE = "no depth image near the image's stamp"
    NO_CAMERA_INFO = "no CameraInfo of a calibrated camera"
    CALIBRATION_MISMATCH = "a CameraInfo belongs to an image of another size"
    UNREADABLE_DEPTH = "the depth image cannot be read"
    WRONG_TRANSFORM = "a transform that cannot be right"


class PlacementError(InputError):
    """No box of an image can be placed.

    Args:
        reason: The kind of problem, for decisions.
        message: One sentence for a person.
    """

    def __init__(self, reason: NoPlacement, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class DepthScene:
    """Depth, calibration and transforms at the stamp of an image.

    Args:
        depth: The depth image nearest to the image's stamp (sensor_msgs Image or CompressedImage); None if
            there is none near enough.
        camera: The model of the image's camera; None if unknown: `depth_camera` then serves for both.
        depth_camera: The model of the depth camera; None if unknown: `camera` then serves for both.
        camera_from_depth: (4, 4), the depth camera's optical frame in the image camera's.
        target_from_camera: (4, 4), the image camera's optical frame in the frame of the result.
        image_size_px: Width and height of the image that the boxes are in; None: not checked.
        range_m: Depths outside of this range are ignored.
    """

    depth: Any
    camera: CameraModel | None
    depth_camera: CameraModel | None
    camera_from_depth: Matrix = field(default_factory=lambda: np.eye(4))
    target_from_camera: Matrix = field(default_factory=lambda: np.eye(4))
    image_size_px: tuple[int, int] | None = None
    range_m: tuple[float, float] = RANGE_M

    def check(self) -> tuple[CameraModel, CameraModel]:
        """Return the models of the image's camera and of the depth camera, before anything is decoded.

        Raises:
            PlacementError: Depth or calibration is missing, or the calibration is of another image size.
        """
        if self.depth is None:
            raise PlacementError(
                NoPlacement.NO_DEPTH_IMAGE, "there is no depth image near the stamp of the image."
            )
        camera, depth_camera = self.camera or self.depth_camera, self.depth_camera or self.camera
        if camera is None or depth_camera is None:
            raise PlacementError(
                NoPlacement.NO_CAMERA_INFO, "no camera_info has arrived: depth cannot be used without it."
            )
        size_px = camera.width, camera.height
        if self.image_size_px not in (None, size_px):
            width, height = self.image_size_px
            raise PlacementError(
                NoPlacement.CALIBRATION_MISMATCH,
                f"the image has {width} x {height} pixels and its CameraInfo {camera.width} x"
                f" {camera.height}: send the CameraInfo that belongs to it.",
            )
        return camera, depth_camera

    @cached_property
    def view(self) -> DepthView:
        """The depth image in metres with its cameras.

        Raises:
            PlacementError: Something is missing or does not match.
        """
        camera, depth_camera = self.check()
        _check_distance("the depth camera", "the camera", self.camera_from_depth, MAX_CAMERA_OFFSET_M)
        _check_distance("the camera", "the target frame", self.target_from_camera, MAX_DISTANCE_M)
        try:
            depth_m = to_depth_m(self.depth)
        except InputError as error:
            raise PlacementError(NoPlacement.UNREADABLE_DEPTH, str(error)) from None
        try:
            return DepthView(depth_m, depth_camera, camera, self.camera_from_depth)
        except InputError as error:
            raise PlacementError(NoPlacement.CALIBRATION_MISMATCH, str(error)) from None


def _check_distance(source: str, target: str, pose: Matrix, most_m: float) -> None:
    distance_m = float(np.linalg.norm(pose[:3, 3]))
    if not distance_m <= most_m:  # NaN fails too
        raise PlacementError(
            NoPlacement.WRONG_TRANSFORM,
            f"{source} is {distance_m:g} m from {target} by its transforms, more than {most_m:g} m: correct"
            " them.",
        )


def place_boxes(scene: DepthScene, boxes_px: Sequence[BoxPx]) -> tuple[Solid | None, ...]:
    """Place the objects in boxes of an image in the target frame.

    Args:
        scene: Depth, cameras and poses at the image's stamp.
        boxes_px: Boxes in pixels of the image: x_min, y_min, x_max, y_max.

    Returns:
        A solid per box, in the same order; None for a box in which too few depths are known.

    Raises:
        PlacementError: No box of this image can be placed; `reason` says why. Not raised without boxes.
    """
    return tuple(lift(box, scene.view, scene.target_from_camera, scene.range_m) for box in boxes_px)
