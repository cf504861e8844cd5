"""3D: the pose of frames from TF, and the boxes of an answer placed in space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from kosmos2_core.errors import InputError
from kosmos2_io.answer_messages import Box3D
from kosmos2_io.lifting import Solid
from kosmos2_io.placement import DepthScene, NoPlacement, PlacementError, place_boxes
from kosmos2_io.stamps import ns_of_s
from kosmos2_io.transforms import TransformBuffer, TransformError, matrix_of
from kosmos2_ros.errors import Code, RequestError, callback_errors
from kosmos2_ros.frames import FrameStore
from kosmos2_ros.messages import ROS
from kosmos2_ros.parameters import GroundingParameters
from kosmos2_ros.work import InferenceResult

try:
    import tf2_ros
except ImportError:  # ROS 2 from PyPI has no tf2_ros
    tf2_ros = None

TF_QOS = QoSProfile(depth=100)
TF_STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)

Pose = NDArray[np.float64]  # (4, 4)


@dataclass(frozen=True)
class PlacedBoxes:
    """Boxes in space, of each phrase those of its boxes, in the same order."""

    header: Any  # the image's stamp and the frame of the boxes
    solids: tuple[tuple[Box3D | None, ...], ...]  # None: too few depths in the box are known


class Localizer3D:
    """Places the boxes of an answer in the target frame.

    Args:
        frames: Depth images and calibrations.
        transforms: Poses of frames.
        parameters: Returns the current parameters.
    """

    def __init__(
        self, frames: FrameStore, transforms: Transforms, parameters: Callable[[], GroundingParameters]
    ) -> None:
        self._frames, self._transforms, self._parameters = frames, transforms, parameters

    def place(self, result: InferenceResult) -> PlacedBoxes:
        """Place all boxes of a result.

        Raises:
            RequestError: There is no depth (NO_DEPTH) or no transform (NO_TRANSFORM) at the image's stamp.
        """
        frame, phrases = result.frame, result.answer.phrases
        parameters = self._parameters()
        target = parameters.target_frame or frame.message.header.frame_id
        header = ROS.header(frame.stamp_ns, target)
        if not any(phrase.boxes for phrase in phrases):  # nothing to place: depth and TF are not needed
            return PlacedBoxes(header, tuple(() for _ in phrases))
        boxes_px = [box.pixels(*result.size_px) for phrase in phrases for box in phrase.boxes]
        try:
            solids = iter(place_boxes(self._scene(result, target, parameters), boxes_px))
        except TransformError as error:
            raise RequestError(Code.NO_TRANSFORM, str(error)) from None
        except InputError as error:
            wrong = isinstance(error, PlacementError) and error.reason is NoPlacement.WRONG_TRANSFORM
            raise RequestError(Code.NO_TRANSFORM if wrong else Code.NO_DEPTH, str(error)) from None
        return PlacedBoxes(
            header, tuple(tuple(_box_3d(next(solids)) for _ in phrase.boxes) for phrase in phrases)
        )

    def _scene(self, result: InferenceResult, target: str, parameters: GroundingParameters) -> DepthScene:
        frame = result.frame
        image_frame = frame.message.header.frame_id
        camera = self._frames.get(frame.camera)
        depth = camera.depths.find(frame.stamp_ns, ns_of_s(parameters.sync_slop_s)) if camera else None
        if camera is None or depth is None:
            rejected = camera.depths.rejected if camera else ""
            raise PlacementError(
                NoPlacement.NO_DEPTH_IMAGE,
                rejected
                or "there is no depth image within sync_slop_s of the image's stamp: is the depth camera on,"
                " and is its topic right?",
            )
        scene = DepthScene(
            depth=depth,
            camera=camera.calibration.model(),
            depth_camera=camera.depth_calibration.model(),
            image_size_px=result.size_px,
            range_m=(parameters.depth_min_m, parameters.depth_max_m),
        )
        scene.check()  # before a transform is waited for
        return replace(
            scene,
            camera_from_depth=self._pose(image_frame, depth.header.frame_id, frame.stamp_ns, parameters),
            target_from_camera=self._pose(target, image_frame, frame.stamp_ns, parameters),
        )

    def _pose(self, target: str, source: str, stamp_ns: int, parameters: GroundingParameters) -> Pose:
        if target == source or not source:
            return np.eye(4)
        return self._transforms.lookup(target, source, stamp_ns, parameters.tf_timeout_s)


def _box_3d(solid: Solid | None) -> Box3D | None:
    if solid is None:
        return None
    return Box3D(solid.centre_m, solid.extent_m, solid.quaternion_xyzw, solid.covariance)


# TF.


class Transforms(Protocol):
    """Poses of frames: from tf2 if it is installed, else from the buffer of `kosmos2_io`."""

    def listen(self) -> None:
        """Subscribe to /tf and /tf_static."""

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Pose:
        """Return the source frame in the target frame, (4, 4).

        Wait up to `timeout_s` for a transform of frames that are known, and not at all for unknown frames.

        Raises:
            TransformError: It is not known at this stamp.
        """

    def clear(self) -> None:
        """Forget moving frames, because time has jumped."""

    def destroy(self) -> None:
        """Unsubscribe."""


def make_transforms(node: Node) -> Transforms:
    """Return tf2's buffer if tf2 is installed, else this project's."""
    return BufferedTransforms(node) if tf2_ros is None else Tf2Transforms(node)


class BufferedTransforms:
    """Poses from `kosmos2_io.transforms`."""

    def __init__(self, node: Node) -> None:
        self._node, self._buffer = node, TransformBuffer()
        self._subscriptions: list[Any] = []

    def listen(self) -> None:
        """Subscribe to /tf and /tf_static."""
        group = ReentrantCallbackGroup()
        for topic, store, qos in (
            ("/tf", self._store_moving, TF_QOS),
            ("/tf_static", self._store_static, TF_STATIC_QOS),
        ):
            callback = callback_errors(self._node.get_logger(), store)
            self._subscriptions.append(
                self._node.create_subscription(TFMessage, topic, callback, qos, callback_group=group)
            )

    def _store_moving(self, message: Any) -> None:
        self._buffer.add(message, static=False)

    def _store_static(self, message: Any) -> None:
        self._buffer.add(message, static=True)

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Pose:
        """Return the source frame in the target frame, (4, 4)."""
        return self._buffer.wait_until(target, source, stamp_ns, timeout_s)

    def clear(self) -> None:
        """Forget moving frames."""
        self._buffer.clear()

    def destroy(self) -> None:
        """Unsubscribe."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions[-1])
            self._subscriptions.pop()  # only now, so that a subscription that failed to end is tried again


class Tf2Transforms:
    """Poses from tf2."""

    def __init__(self, node: Node) -> None:
        self._node, self._buffer = node, tf2_ros.Buffer()
        self._listener: Any = None

    def listen(self) -> None:
        """Subscribe to /tf and /tf_static."""
        self._listener = tf2_ros.TransformListener(self._buffer, self._node)

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Pose:
        """Return the source frame in the target frame, (4, 4)."""
        stamp = Time(nanoseconds=stamp_ns)
        try:
            try:
                found = self._buffer.lookup_transform(target, source, stamp)
            except (tf2_ros.ExtrapolationException, tf2_ros.ConnectivityException):  # it may come in time
                wait = Duration(nanoseconds=ns_of_s(timeout_s))
                found = self._buffer.lookup_transform(target, source, stamp, wait)
        except tf2_ros.TransformException as error:
            raise TransformError(no_transform(target, source, str(error))) from None
        return matrix_of(found.transform)

    def clear(self) -> None:
        """Forget moving frames."""
        self._buffer.clear()

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._listener:
            self._listener.unregister()


def no_transform(target: str, source: str, detail: str) -> str:
    """Return one sentence that ends with tf2's explanation and with exactly one full stop."""
    return f"there is no transform from {source} to {target}: {detail.rstrip(' .')}."
