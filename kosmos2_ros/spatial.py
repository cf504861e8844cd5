"""From an answer's boxes to boxes in space: depth and transforms of the image's stamp, and the lifting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kosmos2_core.boxes import Box
from kosmos2_core.errors import InputError
from kosmos2_io.answer_messages import Box3D
from kosmos2_io.camera_model import CameraModel
from kosmos2_io.depth import to_depth_m
from kosmos2_io.lifting import DepthView, lift
from kosmos2_io.transforms import TransformError
from kosmos2_ros.camera import Camera
from kosmos2_ros.codes import Code, QueryError
from kosmos2_ros.mailbox import Frame
from kosmos2_ros.options import Options
from kosmos2_ros.ros_messages import ROS
from kosmos2_ros.tf import Transforms
from kosmos2_ros.worker import Result

Pose = NDArray[np.float64]


@dataclass(frozen=True)
class Placed:
    """Of each phrase, where each of its boxes is in the header's frame; None: not known."""

    header: Any
    solids: tuple[tuple[Box3D | None, ...], ...]


class Spatial:
    def __init__(
        self, cameras: Mapping[str, Camera], transforms: Transforms, options: Callable[[], Options]
    ) -> None:
        self._cameras, self._transforms, self._options = cameras, transforms, options

    def expect(self, frame: Frame) -> None:
        """A frame goes to the model: its depth will be asked for."""
        if camera := self._cameras.get(frame.camera):
            camera.depths.expect(frame.stamp_ns)

    def place(self, result: Result) -> Placed:
        """QueryError: there is no depth, or no transform, at the image's stamp."""
        options = self._options()
        frame = result.frame
        target = options.target_frame or frame.message.header.frame_id
        header = ROS.header(frame.stamp_ns, target)
        if not any(phrase.boxes for phrase in result.answer.phrases):  # nothing that depth could tell
            return Placed(header, tuple(() for _ in result.answer.phrases))
        try:
            view = self._view(result, options)
            pose = self._pose(target, frame.message.header.frame_id, frame.stamp_ns, options)
        except TransformError as error:
            raise QueryError(Code.NO_TRANSFORM, str(error)) from None
        except InputError as error:
            raise QueryError(Code.NO_DEPTH, str(error)) from None
        height, width = result.pixels.shape[:2]
        range_m = options.depth_min_m, options.depth_max_m

        def solid(box: Box) -> Box3D | None:
            found = lift(box.pixels(width, height), view, pose, range_m)
            if found is None:
                return None
            return Box3D(found.centre_m, found.extent_m, found.quaternion_xyzw, found.covariance)

        solids = tuple(tuple(solid(box) for box in one.boxes) for one in result.answer.phrases)
        return Placed(header, solids)

    def _view(self, result: Result, options: Options) -> DepthView:
        frame = result.frame
        camera = self._cameras.get(frame.camera)
        depth = camera.depths.at(frame.stamp_ns, int(options.sync_slop_s * 1e9)) if camera else None
        if camera is None or depth is None:
            raise InputError(
                "there is no depth image within sync_slop_s of the image's stamp: is the depth camera on, and"
                " is its topic right?"
            )
        info, depth_info = camera.info or camera.depth_info, camera.depth_info or camera.info
        if info is None:
            raise InputError("no camera_info has come: depth cannot be used without.")
        image_camera = CameraModel.of(info)
        height, width = result.pixels.shape[:2]
        if (image_camera.width, image_camera.height) != (width, height):
            raise InputError(
                f"the image has {width} x {height} pixels and its CameraInfo {image_camera.width} x"
                f" {image_camera.height}: send the CameraInfo that belongs to it."
            )
        pose = self._pose(frame.message.header.frame_id, depth.header.frame_id, frame.stamp_ns, options)
        return DepthView(to_depth_m(depth), CameraModel.of(depth_info), image_camera, pose)

    def _pose(self, target: str, source: str, stamp_ns: int, options: Options) -> Pose:
        if target == source or not source:
            return np.eye(4)
        return self._transforms.lookup(target, source, stamp_ns, options.tf_timeout_s)
