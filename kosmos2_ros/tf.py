"""Where frames are: by tf2 where that is installed, else by our own buffer of `/tf` and `/tf_static`."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from kosmos2_io.transforms import TransformBuffer, TransformError, matrix_of
from kosmos2_ros.guard import guarded

try:
    import tf2_ros
except ImportError:  # a ROS from PyPI has none
    tf2_ros = None

DYNAMIC = QoSProfile(depth=100)
STATIC = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Transforms(Protocol):
    def listen(self) -> None: ...

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> NDArray[np.float64]:
        """(4, 4), the source's frame in the target's. TransformError: why there is none."""

    def clear(self) -> None:
        """Time jumped: forget what moved."""

    def destroy(self) -> None: ...


def transforms_of(node: Node) -> Transforms:
    return OwnTransforms(node) if tf2_ros is None else Tf2Transforms(node)


class OwnTransforms:
    def __init__(self, node: Node) -> None:
        self._node, self._buffer = node, TransformBuffer()
        self._subscriptions: list[Any] = []

    def listen(self) -> None:
        group = ReentrantCallbackGroup()
        for topic, take, qos in (("/tf", self._moving, DYNAMIC), ("/tf_static", self._fixed, STATIC)):
            heard = guarded(self._node.get_logger(), take)
            self._subscriptions.append(
                self._node.create_subscription(TFMessage, topic, heard, qos, callback_group=group)
            )

    def _moving(self, message: Any) -> None:
        self._buffer.add(message, static=False)

    def _fixed(self, message: Any) -> None:
        self._buffer.add(message, static=True)

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> NDArray[np.float64]:
        return self._buffer.wait_until(target, source, stamp_ns, timeout_s)

    def clear(self) -> None:
        self._buffer.clear()

    def destroy(self) -> None:
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions[-1])
            self._subscriptions.pop()  # only now: what failed to end is tried again


class Tf2Transforms:
    def __init__(self, node: Node) -> None:
        self._node, self._buffer = node, tf2_ros.Buffer()
        self._listener: Any = None

    def listen(self) -> None:
        self._listener = tf2_ros.TransformListener(self._buffer, self._node)

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> NDArray[np.float64]:
        wait = Duration(nanoseconds=int(timeout_s * 1e9))
        try:
            found = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns), wait)
        except tf2_ros.TransformException as error:
            raise TransformError(f"there is no transform from {source} to {target}: {error}.") from None
        return matrix_of(found.transform)

    def clear(self) -> None:
        self._buffer.clear()

    def destroy(self) -> None:
        if self._listener:
            self._listener.unregister()
